/**
 * Values to bytes: a graph of objects as a table of nodes, so that what is shared stays shared and cycles close. A slot
 * is a primitive, or [node]. Functions and classes go by their source when they depend on top-level names only; what
 * comes from a module goes by the module's name. How each node is rebuilt: decoding.mjs.
 *
 * Encoding never waits, so that a value is seen at one moment. What only the engine's inspector knows (a function's
 * scopes, a promise's result) is asked for beforehand: an encoder that misses a fact lists it in `missing`.
 */
import { Buffer } from "node:buffer";
import { isBuiltin } from "node:module";
import util from "node:util";
import v8 from "node:v8";
import { markOf } from "./modules.mjs";
import { boundToPlace, changesStatics, wordsOf } from "./syntax.mjs";

const { types } = util;
const { hasOwn } = Object;
const nameOfTyped = Object.getOwnPropertyDescriptor(
  Object.getPrototypeOf(Uint8Array.prototype),
  Symbol.toStringTag,
).get;

/** A value that has no saved form; the message says why. */
export class CannotKeep extends Error {}

/** Facts are missing: ask for them, and encode again. */
export class NeedsFacts extends Error {}

export class Encoder {
  /**
   * `context`: {intrinsics, origins, facts, sources} of the session. `trustsModules`: as if nothing of theirs had
   * changed.
   */
  constructor(context, trustsModules) {
    this.context = context;
    this.#trustsModules = trustsModules;
    /** The variables that were encoded. */
    this.names = [];
    /** What encode() has answered. */
    this.data = null;
    /** Why what is encoded will not be quite what it was. */
    this.notes = [];
    /** Whether an object of a module is in it that the session has changed. */
    this.hasChanged = false;
    this.nodes = [];
    this.missing = [];
    /** Words of all functions in it: names of variables that they may use. */
    this.words = new Set();
    this.#ids = new Map();
  }

  #ids;
  #trustsModules;
  #marks = new Map();
  #pending = [];

  /** Encodes variables as one buffer. Throws CannotKeep, or NeedsFacts. */
  encode(values) {
    const slots = Object.entries(values).map(([name, value]) => [name, this.#slot(value)]);
    for (let next = this.#pending.shift(); next !== undefined; next = this.#pending.shift()) {
      this.nodes[next.id] = this.#describe(next.value);
    }
    if (this.missing.length > 0) throw new NeedsFacts();
    return v8.serialize({ slots, nodes: this.nodes });
  }

  /** Objects, and symbols of the session's own, that make variables belong together when they share them. */
  get changeable() {
    const { intrinsics } = this.context;
    return [...this.#ids.keys()].filter((value) =>
      typeof value === "symbol"
        ? describeSymbol(value)[1] === "own"
        : !intrinsics.has(value) && this.#originOf(value) === undefined,
    );
  }

  /** Where it can be imported from again, as it is: not what the session has changed in an object of its own module. */
  #originOf(value) {
    const origin = this.context.origins.get(value);
    if (origin?.mark === undefined || this.#trustsModules) return origin;
    if (!this.#marks.has(value)) this.#marks.set(value, markOf(value)); // to look through it takes a while
    if (origin.mark === this.#marks.get(value)) return origin;
    this.hasChanged = true;
    return undefined;
  }

  #slot(value) {
    if (
      typeof value !== "symbol" &&
      typeof value !== "function" &&
      (typeof value !== "object" || value === null)
    )
      return value;
    let id = this.#ids.get(value);
    if (id === undefined) {
      id = this.nodes.push(null) - 1;
      this.#ids.set(value, id);
      this.#pending.push({ id, value });
    }
    return [id];
  }

  #describe(value) {
    if (typeof value === "symbol") return describeSymbol(value);
    const known = this.context.intrinsics.get(value);
    if (known !== undefined) return ["intrinsic", known];
    const origin = this.#originOf(value);
    if (origin !== undefined)
      return ["module", origin.how, origin.specifier, origin.path, origin.options ?? null];
    if (types.isProxy(value)) throw new CannotKeep("a proxy cannot be looked into");
    return typeof value === "function" ? this.#describeFunction(value) : this.#describeObject(value);
  }

  #fact(value) {
    const fact = this.context.facts.get(value);
    if (fact === undefined) this.missing.push(value);
    return fact ?? {};
  }

  #describeFunction(value) {
    const source = this.context.sources.get(value) ?? Function.prototype.toString.call(value);
    if (source.endsWith("{ [native code] }")) {
      const { bound } = this.#fact(value);
      if (bound === undefined && this.context.facts.has(value))
        throw new CannotKeep("a function of the platform cannot be saved");
      return ["bound", ...(bound ?? []).map((part) => this.#slot(part))];
    }
    const { captured = [] } = this.#fact(value);
    if (captured.length > 0)
      throw new CannotKeep(`a closure over ${captured.slice(0, 5).join(", ")} cannot be saved`);
    const place = boundToPlace(source);
    if (place !== null)
      throw new CannotKeep(`a function that uses the ${place} of where it was made cannot be saved`);
    for (const word of wordsOf(source)) this.words.add(word);
    return source.startsWith("class")
      ? this.#describeClass(value, source)
      : this.#describePlainFunction(value, source);
  }

  #describePlainFunction(value, source) {
    const own = this.#properties(
      value,
      (key) =>
        key === "length" || key === "name" || key === "prototype" || key === "arguments" || key === "caller",
    );
    const { prototype } = value;
    const inside =
      isObject(prototype) && !types.isGeneratorFunction(value)
        ? this.#properties(prototype, (key) => key === "constructor")
        : [];
    return ["function", source, value.name, own, inside];
  }

