/** Clean-up that failed for a moment's want of something: tried again, one task after the other, until it is done. */
export class RetryLater implements Disposable {
  readonly #everyMs: number;
  readonly #tasks = new Set<() => Promise<void>>();
  #timer: NodeJS.Timeout | undefined;

  constructor(everyMs: number) {
    this.#everyMs = everyMs;
  }

  /** Tries now. Resolves also when the task failed, with its error: then it is tried again until it does not. */
  async attempt(task: () => Promise<void>): Promise<unknown> {
    try {
      await task();
      return null;
    } catch (error) {
      this.#tasks.add(task);
      this.#timer ??= setInterval(() => void this.#retry(), this.#everyMs).unref();
      return error;
    }
  }

  async #retry(): Promise<void> {
    const [task] = this.#tasks;
    if (task === undefined) return this[Symbol.dispose]();
    this.#tasks.delete(task);
    await task().catch(() => this.#tasks.add(task));
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
