/**
 * Environment variables: each run begins with the session's own and with what it is given; what a program sets is its
 * own.
 */
import process from "node:process";

const isDeno = globalThis.Deno !== undefined;

export class Environment {
  #own = { ...process.env };

  /** Before a run. */
  reset(given) {
    const wanted = { ...this.#own, ...given };
    const found = isDeno ? Deno.env.toObject() : process.env; // each look at it is a call there
    for (const name of Object.keys(found)) if (!(name in wanted)) delete process.env[name];
    for (const [name, value] of Object.entries(wanted)) if (found[name] !== value) process.env[name] = value;
  }
}
