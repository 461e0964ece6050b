/** Output that comes after its run: collected for a moment, since a guest may write it byte by byte, then stored. */
import type { Logger } from "../log.ts";

const COLLECT_MS = 200;
const COLLECT_BYTES = 64 << 10;

export class LateOutput {
  readonly #store: (runId: string, text: string) => Promise<void>;
  readonly #log: Logger;
  readonly #chunks = new Map<string, Buffer[]>();
  #bytes = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(store: (runId: string, text: string) => Promise<void>, log: Logger) {
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
      this.#store(runId, Buffer.concat(chunks).toString()).catch((error: unknown) => {
        this.#log.error({ err: error, run_id: runId }, "cannot store late output");
      });
    }
    this.#chunks.clear();
    this.#bytes = 0;
  }
}
