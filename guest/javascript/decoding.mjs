/**
 * Bytes back to values: what encoding.mjs wrote. Objects are made first and filled later, so that cycles close;
 * functions and classes are evaluated from their source in the session's global scope. Waits only for modules to be
 * imported again.
 */
import v8 from "node:v8";
import { indirectEval } from "./evaluation.mjs";
import { Edits, parseScript } from "./syntax.mjs";

const ACCESSOR = 8;
/** Not a name that a method of the class could mean. */
const PARENT = "__era_parent__";

export class Decoder {
  #context;
  #nodes = [];
  #made = [];
  #fill = [];

  /** `context`: {modules, sources, resolveIntrinsic} of the session. */
  constructor(context) {
    this.#context = context;
  }

  /** Answers the variables as [[name, value]]. Rejects when something cannot be made again. */
  async decode(data) {
    const { slots, nodes } = v8.deserialize(new Uint8Array(data)); // a copy: Deno reads wrongly from a part of a buffer
    this.#nodes = nodes;
    for (const [id, node] of nodes.entries()) {
      if (node[0] === "module")
        this.#made[id] = {
          value: await this.#context.modules.again({
            how: node[1],
            specifier: node[2],
            path: node[3],
            options: node[4] ?? undefined,
          }),
        };
    }
    const values = slots.map(([name, slot]) => [name, this.#value(slot)]);
    for (let fill = this.#fill.shift(); fill !== undefined; fill = this.#fill.shift()) fill();
    return values;
  }

  #value(slot) {
    if (!Array.isArray(slot)) return slot;
    const [id] = slot;
    this.#made[id] ??= this.#make(this.#nodes[id]);
    return this.#made[id].value;
  }

  #make(node) {
    const [kind] = node;
    const made =
      kind in MAKERS ? MAKERS[kind](node, (slot) => this.#value(slot), this.#context) : this.#makeOf(node);
    return made;
  }

  #makeOf(node) {
    const [kind] = node;
    if (kind === "function") return this.#makeFunction(node);
    if (kind === "class") return this.#makeClass(node);
    if (kind === "bound")
      return {
        value: Function.prototype.bind.apply(
          this.#value(node[1]),
          node.slice(2).map((slot) => this.#value(slot)),
        ),
      };
    return this.#makeObject(node);
  }

  #makeObject([kind, prototype, flags, own, ...content]) {
    const value = OBJECTS[kind](content, (slot) => this.#value(slot), own);
    if (prototype !== null) Object.setPrototypeOf(value, this.#prototypeOf(prototype));
    this.#fill.push(() => {
      FILLERS[kind]?.(value, content, (slot) => this.#value(slot));
      if (kind !== "values") this.#define(value, own);
      if (flags === 3) Object.freeze(value);
      else if (flags === 2) Object.seal(value);
      else if (flags === 1) Object.preventExtensions(value);
    });
    return { value };
  }

  #prototypeOf(described) {
    if (described === undefined) return null;
    const [how, slot] = described;
    const value = this.#value(slot);
    return how === "of" ? value.prototype : value;
  }

  #makeFunction([, source, name, own, inside]) {
    const value = functionFrom(source);
    this.#context.sources.set(value, source);
    if (value.name !== name) Object.defineProperty(value, "name", { value: name, configurable: true });
    this.#fill.push(() => {
      this.#define(value, own);
      if (inside.length > 0) this.#define(value.prototype, inside);
    });
    return { value };
  }

  #makeClass([, source, name, parent, statics, methods]) {
    const value = classFrom(source, name, parent === null ? undefined : this.#value(parent));
    this.#context.sources.set(value, source);
    this.#fill.push(() => {
      this.#define(value, statics);
      this.#define(value.prototype, methods);
    });
    return { value };
  }

  #define(target, properties) {
    for (const [name, slot, flags = 7, setter] of properties) {
      const key = Array.isArray(name) ? this.#value(name) : name;
      const shared = { enumerable: (flags & 1) !== 0, configurable: (flags & 2) !== 0 };
      if (flags & ACCESSOR)
        Object.defineProperty(target, key, { ...shared, get: this.#value(slot), set: this.#value(setter) });
      else
        Object.defineProperty(target, key, {
          ...shared,
          writable: (flags & 4) !== 0,
          value: this.#value(slot),
        });
    }
  }
}

