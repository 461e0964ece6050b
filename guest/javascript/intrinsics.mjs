/** What the language and the platform bring along: a saved value names it by the path to it. */
import { Buffer } from "node:buffer";
import process from "node:process";

const MAX_DEPTH = 4;

/** Objects and functions that are its properties, by names that are text. */
function* partsOf(object) {
  for (const key of Reflect.ownKeys(object)) {
    const value = Object.getOwnPropertyDescriptor(object, key).value;
    const isObject = (typeof value === "object" && value !== null) || typeof value === "function";
    if (typeof key === "string" && isObject) yield [key, value];
  }
}

/** Every object that the language and the platform bring along -> the path to it, as ["Array", "prototype"]. */
export function findIntrinsics() {
  const found = new Map();
  /** @type {[any, string[]][]} */
  const pending = [[globalThis, []]];
  while (pending.length > 0) {
    const [object, path] = pending.shift();
    for (const [key, value] of partsOf(object)) {
      if ((path.length === 0 && key.startsWith("__")) || found.has(value)) continue;
      found.set(value, [...path, key]);
      if (path.length < MAX_DEPTH - 1) pending.push([value, [...path, key]]);
    }
  }
  const generator = function* () {
    yield 0;
  };
  found.set(Object.getPrototypeOf(generator), ["(generator function)"]);
  found.set(
    Object.getPrototypeOf(async () => undefined),
    ["(async function)"],
  );
  found.set(globalThis, []);
  for (const [name, value] of Object.entries({ Buffer, process })) {
    found.set(value, [name]);
    if ("prototype" in value) found.set(value.prototype, [name, "prototype"]);
  }
  return found;
}
