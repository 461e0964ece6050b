/**
 * display() of node, typescript and deno: values in the richest form that they offer, told at once. A value
 * offers forms by a method named Symbol.for("Jupyter.display"), which answers contents by MIME type.
 */
import { Buffer } from "node:buffer";
import { show } from "./evaluation.mjs";

const { stringify } = JSON;
const { isArray } = Array;
const TypedArray = Object.getPrototypeOf(Uint8Array);
const { isBuffer, from } = Buffer;
const FORMS = Symbol.for("Jupyter.display");
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
const MAX_ALL = 8 << 20;
const MAX_ITEMS = 1_000;
const MAX_ID = 200;
const MAX_ROWS = 1_000;

/** What the run in progress shows. */
export class Results {
  #items = [];
  #size = 0;
  #show;

  /** `show(result)` is called for each that is displayed; it answers a promise of that being on its way. */
  constructor(show) {
    this.#show = show;
  }

  /** The results; the collection is empty afterwards. */
  take() {
    const items = this.#items;
    this.#items = [];
    this.#size = 0;
    return items;
  }

  /** The value of a last expression. */
  async add(value) {
    const offered = await offeredBy(value);
    this.#keep({ main: true, ...formsOf(value, offered) });
  }

  /** For the API of variables: one form of a value, and what is to be known of it; throws when there is none. */
  addValue(value, { form, from, count }) {
    if (value === undefined) throw named("NoSuchVariable", "there is no such variable");
    const isList = isArray(value) || value instanceof TypedArray || typeof value === "string";
    const part = isList && (from > 0 || count !== null) ? partOf(value, from, count ?? undefined) : value;
    const text = formOf(part, form);
    if (text.length > MAX_ALL)
      throw named("NoSuchForm", `it has ${text.length} characters: ask for a part of it`);
    const about = { type: typeOf(value), length: isList ? value.length : null, shape: null };
    this.#items.push({ main: true, text: text.toWellFormed(), json: stringify(about) });
  }

  /**
   * With the id of one that was displayed before, it takes the place of that. What is printed after the promise is
   * there comes after it.
   */
  display(value, /** @type {{ display_id?: string, update?: boolean }} */ options = {}) {
    const offered = offeredBy(value);
    if (typeof offered?.then !== "function") return this.#put(formsOf(value, offered), options);
    return offered.then((found) => this.#put(formsOf(value, found), options));
  }

  #put(forms, /** @type {{ display_id?: string, update?: boolean }} */ { display_id, update = false }) {
    const id = display_id === undefined ? {} : { display_id: String(display_id).slice(0, MAX_ID) };
    const result = { main: false, ...forms, ...id };
    const at =
      display_id === undefined ? -1 : this.#items.findIndex((item) => item.display_id === id.display_id);
    if (update && at < 0) return Promise.resolve();
    if (at >= 0) {
      this.#size += sizeOf(result) - sizeOf(this.#items[at]);
      this.#items[at] = result;
    } else this.#keep(result);
    return this.#show(result);
  }

  #keep(result) {
    this.#size += sizeOf(result);
    if (this.#size <= MAX_ALL && this.#items.length < MAX_ITEMS) this.#items.push(result);
  }
}

/** The display() that programs have: a function, with one that makes each form. */
export function displayFunction(results) {
  const as = (type) => (content) => ({
    [FORMS]: () => ({ "text/plain": shortText(content), [type]: content }),
  });
  const forms = {
    html: as("text/html"),
    svg: as("image/svg+xml"),
    png: as("image/png"),
    jpeg: as("image/jpeg"),
    markdown: as("text/markdown"),
    latex: as("text/latex"),
    json: as("application/json"),
    table,
  };
  const display = (value, options) => results.display(value, options);
  display.value = (value, part) => results.addValue(value, part);
  for (const [name, make] of Object.entries(forms))
    display[name] = (content, options) => display(make(content), options);
  return display;
}

const partOf = (list, from, count) => list.slice(from, count === undefined ? undefined : from + count);
const typeOf = (value) => (typeof value === "object" ? (value?.constructor?.name ?? "null") : typeof value);

function formOf(value, form) {
  if (form === "text") return typeof value === "string" ? value : show(value);
  if (form === "json") return jsonOf(value);
  const text = formsOf(value, offeredBy(value))[form];
  if (text === undefined) throw named("NoSuchForm", `a ${typeOf(value)} offers no ${form}`);
  return text;
}

/** Exactly, or not at all: JSON leaves out functions and symbols, and makes null of what is no number. */
function jsonOf(value) {
  const plain =
    ArrayBuffer.isView(value) && !(value instanceof DataView) ? [.../** @type {any} */ (value)] : value;
  const text = stringify(plain, (_key, part) => {
    const isLost = ["function", "symbol", "bigint", "undefined"].includes(typeof part);
    const isNoNumber = typeof part === "number" && !Number.isFinite(part);
    if (isLost || isNoNumber || part instanceof Map || part instanceof Set)
      throw named("NoSuchForm", `a ${typeOf(part)} in it is not JSON`);
    return part;
  });
  return text;
}

function named(name, message) {
  const error = new Error(message);
  error.name = name;
  return error;
}

const shortText = (content) => (typeof content === "string" ? content : show(content));

/** Rows as console.table() takes them: a list of objects or of lists. */
function table(rows) {
  const list = [...rows].slice(0, MAX_ROWS);
  const names = [...new Set(list.flatMap((row) => Object.keys(row)))];
  const line = (tag, cells) =>
    `<tr>${cells.map((cell) => `<${tag}>${escaped(cell)}</${tag}>`).join("")}</tr>`;
  const body = list.map((row) =>
    line(
      "td",
      names.map((name) => (row[name] === undefined ? "" : row[name])),
    ),
  );
  const html = `<table><thead>${line("th", names)}</thead><tbody>${body.join("")}</tbody></table>`;
  return { [FORMS]: () => ({ "text/plain": show(rows), "text/html": html }) };
}

const ENTITIES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
const escaped = (cell) =>
  (typeof cell === "object" && cell !== null ? show(cell) : String(cell)).replace(
    /[&<>"]/g,
    (found) => ENTITIES[found],
  );

/** What a value says of itself, or a promise of it; nothing when it fails. */
function offeredBy(value) {
  try {
    const offered = typeof value?.[FORMS] === "function" ? value[FORMS]() : undefined;
    return typeof offered?.then === "function" ? offered.then(undefined, () => undefined) : offered;
  } catch {
    return undefined; // it is shown as text
  }
}

function formsOf(value, offered) {
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

const sizeOf = (result) =>
  Object.values(result).reduce((sum, part) => sum + (typeof part === "string" ? part.length : 0), 0);
