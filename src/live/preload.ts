/**
 * Which modules warm sandboxes of Python import in their idle time: those that programs of this server import most, of
 * the ones that take long, or those that the operator names.
 */
import type { Language } from "../protocol/languages.ts";

/** Modules of the image that take more than 50 ms to import. */
const SLOW = ["numpy", "pandas", "matplotlib.pyplot", "requests"];
const IMPORT = /^[ \t]*(?:import|from)[ \t]+([\w.]+)/gm;
/** Looked at of a program, and how many programs are remembered. */
const LOOKED_AT_CHARS = 4_096;
const MAX_STATEMENTS = 40;
const REMEMBERED = 500;
/** The share of programs that must import a module for it to be worth its time and memory. */
const SHARE = 0.04;

export class Preload {
  readonly #fixed: readonly string[] | null;
  /** What each of the last programs imported. */
  readonly #recent: string[][] = [];
  readonly #counts = new Map<string, number>();

  /** `fixed`: what the operator names; null to find out. */
  constructor(fixed: readonly string[] | null) {
    this.#fixed = fixed;
  }

  /** A program is about to run. */
  note(language: Language, code: string): void {
    if (this.#fixed !== null || language !== "python") return;
    const used = importedIn(code.slice(0, LOOKED_AT_CHARS));
    this.#recent.push(used);
    for (const name of used) this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1);
    if (this.#recent.length <= REMEMBERED) return;
    for (const name of this.#recent.shift() ?? []) this.#counts.set(name, (this.#counts.get(name) ?? 1) - 1);
  }

  get modules(): readonly string[] {
    if (this.#fixed !== null) return this.#fixed;
    const least = Math.max(1, this.#recent.length * SHARE);
    return SLOW.filter((name) => (this.#counts.get(name) ?? 0) >= least);
  }
}

function importedIn(code: string): string[] {
  const names: string[] = [];
  for (const [, name = ""] of code.matchAll(IMPORT)) {
    if (names.push(name) >= MAX_STATEMENTS) break;
  }
  return SLOW.filter((slow) =>
    names.some((name) => name === slow || name.split(".")[0] === slow.split(".")[0]),
  );
}
