/**
 * What modules hold themselves, beside what they give out: no saved form has it, and they begin anew when they are
 * imported again. So it is looked at as a module is imported, and named once it is another.
 */
import module from "node:module";

const isDeno = globalThis.Deno !== undefined;
const MAX_SCOPES = 8;
const MAX_VARIABLES = 2_000;
/** The session's own scope, and that of the platform. */
const OTHERS = /^(?:Script|Global)/;
export const BEGINS_ANEW = "what it holds itself has changed since it was imported, and begins anew";

export class ModuleState {
  #evaluator;
  /** Specifier -> {inner, mark}: a function of the module, and what its scopes held after the import. */
  #modules = new Map();
  #changed = new Set();

  constructor(evaluator) {
    this.#evaluator = evaluator;
  }

  /** Right after the module was imported; `functions` are those that it gives out. */
  note(specifier, functions) {
    if (isDeno || module.isBuiltin(specifier)) return; // Deno's inspector cannot be asked in the middle of a program
    const inner = functions.find((value) => this.#markOf(value) !== "");
    this.#changed.delete(specifier);
    if (inner === undefined) this.#modules.delete(specifier);
    else this.#modules.set(specifier, { inner, mark: this.#markOf(inner) });
  }

  /** Looks again at those of these specifiers; answers what is to be told of all that have changed. */
  look(specifiers = this.#modules.keys()) {
    for (const specifier of specifiers) {
      const known = this.#modules.get(specifier);
      if (known === undefined) continue;
      if (this.#markOf(known.inner) === known.mark) this.#changed.delete(specifier);
      else this.#changed.add(specifier);
    }
    return [...this.#changed].sort().map((name) => ({ name, type: "module", reason: BEGINS_ANEW }));
  }

  /** The variables of the scopes that a function sees, in short; empty when it sees none but the session's. */
  #markOf(value) {
    const scopes = this.#propertiesOf(this.#evaluator.internalsNow(value)["[[Scopes]]"]);
    const own = scopes
      .filter(({ value: scope }) => !OTHERS.test(scope?.description ?? ""))
      .slice(0, MAX_SCOPES);
    const variables = own.flatMap(({ value: scope }) => this.#propertiesOf(scope).slice(0, MAX_VARIABLES));
    const held = variables.filter(
      ({ value: of }) => of?.type === "object" && LOOKED_INTO.has(of.subtype ?? "object"),
    );
    const names = variables.map(
      ({ name, value: of }) => `${name}:${of?.unserializableValue ?? of?.value ?? of?.type}`,
    );
    return [...names, ...this.#contentsOf(held.map(({ value: of }) => of.objectId))].join();
  }

  #propertiesOf(remote) {
    if (remote?.objectId === undefined) return [];
    const parameters = { objectId: remote.objectId, ownProperties: true };
    return this.#evaluator.postNow("Runtime.getProperties", parameters)?.result ?? [];
  }

  #contentsOf([first, ...others]) {
    if (first === undefined) return [];
    const answer = this.#evaluator.postNow("Runtime.callFunctionOn", {
      objectId: first,
      functionDeclaration: CONTENTS,
      arguments: others.map((objectId) => ({ objectId })),
      returnByValue: true,
      silent: true,
    });
    return answer?.result?.value ?? [];
  }
}

const LOOKED_INTO = new Set(["object", "array", "map", "set"]);
/** Runs where the objects are: of each its size, and the first of what it holds, numbers and texts as they are. */
const CONTENTS = `function (...others) {
  const brief = (value) =>
    typeof value === "object" || typeof value === "function" ? typeof value : String(value).slice(0, 40);
  const { getOwnPropertyDescriptors, entries } = Object;
  const dataOf = (value) => entries(getOwnPropertyDescriptors(value)).flatMap(([name, { value: item }]) => [name, item]);
  const itemsOf = (value) => {
    if (value instanceof Map) return [...Map.prototype.entries.call(value)].flat();
    return value instanceof Set ? [...Set.prototype.values.call(value)] : dataOf(value);
  };
  return [this, ...others].map((value) => {
    try {
      const items = itemsOf(value);
      return items.length + ":" + items.slice(0, 200).map(brief).join(";");
    } catch {
      return "";
    }
  });
}`;
