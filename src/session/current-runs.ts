/** Runs of a session that wait, are in progress or being stored, and when the last of them was there. */
import type { Run } from "./run.ts";

export class CurrentRuns {
  readonly #runs = new Map<string, Run>();
  #activeAt = performance.now();

  find(runId: string): Run | null {
    return this.#runs.get(runId) ?? null;
  }

  /** Remembers a run until it has been stored. */
  follow(run: Run): void {
    this.#runs.set(run.runId, run);
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
