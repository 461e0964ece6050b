/** Whether a session takes on more work. */
import { AppError, sessionDeleted, shuttingDown } from "../../protocol/errors.ts";

export class Admission {
  readonly #sessionId: string;
  readonly #maxWaiting: number;
  /** Why work is refused from now on: the session is being deleted, or the server is stopping. */
  #reason: AppError | null = null;

  constructor(sessionId: string, maxWaiting: number) {
    this.#sessionId = sessionId;
    this.#maxWaiting = maxWaiting;
  }

  /** Refuses everything from now on, since it is deleted. Answers what whoever waits is told. */
  endForDeletion(): AppError {
    this.#reason = sessionDeleted(this.#sessionId);
    return this.#reason;
  }

  /** Refuses everything from now on, since another server has the session. */
  endForLoss(cause: Error): AppError {
    this.#reason = new AppError("session_elsewhere", `Cannot go on in session '${this.#sessionId}'`, {
      cause,
    });
    return this.#reason;
  }

  endForShutdown(): void {
    this.#reason ??= shuttingDown();
  }

  /** Throws when nothing is taken on any more. */
  check(): void {
    if (this.#reason !== null) throw this.#reason;
  }

  /** Throws also when too many wait. */
  checkRoom(waiting: number): void {
    this.check();
    if (waiting < this.#maxWaiting) return;
    throw new AppError("queue_full", `Cannot queue a run on '${this.#sessionId}': ${waiting} are waiting`);
  }
}
