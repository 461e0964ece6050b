/** Runs of a session that wait, are in progress or being stored, and when the last of them was there. */
import type { Run } from "../../runs/request.ts";

export class CurrentRuns {
  readonly #runs = new Map<string, Run>();
  readonly #awaited = new Map<string, PromiseWithResolvers<Run>>();
  #activeAt = performance.now();

  find(runId: string): Run | null {
    return this.#runs.get(runId) ?? null;
  }

  isInteractive(runId: string): boolean {
    return this.#runs.get(runId)?.isInteractive ?? false;
  }

  /** Resolves with a run once it is followed; with null when `settled` resolves first, and it never will be. */
  async heard(runId: string, settled: Promise<unknown>): Promise<Run | null> {
    const run = this.find(runId);
    if (run !== null) return run;
    const awaited = this.#awaited.get(runId) ?? Promise.withResolvers<Run>();
    this.#awaited.set(runId, awaited);
    try {
      return await Promise.race([awaited.promise, settled.then(() => null)]);
    } finally {
      this.#awaited.delete(runId);
    }
  }

  /** Remembers a run until it has been stored. */
  follow(run: Run): void {
    this.#runs.set(run.runId, run);
    this.#awaited.get(run.runId)?.resolve(run);
    run.result
      .catch(() => undefined)
      .finally(() => {
        run.log.close();
        this.#runs.delete(run.runId);
        this.touch();
      });
  }

  /** Something was asked of the session just now. */
  touch(): void {
    this.#activeAt = performance.now();
  }

  get idleMs(): number {
    return performance.now() - this.#activeAt;
  }
}
