/**
 * Evaluates a program in the session's global scope, by the engine's own inspector in REPL mode: top-level let, const
 * and class stay, may be declared again, and await may stand anywhere.
 */
import inspector from "node:inspector";
import util from "node:util";

const GROUP = "run";
const LOOK = "look";
const TAKE = "__era_take__";
const HELD = "__era_held__";
/** Evaluates in the global scope, where the session's top-level names are seen. */
// biome-ignore lint/security/noGlobalEval: evaluating what a session sends is what a kernel is for
export const indirectEval = globalThis.eval;
const KERNEL_FRAME = /^ +at .*(?:\/opt\/era\/|node:inspector|ext:deno_node\/inspector|node:internal)/;

/** Asked for by process.exit() in a program. */
export class ExitRequest {
  #isOne = true;

  constructor(code) {
    this.code = code;
  }

  /** Calls nothing of a program's, whatever it has thrown. */
  static is(value) {
    return typeof value === "object" && value !== null && #isOne in value;
  }
}

export class Evaluator {
  #session = new inspector.Session();
  #taken = undefined;

  constructor() {
    this.#session.connect();
    const take = (value) => {
      this.#taken = value;
    };
    Object.defineProperty(globalThis, TAKE, { value: take, enumerable: false });
  }

  post(method, parameters = {}) {
    return new Promise((resolve, reject) => {
      this.#session.post(method, parameters, (error, result) => (error ? reject(error) : resolve(result)));
    });
  }

  /** For what is asked in the middle of a program; undefined where the engine does not answer at once. */
  postNow(method, parameters) {
    let answer;
    this.#session.post(method, parameters, (error, result) => {
      answer = error ? undefined : result;
    });
    return answer;
  }

  /** As internals(), at once: {name: RemoteObject}. */
  internalsNow(value) {
    if (!Reflect.defineProperty(globalThis, HELD, { value, configurable: true, enumerable: false }))
      return {};
    const expression = `globalThis.${HELD}`;
    const held = this.postNow("Runtime.evaluate", { expression, objectGroup: LOOK, silent: true });
    delete globalThis[HELD];
    const objectId = held?.result.objectId;
    const found =
      objectId === undefined
        ? undefined
        : this.postNow("Runtime.getProperties", { objectId, ownProperties: true });
    return Object.fromEntries((found?.internalProperties ?? []).map(({ name, value: of }) => [name, of]));
  }

  /** Answers {value} or {thrown}. */
  async evaluate(code, name) {
    const expression = `${code}\n//# sourceURL=${name}`;
    const answer = await this.post("Runtime.evaluate", {
      expression,
      replMode: true,
      silent: true,
      objectGroup: GROUP,
    });
    if (answer.exceptionDetails === undefined) return { value: await this.valueOf(answer.result) };
    const { exception, lineNumber, columnNumber, stackTrace } = answer.exceptionDetails;
    const thrown = await this.valueOf(exception ?? { type: "undefined" });
    // The engine does not read the program: it has not run, so its stack is the kernel's own.
    if (thrown instanceof SyntaxError && stackTrace === undefined)
      thrown.stack = `${thrown.name}: ${thrown.message}\n    at ${name}:${lineNumber + 1}:${columnNumber + 1}`;
    return { thrown };
  }

  /** Lets go of what the inspector holds of a run. */
  async release() {
    await this.post("Runtime.releaseObjectGroup", { objectGroup: GROUP });
  }

  /** Makes top-level names, each undefined. */
  async declare(names) {
    if (names.length > 0) await this.evaluate(`let ${names.join(", ")};`, "restored");
  }

  /** What the engine tells of an object beyond its properties: {internal: {name: RemoteObject}, privates: [name]}. */
  async internals(value) {
    Object.defineProperty(globalThis, HELD, { value, configurable: true, enumerable: false });
    const { result } = await this.post("Runtime.evaluate", {
      expression: `globalThis.${HELD}`,
      objectGroup: LOOK,
    });
    delete globalThis[HELD];
    const found = await this.post("Runtime.getProperties", {
      objectId: result.objectId,
      ownProperties: true,
    });
    const internal = Object.fromEntries(
      (found.internalProperties ?? []).map(({ name, value: of }) => [name, of]),
    );
    return { internal, privates: (found.privateProperties ?? []).map(({ name }) => name) };
  }

  /** Scopes between a function and the session's own, as [{kind, names}], innermost first. */
  async scopesOf({ "[[Scopes]]": scopes }) {
    const found = [];
    if (scopes === undefined) return found;
    const { result } = await this.post("Runtime.getProperties", {
      objectId: scopes.objectId,
      ownProperties: true,
    });
    for (const { value: scope } of result) {
      const kind = /^\w+/.exec(scope.description ?? "")?.[0] ?? "";
      if (kind === "Script" || kind === "Global" || scope.objectId === undefined) continue;
      const inside = await this.post("Runtime.getProperties", {
        objectId: scope.objectId,
        ownProperties: true,
      });
      found.push({ kind, names: inside.result.map(({ name }) => name) });
    }
    return found;
  }

  async endLook() {
    await this.post("Runtime.releaseObjectGroup", { objectGroup: LOOK });
  }

  /** The value itself, of what the inspector describes. */
  async valueOf(remote) {
    if (remote.objectId === undefined) {
      if (remote.unserializableValue !== undefined) return indirectEval(remote.unserializableValue);
      return remote.subtype === "null" ? null : remote.value;
    }
    await this.post("Runtime.callFunctionOn", {
      objectId: remote.objectId,
      functionDeclaration: `function () { "use strict"; globalThis.${TAKE}(this); }`,
    });
    const taken = this.#taken;
    this.#taken = undefined;
    return taken;
  }
}

/** What is printed of an error, and told as data: its stack without the kernel's own frames. */
export function describeError(error) {
  try {
    return described(error);
  } catch {
    const message = "an error that cannot be shown"; // what tells of it fails itself
    return { name: "Error", message, traceback: `Uncaught ${message}\n` };
  }
}

function described(error) {
  if (
    !(error instanceof Error) &&
    !(typeof error?.stack === "string" && typeof error?.message === "string")
  ) {
    const text = show(error);
    return { name: "Error", message: text.slice(0, 2048), traceback: `Uncaught ${text}\n` };
  }
  const lines = String(error.stack).split("\n");
  const cut = lines.findIndex((line) => KERNEL_FRAME.test(line));
  const stack = (cut < 0 ? lines : lines.slice(0, cut)).join("\n");
  const cause =
    error.cause instanceof Error
      ? `\n  [cause]: ${describeError(error.cause).traceback.slice("Uncaught ".length)}`
      : "";
  return {
    name: String(error.name).slice(0, 256),
    message: String(error.message).slice(0, 2048),
    traceback: `Uncaught ${stack}${cause}\n`.slice(0, 16_384),
  };
}

/** A value as the language shows it. */
export function show(value) {
  try {
    return globalThis.Deno === undefined ? util.inspect(value) : Deno.inspect(value);
  } catch {
    return `<${typeof value} that cannot be shown>`;
  }
}
