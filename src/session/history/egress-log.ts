/** What a session asks of the internet, collected for a moment, then stored: programs may ask very often. */
import type { Logger } from "../../log.ts";
import type { Metrics } from "../../metrics.ts";
import type { EgressRecord } from "../../protocol/egress.ts";
import type { Store } from "../../store/store.ts";

const COLLECT_MS = 200;
const COLLECT_RECORDS = 200;
/** Kept of one session. */
const KEEP = 1_000;

export class EgressLog {
  readonly #store: Store;
  readonly #log: Logger;
  readonly #metrics: Metrics;
  readonly #sessionId: string;
  #records: EgressRecord[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(store: Store, { log, metrics }: { log: Logger; metrics: Metrics }, sessionId: string) {
    this.#store = store;
    this.#log = log;
    this.#metrics = metrics;
    this.#sessionId = sessionId;
  }

  add(record: EgressRecord): void {
    this.#metrics.connected(record.refused === null);
    this.#records.push(record);
    if (this.#records.length >= COLLECT_RECORDS) this.flush();
    else this.#timer ??= setTimeout(() => this.flush(), COLLECT_MS);
  }

  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const records = this.#records;
    this.#records = [];
    if (records.length === 0) return;
    this.#store.addEgress(this.#sessionId, records, KEEP).catch((error: unknown) => {
      this.#log.error(
        { err: error, session: this.#sessionId },
        "cannot store what was asked of the internet",
      );
    });
  }
}