  /** Without its static parts' values, which are saved as they are now; methods come with the source. */
  #describeClass(value, source) {
    if (changesStatics(source)) this.notes.push("its private static fields begin anew");
    const parent = Object.getPrototypeOf(value);
    const isOfSource = ({ value: part, get, set }) =>
      [part, get, set].some(
        (each) => typeof each === "function" && source.includes(Function.prototype.toString.call(each)),
      );
    const skip = (key, descriptor) =>
      key === "length" || key === "name" || key === "prototype" || isOfSource(descriptor);
    const statics = this.#properties(value, skip);
    const methods = this.#properties(
      value.prototype,
      (key, descriptor) => key === "constructor" || isOfSource(descriptor),
    );
    return [
      "class",
      source,
      value.name,
      parent === Function.prototype ? null : this.#slot(parent),
      statics,
      methods,
    ];
  }

  #describeObject(value) {
    const prototype = Object.getPrototypeOf(value);
    if (Array.isArray(value)) return this.#describeArray(value, prototype);
    const content = this.#contentOf(value);
    const [kind, builtin] = content ?? ["object", Object.prototype];
    const own =
      content?.[0] === "typed" ? [] : this.#properties(value, (key) => kind === "error" && key === "stack");
    if (content === undefined) this.#refuseForeign(value, prototype);
    return [kind, this.#prototype(prototype, builtin), flagsOf(value), own, ...(content?.slice(2) ?? [])];
  }

  #describeArray(value, prototype) {
    const how = [this.#prototype(prototype, Array.prototype), flagsOf(value)];
    if (how[1] === 0 && isDense(value)) return ["values", how[0], 0, value.slice()];
    return ["array", ...how, this.#properties(value, (key) => key === "length"), value.length];
  }

  /** What an object of the language holds besides properties: [kind, its usual prototype, ...]. */
  #contentOf(value) {
    return this.#collection(value) ?? this.#binary(value) ?? this.#other(value);
  }

  #collection(value) {
    if (types.isMap(value))
      return [
        "map",
        Map.prototype,
        Array.from(Map.prototype.entries.call(value), ([key, item]) => [this.#slot(key), this.#slot(item)]),
      ];
    if (types.isSet(value))
      return ["set", Set.prototype, Array.from(Set.prototype.values.call(value), (item) => this.#slot(item))];
    if (types.isWeakMap(value) || types.isWeakSet(value))
      throw new CannotKeep("what a weak collection holds cannot be seen");
    return undefined;
  }

  #binary(value) {
    if (types.isSharedArrayBuffer(value)) throw new CannotKeep("shared memory cannot be saved");
    if (types.isArrayBuffer(value))
      return [
        "buffer",
        ArrayBuffer.prototype,
        new Uint8Array(value),
        value.resizable ? value.maxByteLength : null,
      ];
    if (types.isTypedArray(value)) return this.#typed(value, nameOfTyped.call(value));
    if (types.isDataView(value)) return this.#typed(value, "DataView");
    return undefined;
  }

  #other(value) {
    if (types.isDate(value)) return ["date", Date.prototype, Date.prototype.getTime.call(value)];
    if (types.isRegExp(value)) return ["regexp", RegExp.prototype, value.source, value.flags];
    if (types.isNativeError(value)) return ["error", Error.prototype, String(value.stack)];
    if (types.isBoxedPrimitive(value))
      return ["boxed", Object.getPrototypeOf(Object(value.valueOf())), this.#slot(value.valueOf())];
    if (value instanceof URL) return ["url", URL.prototype, value.href];
    if (value instanceof URLSearchParams) return ["parameters", URLSearchParams.prototype, value.toString()];
    if (value instanceof WeakRef) return ["weakref", WeakRef.prototype, this.#slot(value.deref())];
    if (types.isPromise(value)) return this.#promise(value);
    if (types.isGeneratorObject(value)) throw new CannotKeep("a generator's position cannot be saved");
    return undefined;
  }

  #typed(value, name) {
    // Small ones share the platform's pool of memory: only their own part is theirs.
    if (value instanceof Buffer && value.buffer.byteLength > value.byteLength)
      return [
        "typed",
        Uint8Array.prototype,
        name,
        this.#slot(value.buffer.slice(value.byteOffset, value.byteOffset + value.byteLength)),
        0,
        value.length,
      ];
    return [
      "typed",
      globalThis[name].prototype,
      name,
      this.#slot(value.buffer),
      value.byteOffset,
      name === "DataView" ? value.byteLength : value.length,
    ];
  }

  #promise(value) {
    const { state, result } = this.#fact(value);
    if (state === "pending") throw new CannotKeep("a promise that is pending cannot be saved");
    return ["promise", Promise.prototype, state ?? null, this.#slot(result)];
  }

  /** An object that only its class knows how to fill: of the platform, or with private fields. */
  #refuseForeign(value, prototype) {
    for (let at = prototype; at !== null && at !== Object.prototype; at = Object.getPrototypeOf(at)) {
      const owner = this.#platformOf(at);
      if (owner !== null) throw new CannotKeep(`an object of the platform (${owner}) cannot be saved`);
      const maker = Object.getOwnPropertyDescriptor(at, "constructor")?.value;
      if (typeof maker !== "function" || !Function.prototype.toString.call(maker).includes("#")) continue;
      if ((this.#fact(value).privates ?? []).length > 0) throw new CannotKeep("its class has private fields");
    }
  }

  /** What of the platform a prototype belongs to, but for what is ordinary; else null. */
  #platformOf(prototype) {
    const path = this.context.intrinsics.get(prototype);
    if (path !== undefined && !ORDINARY.has(path[0])) return path[0];
    const origin = this.context.origins.get(prototype);
    const isForeign =
      origin !== undefined && isBuiltin(origin.specifier) && origin.path[0] !== "EventEmitter";
    return isForeign ? (origin.path[0] ?? origin.specifier) : null;
  }

  /** null for the usual prototype of its kind. */
  #prototype(prototype, usual) {
    if (prototype === usual) return null;
    if (prototype === null) return undefined;
    const maker = Object.getOwnPropertyDescriptor(prototype, "constructor")?.value;
    if (
      typeof maker === "function" &&
      Object.getOwnPropertyDescriptor(maker, "prototype")?.value === prototype
    )
      return ["of", this.#slot(maker)];
    return ["is", this.#slot(prototype)];
  }

  /** Own properties as [key, slot] or [key, slot, flags, setter]. */
  #properties(value, skip) {
    const found = [];
    for (const key of Reflect.ownKeys(value)) {
      const descriptor = Object.getOwnPropertyDescriptor(value, key);
      if (skip(key, descriptor)) continue;
      found.push(this.#property(typeof key === "symbol" ? this.#slot(key) : key, descriptor));
    }
    return found;
  }

  #property(name, descriptor) {
    const { enumerable, configurable } = descriptor;
    const isData = hasOwn(descriptor, "value"); // not by `in`: a program may have added to what all objects inherit
    const writable = isData && descriptor.writable;
    const flags = Number(enumerable) | (Number(configurable) << 1) | (Number(writable) << 2);
    if (!isData) return [name, this.#slot(descriptor.get), flags | 8, this.#slot(descriptor.set)];
    const slot = this.#slot(descriptor.value);
    return flags === 7 ? [name, slot] : [name, slot, flags];
  }
}

const ORDINARY = new Set([
  "Object",
  "Array",
  "Function",
  "Error",
  "TypeError",
  "RangeError",
  "SyntaxError",
  "ReferenceError",
  "EvalError",
  "URIError",
  "AggregateError",
  "Math",
  "JSON",
  "Iterator",
]);

const isObject = (value) => typeof value === "object" && value !== null;

function describeSymbol(value) {
  const registered = Symbol.keyFor(value);
  if (registered !== undefined) return ["symbol", "for", registered];
  const name = Object.getOwnPropertyNames(Symbol).find((known) => Symbol[known] === value);
  return name === undefined ? ["symbol", "own", value.description] : ["symbol", "known", name];
}

function flagsOf(value) {
  if (Object.isExtensible(value)) return 0;
  if (Object.isFrozen(value)) return 3;
  return Object.isSealed(value) ? 2 : 1;
}

/** Whether an array is nothing but primitives, one after the other. */
function isDense(value) {
  if (Reflect.ownKeys(value).length !== value.length + 1) return false;
  for (let at = 0; at < value.length; at++) {
    const item = value[at];
    if (item === undefined && !(at in value)) return false;
    if ((typeof item === "object" && item !== null) || typeof item === "function" || typeof item === "symbol")
      return false;
  }
  return true;
}
