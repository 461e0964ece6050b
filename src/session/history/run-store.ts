/** Ended runs on their way into the store, and which of them their agent need not keep any more. */
import type { Logger } from "../../log.ts";
import { durabilityOf } from "../../runs/plan.ts";
import type { RunRequest, RunResult } from "../../runs/request.ts";
import { lostRun } from "../../runs/run-row.ts";
import type { Durability, RunRow, Store } from "../../store/store.ts";
import type { SessionRecords } from "../records.ts";

export class RunStore {
  readonly #store: Store;
  readonly #records: SessionRecords;
  readonly #log: Logger;
  readonly #storing = new Set<Promise<void>>();
  /** Runs that the store has, and whose agent has not been told so. */
  acknowledged: string[] = [];

  constructor(store: Store, records: SessionRecords, log: Logger) {
    this.#store = store;
    this.#records = records;
    this.#log = log;
  }

  takeAcknowledged(): string[] {
    const { acknowledged } = this;
    this.acknowledged = [];
    return acknowledged;
  }

  /** From here on a retry with the same key finds this run. */
  async reserve(request: RunRequest, { runId }: RunRow): Promise<void> {
    if (request.idempotency === null) return;
    const { key, requestHash } = request.idempotency;
    const durable = durabilityOf(request, this.#records.settings) === "sync";
    await this.#records.write(() =>
      this.#store.reserveAnswer(this.#records.id, key, { requestHash, runId }, durable),
    );
  }

  /** The end of the work is told when it is stored. */
  async storeSoon(ended: RunResult, durability: Durability): Promise<RunResult> {
    const storing = this.store(ended, durability === "sync");
    this.#storing.add(storing);
    try {
      await storing;
      return ended;
    } finally {
      this.#storing.delete(storing);
    }
  }

  async store({ row }: RunResult, durable: boolean): Promise<void> {
    await this.#records.finishRun(row, durable);
    this.acknowledged.push(row.runId);
  }

  /** A run that never began, or whose result cannot be stored. */
  abandon(row: RunRow): void {
    this.#records.finishRun(lostRun(row)).catch((error: unknown) => {
      this.#log.error({ err: error, run_id: row.runId }, "cannot record that a run was lost");
    });
  }

  /** Resolves when nothing is on its way. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#storing);
  }
}
