/**
 * The forms in which a value can be shown: text, HTML, PNG, SVG and so on. It offers them by a method named
 * Symbol.for("Jupyter.display"), which answers contents by MIME type, or a promise of them.
 */
import { Buffer } from "node:buffer";
import { show } from "./evaluation.mjs";
import { toJson } from "./line.mjs";

const { stringify } = JSON;
const { isBuffer, from } = Buffer;
export const FORMS = Symbol.for("Jupyter.display");
const NAMES = {
  "text/plain": "text",
  "text/html": "html",
  "image/svg+xml": "svg",
  "image/png": "png",
  "image/jpeg": "jpeg",
  "text/markdown": "markdown",
  "text/latex": "latex",
  "application/json": "json",
};
const MAX_TEXT = 64 << 10;
const MAX_RICH = 4 << 20;
/** Bytes of the JSON of one result. */
export const MAX_ENCODED = (8 << 20) - 64;

/** What a value says of itself, or a promise of it; nothing when it fails. */
export function offeredBy(value) {
  try {
    const offered = typeof value?.[FORMS] === "function" ? value[FORMS]() : undefined;
    return typeof offered?.then === "function" ? offered.then(undefined, () => undefined) : offered;
  } catch {
    return undefined; // it is shown as text
  }
}

export function formsOf(value, offered) {
  const forms = typeof offered === "object" && offered !== null ? known(offered) : {};
  return { ...forms, text: forms.text ?? show(value).slice(0, MAX_TEXT).toWellFormed() };
}

/** Contents by MIME type, as the forms of a result. */
function known(contents) {
  const result = { text: "" };
  for (const [type, content] of Object.entries(contents)) {
    const name = NAMES[type];
    if (name === undefined) continue;
    const text = textOf(name, content);
    if (text === undefined) continue;
    if (text.length > MAX_RICH) result.omitted = [...(result.omitted ?? []), name];
    else result[name] = text.toWellFormed();
  }
  return result;
}

function textOf(name, content) {
  if (content instanceof Uint8Array || isBuffer(content)) return from(content).toString("base64");
  if (typeof content === "string") return content;
  return name === "json" ? stringify(content) : undefined;
}

/** A result as JSON, in bytes: within the limit, for which the largest forms are left out, and named. */
export function encode(result) {
  const content = from(toJson(result));
  if (content.length <= MAX_ENCODED) return content;
  const sizeOf = (name) => Buffer.byteLength(result[name] ?? "");
  const largest = Object.values(NAMES).reduce((a, b) => (sizeOf(b) > sizeOf(a) ? b : a));
  const { [largest]: left, ...rest } = result;
  const text = largest === "text" ? "" : result.text;
  return encode({ ...rest, text, omitted: [...(result.omitted ?? []), largest] });
}
