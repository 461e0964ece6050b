/** Ended runs on their way into the store, and which of them their agent need not keep any more. */
import type { Logger } from "../../log.ts";
import { durabilityOf } from "../../runs/plan.ts";
import type { RunRequest, RunResult } from "../../runs/request.ts";
import { lostRun } from "../../runs/run-row.ts";
import type { Durability, RunRow, SessionRow, Store } from "../../store/store.ts";

export class RunRecorder {
  readonly #store: Store;
  readonly #log: Logger;
  readonly #storing = new Set<Promise<void>>();
  /** Runs that the store has, and whose agent has not been told so. */
  recorded: string[] = [];

  constructor(store: Store, log: Logger) {
    this.#store = store;
    this.#log = log;
  }

  takeRecorded(): string[] {
    const { recorded } = this;
    this.recorded = [];
    return recorded;
  }

  /** From here on a retry with the same key finds this run. */
  async reserve(request: RunRequest, { runId }: RunRow, session: SessionRow): Promise<void> {
    if (request.idempotency === null) return;
    const { key, requestHash } = request.idempotency;
    const durable = durabilityOf(request, session) === "sync";
    await this.#store.reserveAnswer(session.id, key, { requestHash, runId }, durable);
  }

  /** Stores a moment later, so that the next run is on its way to the guest by then. */
  async storeSoon(ended: RunResult, session: () => SessionRow, durability: Durability): Promise<RunResult> {
    const storing = new Promise((resolve) => setImmediate(resolve)).then(() =>
      this.store(ended, session(), durability === "sync"),
    );
    this.#storing.add(storing);
    try {
      await storing;
      return ended;
    } finally {
      this.#storing.delete(storing);
    }
  }

  async store({ row }: RunResult, session: SessionRow, durable: boolean): Promise<void> {
    await this.#store.finishRun(row, session, durable);
    this.recorded.push(row.runId);
  }

  /** A run that never began, or whose result cannot be stored. */
  abandon(row: RunRow, session: SessionRow): void {
    this.#store.finishRun(lostRun(row), session).catch((error: unknown) => {
      this.#log.error({ err: error, run_id: row.runId }, "cannot record that a run was lost");
    });
  }

  /** Resolves when nothing is on its way. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#storing);
  }
}
