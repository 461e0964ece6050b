/** How long this process did not come to what was due, and which operations were in progress meanwhile. */
import { createHistogram, type RecordableHistogram } from "node:perf_hooks";

const LOOK_MS = 25;
const STALL_MS = 100;
const SPAN_MS = 60_000;
const MAX_NAMES = 5;
const MAX_ENDED = 32;
const US_PER_MS = 1000;

type Stall = {
  delayMs: number;
  /** Those that were in progress, or ended, meanwhile: the latest to begin first. */
  operations: string[];
};

type Operation = { name: string };

export class LoopWatch implements Disposable {
  readonly #onStall: (stall: Stall) => void;
  readonly #timer: NodeJS.Timeout;
  readonly #current = new Set<Operation>();
  #ended: string[] = [];
  #dueAt: number;
  /** Delays in microseconds: of this minute, and of the one before. */
  #spans: [RecordableHistogram, RecordableHistogram] = [createHistogram(), createHistogram()];
  #spanEndsAt: number;

  /** `onStall`: it was 100 ms or more at once. */
  constructor(onStall: (stall: Stall) => void) {
    this.#onStall = onStall;
    const now = performance.now();
    this.#dueAt = now + LOOK_MS;
    this.#spanEndsAt = now + SPAN_MS;
    this.#timer = setInterval(() => this.#look(), LOOK_MS).unref();
  }

  /** An operation begins; whoever calls this calls what it answers when the operation ends. */
  begin(name: string): () => void {
    const operation = { name };
    this.#current.add(operation);
    return () => {
      if (this.#current.delete(operation) && this.#ended.length < MAX_ENDED) this.#ended.push(name);
    };
  }

  /** The longest delay, and that which one in a hundred is over, in the last one to two minutes; in milliseconds. */
  get recent(): { longestMs: number; p99Ms: number } {
    const longest = Math.max(...this.#spans.map(({ count, max }) => (count === 0 ? 0 : max)));
    const p99 = Math.max(...this.#spans.map((span) => (span.count === 0 ? 0 : span.percentile(99))));
    return { longestMs: longest / US_PER_MS, p99Ms: p99 / US_PER_MS };
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    const now = performance.now();
    const delayMs = Math.max(0, now - this.#dueAt);
    this.#dueAt = now + LOOK_MS;
    this.#spans[0].record(Math.max(1, Math.round(delayMs * US_PER_MS)));
    if (now >= this.#spanEndsAt) {
      this.#spans = [createHistogram(), this.#spans[0]];
      this.#spanEndsAt = now + SPAN_MS;
    }
    if (delayMs >= STALL_MS) this.#onStall({ delayMs: Math.round(delayMs), operations: this.#names() });
    this.#ended = [];
  }

  #names(): string[] {
    const current = [...this.#current].reverse().map(({ name }) => name);
    return [...new Set([...this.#ended.toReversed(), ...current])].slice(0, MAX_NAMES);
  }
}
