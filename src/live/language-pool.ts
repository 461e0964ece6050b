/** What the pool knows of one language: its warm sandboxes, who waits for one, and how many are being started. */
import type { Language } from "../protocol/languages.ts";

export class LanguagePool<S> {
  readonly language: Language;
  /** How many warm sandboxes to keep. */
  readonly target: number;
  readonly ready = new Set<S>();
  readonly waiters: PromiseWithResolvers<S>[] = [];
  /** Starts of pristine sandboxes in progress. */
  launching = 0;
  /** After a failure nothing is started ahead of need for a while. */
  paused = false;

  constructor(language: Language, target: number) {
    this.language = language;
    this.target = target;
  }

  /** Whether a start is in progress that nobody waits for. */
  get hasSpareLaunch(): boolean {
    return this.launching > this.waiters.length;
  }

  /** While somebody waits, as many starts as are of use, `width` at the most; else one at a time until it is full. */
  wantedLaunches(width: number): number {
    const missing = this.paused ? 0 : Math.max(0, this.target - this.ready.size);
    const waiting = this.waiters.length;
    return waiting > 0 ? Math.min(waiting + missing, width) : Math.min(missing, 1);
  }

  takeReady(): S | null {
    const first = this.ready.values().next().value;
    if (first === undefined) return null;
    this.ready.delete(first);
    return first;
  }
}
