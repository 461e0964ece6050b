/** The session's top-level names: which there are, their values, and how they are put back. */
import process from "node:process";
import util from "node:util";
import { indirectEval } from "./evaluation.mjs";

const MAX_CHARS = 80;
/** Not a name that a session has. */
const GIVEN = "__era_given__";
const FORMAT = {
  depth: 0,
  breakLength: Number.POSITIVE_INFINITY,
  customInspect: false,
  getters: false,
  showProxy: true,
  maxStringLength: MAX_CHARS,
  maxArrayLength: 8,
};

export class Variables {
  /** Name -> "lexical" (let, const, class) or "global" (var, function, undeclared): for the life of the kernel. */
  kinds = new Map();
  #baseline = new Set(Reflect.ownKeys(globalThis));
  #getters = new Map();

  isBuiltIn(name) {
    return this.#baseline.has(name);
  }

  /** Names and values, of those that have one. */
  read() {
    for (const key of Object.keys(globalThis))
      if (!this.#baseline.has(key) && !this.kinds.has(key)) this.kinds.set(key, "global");
    const found = new Map();
    for (const [name, kind] of this.kinds) {
      if (kind === "global") {
        const descriptor = Object.getOwnPropertyDescriptor(globalThis, name);
        if (descriptor !== undefined && "value" in descriptor) found.set(name, descriptor.value);
        continue;
      }
      try {
        found.set(name, this.#getter(name)());
      } catch {
        // its declaration failed: it has no value
      }
    }
    return found;
  }

  /** Sets a name that was declared. */
  put(name, value) {
    if (this.kinds.get(name) === "global") globalThis[name] = value;
    else indirectEval(`${GIVEN} => { ${name} = ${GIVEN}; }`)(value);
  }

  #getter(name) {
    let getter = this.#getters.get(name);
    if (getter === undefined) {
      getter = indirectEval(`() => ${name}`);
      this.#getters.set(name, getter);
    }
    return getter;
  }
}

export function typeOf(value) {
  if (value === null) return "null";
  if (typeof value === "function")
    return /^class\b/.test(Function.prototype.toString.call(value)) ? "class" : "function";
  if (typeof value !== "object") return typeof value;
  if (util.types.isProxy(value)) return "Proxy";
  for (let at = Object.getPrototypeOf(value); at !== null; at = Object.getPrototypeOf(at)) {
    const maker = Object.getOwnPropertyDescriptor(at, "constructor")?.value;
    if (typeof maker === "function")
      return String(Object.getOwnPropertyDescriptor(maker, "name")?.value ?? "object").slice(0, 256);
  }
  return "object";
}

/** A value in a few words, without calling anything that the session defined. */
export function describe(value) {
  const text = util.inspect(value, FORMAT).replaceAll("\n", " ");
  return (text.length > MAX_CHARS ? `${text.slice(0, MAX_CHARS)}...` : text).toWellFormed();
}

/** What of the process belongs to a session's state. */
export function captureSurroundings() {
  try {
    return { directory: process.cwd() };
  } catch {
    return { directory: "/workspace" };
  }
}

export function restoreSurroundings({ directory }) {
  try {
    process.chdir(directory);
  } catch {
    process.chdir("/workspace");
  }
}