const MAKERS = {
  intrinsic: ([, path], _value, context) => ({ value: context.resolveIntrinsic(path) }),
  symbol: ([, how, text]) => ({
    value: how === "for" ? Symbol.for(text) : how === "known" ? Symbol[text] : Symbol(text),
  }),
};

/** Each kind of object, empty where it can be filled later: a cycle may lead through it. */
const OBJECTS = {
  object: () => ({}),
  array: ([length]) => new Array(length),
  values: (_content, _value, items) => items,
  map: () => new Map(),
  set: () => new Set(),
  date: ([time]) => new Date(time),
  regexp: ([source, flags]) => new RegExp(source, flags),
  error: ([stack]) => blankError(stack),
  buffer: ([bytes, maxByteLength]) => bufferFrom(bytes, maxByteLength),
  typed: ([name, buffer, offset, length], value) => new globalThis[name](value(buffer), offset, length),
  boxed: ([slot], value) => Object(value(slot)),
  url: ([href]) => new URL(href),
  parameters: ([text]) => new URLSearchParams(text),
  weakref: ([slot], value) => new WeakRef(value(slot) ?? {}),
  promise: ([state, slot], value) => settled(state, value(slot)),
};

const FILLERS = {
  map: (target, [entries], value) => {
    for (const [key, item] of entries) Map.prototype.set.call(target, value(key), value(item));
  },
  set: (target, [items], value) => {
    for (const item of items) Set.prototype.add.call(target, value(item));
  },
};

function blankError(stack) {
  const error = new Error();
  for (const key of Reflect.ownKeys(error)) delete error[key];
  Object.defineProperty(error, "stack", { value: stack, configurable: true, writable: true });
  return error;
}

function bufferFrom(bytes, maxByteLength) {
  const buffer = new ArrayBuffer(bytes.byteLength, maxByteLength === null ? undefined : { maxByteLength });
  new Uint8Array(buffer).set(bytes);
  return buffer;
}

function settled(state, result) {
  if (state === "fulfilled") return Promise.resolve(result);
  const promise = Promise.reject(result);
  promise.catch(() => undefined); // it was rejected, and told, before
  return promise;
}

/** A function from its own text, whichever form it was written in. */
function functionFrom(source) {
  if (parseScript(`(${source}\n)`) !== null) {
    try {
      return indirectEval(`(${source}\n)`);
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
    }
  }
  // A method, getter or setter of an object or class.
  const holder = indirectEval(`({${source}\n})`);
  const { value, get, set } = Object.getOwnPropertyDescriptor(holder, Reflect.ownKeys(holder)[0]);
  return value ?? get ?? set;
}

/**
 * A class without what its static parts would do when it is made: they have been done, and their values are restored.
 */
function classFrom(source, name, parent) {
  const tree = parseScript(`(${source}\n)`);
  const node = tree?.body[0]?.expression;
  if (node === undefined) throw new SyntaxError("the class's source cannot be read");
  const edits = new Edits(`(${source}\n)`);
  for (const part of node.body.body) {
    if (
      part.type === "StaticBlock" ||
      (part.type === "PropertyDefinition" && part.static && part.key.type !== "PrivateIdentifier")
    )
      edits.replace(part.start, part.end, "");
  }
  if (node.superClass !== null) edits.replace(node.superClass.start, node.superClass.end, PARENT);
  const made = indirectEval(`${PARENT} => ${edits.apply()}`)(parent);
  if (made.name !== name) Object.defineProperty(made, "name", { value: name, configurable: true });
  return made;
}
