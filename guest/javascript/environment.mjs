/** Environment variables: each run begins with the session's own and with what it is given; what a program sets is its own. */
import process from "node:process";

const isDeno = globalThis.Deno !== undefined;
/** Each look at one is a call into the engine. */
const read = () => (isDeno ? Deno.env.toObject() : { ...process.env });

export class Environment {
  #own = read();
  /** As they are, while nothing can change them. */
  #known = null;

  /** Before a run. */
  reset(given) {
    const wanted = { ...this.#own, ...given };
    const found = this.#known ?? read();
    this.#known = null;
    for (const name of Object.keys(found)) if (!(name in wanted)) delete process.env[name];
    for (const [name, value] of Object.entries(wanted)) if (found[name] !== value) process.env[name] = value;
  }

  /** After a run of which nothing goes on: the next one need not wait for a look at them. */
  look() {
    this.#known = read();
  }
}
