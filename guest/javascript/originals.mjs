/**
 * The built-in objects that saving works with, as they were before any program. A program may replace what is in them
 * (a polyfill, a mock of fs): not while the session is saved.
 */
import { Buffer } from "node:buffer";
import fs from "node:fs";
import process from "node:process";
import util from "node:util";
import v8 from "node:v8";

const { defineProperty, getOwnPropertyDescriptor, getPrototypeOf, hasOwn, is } = Object;
const { deleteProperty, ownKeys } = Reflect;
const MAX_TOLD = 20;

const iteratorOf = (made) => getPrototypeOf(made[Symbol.iterator]());
const TypedArray = getPrototypeOf(Uint8Array);
const ArrayIterator = iteratorOf([]);
const OBJECTS = {
  Object,
  "Object.prototype": Object.prototype,
  "Function.prototype": Function.prototype,
  Array,
  "Array.prototype": Array.prototype,
  "String.prototype": String.prototype,
  "Number.prototype": Number.prototype,
  "Boolean.prototype": Boolean.prototype,
  "RegExp.prototype": RegExp.prototype,
  "Map.prototype": Map.prototype,
  "Set.prototype": Set.prototype,
  "WeakMap.prototype": WeakMap.prototype,
  "Date.prototype": Date.prototype,
  Promise,
  "Promise.prototype": Promise.prototype,
  JSON,
  Math,
  Number,
  Reflect,
  Symbol,
  Buffer,
  "Buffer.prototype": Buffer.prototype,
  TypedArray,
  "TypedArray.prototype": TypedArray.prototype,
  "Iterator.prototype": getPrototypeOf(ArrayIterator),
  "ArrayIterator.prototype": ArrayIterator,
  "MapIterator.prototype": iteratorOf(new Map()),
  "SetIterator.prototype": iteratorOf(new Set()),
  "StringIterator.prototype": iteratorOf(""),
};
/** Only what is used of the platform's modules: their other parts are nobody's business. */
/** @type {Record<string, [object, (string | symbol)[]]>} */
const FUNCTIONS = {
  fs: [fs, ownKeys(fs).filter((name) => typeof name === "string" && name.endsWith("Sync"))],
  v8: [v8, ["serialize", "deserialize"]],
  util: [util, ["inspect"]],
  "util.types": [util.types, ownKeys(util.types)],
  process: [process, ["cwd", "chdir", "getActiveResourcesInfo"]],
};
/** Where it is, JSON is written by it. */
const TO_JSON = [
  "Object.prototype",
  "Array.prototype",
  "String.prototype",
  "Number.prototype",
  "Boolean.prototype",
];

/** Values are compared without making a description of each: this is done for some hundred of them at each save. */
function isThere(object, key, original) {
  if (original === undefined) return !hasOwn(object, key);
  if (original.get === undefined && original.set === undefined) return is(object[key], original.value);
  const now = getOwnPropertyDescriptor(object, key);
  return now !== undefined && now.get === original.get && now.set === original.set;
}

export class Originals {
  /** [object, key, descriptor, name]: descriptor undefined where nothing was, only then with a name. */
  #parts = [];
  /** [name, object, keys] of those whose new parts are told. */
  #keys = [];
  #toJson = [];

  constructor() {
    for (const [name, object] of Object.entries(OBJECTS)) {
      const keys = ownKeys(object);
      for (const key of keys) this.#parts.push([object, key, getOwnPropertyDescriptor(object, key)]);
      this.#keys.push([name, object, new Set(keys)]);
    }
    for (const [object, keys] of Object.values(FUNCTIONS))
      for (const key of keys) {
        const descriptor = getOwnPropertyDescriptor(object, key);
        if (descriptor !== undefined) this.#parts.push([object, key, descriptor]);
      }
    for (const name of TO_JSON) this.#parts.push([OBJECTS[name], "toJSON", undefined, `${name}.toJSON`]);
  }

  /** Does `work` with the originals in their places, then puts back what the program had there. */
  async during(work) {
    const theirs = [];
    this.#toJson = [];
    for (let at = 0; at < this.#parts.length; at++) {
      const [object, key, original] = this.#parts[at];
      if (isThere(object, key, original)) continue;
      theirs[theirs.length] = [object, key, getOwnPropertyDescriptor(object, key)];
      if (original === undefined) this.#toJson[this.#toJson.length] = this.#parts[at][3];
      put(object, key, original);
    }
    try {
      return await work();
    } finally {
      for (let at = 0; at < theirs.length; at++) put(theirs[at][0], theirs[at][1], theirs[at][2]);
    }
  }

  /**
   * What programs have added to built-ins, as names: it has no saved form. Called with the originals in their places.
   */
  get added() {
    const found = [...this.#toJson];
    for (const [name, object, known] of this.#keys) {
      const keys = ownKeys(object);
      if (keys.length === known.size) continue;
      for (const key of keys)
        if (!known.has(key) && found.length < MAX_TOLD) found.push(`${name}.${String(key)}`);
    }
    return found;
  }
}

function put(object, key, descriptor) {
  try {
    if (descriptor === undefined) deleteProperty(object, key);
    else defineProperty(object, key, descriptor);
  } catch {
    // the program has made it so that nobody can change it any more
  }
}
