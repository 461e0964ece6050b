/** Runs tasks one at a time in the order in which they came; says how many wait, so that callers can refuse more. */
export class SerialQueue {
  #tail: Promise<unknown> = Promise.resolve();
  #waiting = 0;

  /** Tasks that have not ended. */
  get length(): number {
    return this.#waiting;
  }

  /** Resolves or rejects as the task does; one task's failure does not touch the next. */
  add<T>(task: () => Promise<T>): Promise<T> {
    this.#waiting += 1;
    const result = this.#tail.then(task).finally(() => {
      this.#waiting -= 1;
    });
    this.#tail = result.catch(() => undefined);
    return result;
  }
}
