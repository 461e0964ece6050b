/** Output that comes after its run: collected for a moment, since a guest may write it byte by byte, then stored. */
import type { Logger } from "../../log.ts";
import type { Store } from "../../store/store.ts";

const COLLECT_MS = 200;
const COLLECT_BYTES = 64 << 10;
/** Kept of one run. */
const MAX_CHARS = 65_536;

export class LateOutput {
  readonly #store: Store;
  readonly #log: Logger;
  readonly #chunks = new Map<string, Buffer[]>();
  #bytes = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(store: Store, log: Logger) {
    this.#store = store;
    this.#log = log;
  }

  add(runId: string, chunk: Buffer): void {
    const chunks = this.#chunks.get(runId);
    if (chunks === undefined) this.#chunks.set(runId, [Buffer.from(chunk)]);
    else chunks.push(Buffer.from(chunk));
    this.#bytes += chunk.length;
    if (this.#bytes > COLLECT_BYTES) this.flush();
    else this.#timer ??= setTimeout(() => this.flush(), COLLECT_MS);
  }

  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const [runId, chunks] of this.#chunks) {
      const text = Buffer.concat(chunks).toString();
      this.#store.appendLateOutput(runId, text, MAX_CHARS).catch((error: unknown) => {
        this.#log.error({ err: error, run_id: runId }, "cannot store late output");
      });
    }
    this.#chunks.clear();
    this.#bytes = 0;
  }
}
