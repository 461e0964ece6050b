/**
 * display() of node, typescript and deno: values in the richest form that they offer, told at once: see forms.mjs.
 */
import { Buffer } from "node:buffer";
import { show } from "./evaluation.mjs";
import { encode, FORMS, formsOf, MAX_ENCODED, offeredBy } from "./forms.mjs";
import { toJson } from "./line.mjs";
import { isOfCurrentRun, write } from "./output.mjs";

const { stringify } = JSON;
const { isArray } = Array;
const { concat, from: bytesOf } = Buffer;
const TypedArray = Object.getPrototypeOf(Uint8Array);
const MAX_ALL = MAX_ENCODED;
const MAX_ITEMS = 1_000;
const MAX_ID = 200;
const MAX_ROWS = 1_000;
const COMMA = bytesOf(",");

/** What the run in progress shows. */
export class Results {
  /** {id, content}: content is a result as JSON. */
  #items = [];
  #size = 0;
  #main;
  #leftOut = 0;
  #show;

  /** `show(result)`, as JSON, is called for each that is displayed; it answers a promise of that being on its way. */
  constructor(show) {
    this.#show = show;
  }

  /** The results as a JSON list, within the limit, and how many have no room in it; the collection is empty then. */
  take() {
    const own = this.#main === undefined ? [] : [this.#main];
    const most = MAX_ALL - own.reduce((sum, content) => sum + roomOf(content), 0);
    const items = this.#items;
    let left_out = this.#leftOut;
    for (; items.length > 0 && (this.#size > most || items.length + own.length > MAX_ITEMS); left_out++)
      this.#size -= roomOf(items.pop().content);
    const contents = [...items.map(({ content }) => content), ...own];
    this.#items = [];
    this.#size = this.#leftOut = 0;
    this.#main = undefined;
    return { results: listOf(contents), left_out };
  }

  /** The value of a last expression. */
  async add(value) {
    const offered = await offeredBy(value);
    this.#main = encode({ main: true, ...formsOf(value, offered) });
  }

  /** For the API of variables: one form of a value, and what is to be known of it; throws when there is none. */
  addValue(value, { form, from, count }) {
    if (value === undefined) throw named("NoSuchVariable", "there is no such variable");
    const isList = isArray(value) || value instanceof TypedArray || typeof value === "string";
    const part = isList && (from > 0 || count !== null) ? partOf(value, from, count ?? undefined) : value;
    const text = formOf(part, form);
    const about = { type: typeOf(value), length: isList ? value.length : null, shape: null };
    const content = bytesOf(toJson({ main: true, text: text.toWellFormed(), json: stringify(about) }));
    if (content.length > MAX_ENCODED)
      throw named(
        "NoSuchForm",
        `it takes ${content.length} bytes, of ${MAX_ENCODED} at most: ask for a part of it`,
      );
    this.#main = content;
  }

  /**
   * With the id of one that was displayed before, it takes the place of that. What is printed after the promise is
   * there comes after it.
   */
  display(value, /** @type {{ display_id?: string }} */ options = {}) {
    const id = options.display_id === undefined ? undefined : String(options.display_id).toWellFormed();
    if (id !== undefined && id.length > MAX_ID)
      throw new RangeError(`a display_id has ${MAX_ID} characters at most, and this one ${id.length}`);
    const offered = offeredBy(value);
    if (typeof offered?.then !== "function") return this.#put(formsOf(value, offered), id);
    return offered.then((found) => this.#put(formsOf(value, found), id));
  }

  #put(forms, id) {
    if (!isOfCurrentRun()) {
      write("stdout", `${forms.text}\n`); // what an earlier run has left shows nothing in this one
      return Promise.resolve();
    }
    const content = encode({ main: false, ...forms, ...(id === undefined ? {} : { display_id: id }) });
    const before = id === undefined ? undefined : this.#items.find((item) => item.id === id);
    if (before === undefined) this.#keep({ id, content });
    else {
      this.#size += content.length - before.content.length;
      before.content = content;
    }
    return this.#show(content);
  }

  #keep(item) {
    if (this.#size + roomOf(item.content) > MAX_ALL || this.#items.length >= MAX_ITEMS) this.#leftOut += 1;
    else {
      this.#size += roomOf(item.content);
      this.#items.push(item);
    }
  }
}

/** In a list: with what separates it from the next. */
const roomOf = (content) => content.length + 2;

function listOf(contents) {
  if (contents.length === 0) return undefined;
  const parts = contents.flatMap((content, at) => (at === 0 ? [content] : [COMMA, content]));
  return concat([bytesOf("["), ...parts, bytesOf("]")]);
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

/** Exactly, or not at all: JSON leaves out what it does not know, or makes null of it. */
function jsonOf(value) {
  return stringify(exactly(value));
}

/** What says the same in JSON: plain objects and lists, texts, numbers that there are; of a date its text. */
function exactly(value) {
  if (value === null || typeof value === "string" || typeof value === "boolean") return value;
  if (typeof value === "number" && Number.isFinite(value)) return value;
  if (isArray(value) && Object.keys(value).length === value.length) return value.map(exactly);
  if (value instanceof TypedArray) return [.../** @type {any} */ (value)].map(exactly);
  if (value instanceof Date && !Number.isNaN(value.getTime())) return value.toISOString();
  if (!isPlain(value)) throw named("NoSuchForm", `a ${typeOf(value)} in it is not JSON`);
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, exactly(part)]));
}

function isPlain(value) {
  if (typeof value !== "object") return false;
  const prototype = Object.getPrototypeOf(value);
  const isObject = prototype === Object.prototype || prototype === null;
  return isObject && Object.getOwnPropertySymbols(value).length === 0;
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
