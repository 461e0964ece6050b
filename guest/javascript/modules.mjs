/**
 * What a program imports and requires: resolved as from a file in the workspace. Workspace modules run again when they
 * are required in a later run, and when any of them has changed; installed packages stay loaded.
 */
import fs from "node:fs";
import module, { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import util from "node:util";

const WORKSPACE = "/workspace/";
const RUN_URL = "file:///workspace/run.mjs";
const FROM_RUN = "era-run:";
const SUFFIXES = [".ts", ".js", ".mjs", ".cjs", ".json", "/index.ts", "/index.js", "/index.mjs"];
const NOT_FOUND = new Set(["ERR_MODULE_NOT_FOUND", "ERR_UNSUPPORTED_DIR_IMPORT", "MODULE_NOT_FOUND"]);
const MAX_NOTED = 1_000;
const MAX_ASKED = 10;
const MARK = {
  depth: 8,
  breakLength: Number.POSITIVE_INFINITY,
  customInspect: false,
  getters: false,
  showProxy: true,
  maxArrayLength: 10_000,
  maxStringLength: 10_000,
};
const isDeno = globalThis.Deno !== undefined;

const isWorkspaceFile = (file) => file.startsWith(WORKSPACE) && !file.includes("/node_modules/");

/** The require of a file in the workspace, and where what it and import gave out comes from. */
export class Modules {
  /**
   * Object or function -> {how, specifier, options, path, mark}: what need not be saved, since it can be imported
   * again.
   */
  origins = new WeakMap();
  /** Called with each module that was imported, by its specifier, and the functions that it gives out. */
  onImport = (_specifier, _functions) => undefined;
  #base = createRequire(`${WORKSPACE}run.js`);
  #files = new Map();
  #generation = 0;

  constructor() {
    if (!isDeno)
      module.registerHooks({
        resolve: (specifier, context, next) => this.#resolve(specifier, context, next),
      });
  }

  /** Makes require, module and so on known in the global scope. */
  install(importName) {
    const require = (specifier) => this.#note({ how: "require", specifier }, this.#base(specifier));
    Object.assign(require, {
      resolve: this.#base.resolve,
      cache: this.#base.cache,
      extensions: this.#base.extensions,
    });
    const main = {
      exports: {},
      id: ".",
      filename: `${WORKSPACE}run.js`,
      loaded: true,
      children: [],
      paths: [],
    };
    require.main = main;
    const dynamicImport = (specifier, options) => this.import(String(specifier), options);
    const names = {
      require,
      module: main,
      exports: main.exports,
      __filename: main.filename,
      __dirname: WORKSPACE.slice(0, -1),
      [importName]: dynamicImport,
    };
    dynamicImport.meta = {
      url: RUN_URL,
      filename: fileURLToPath(RUN_URL),
      dirname: WORKSPACE.slice(0, -1),
      main: true,
      resolve: (specifier) => pathToFileURL(this.#base.resolve(specifier)).href,
    };
    for (const [name, value] of Object.entries(names))
      Object.defineProperty(globalThis, name, {
        value,
        configurable: true,
        writable: true,
        enumerable: false,
      });
  }

  async import(specifier, options) {
    const found = await (isDeno
      ? import(this.#resolveForDeno(specifier), options)
      : import(FROM_RUN + specifier, options));
    return this.#note({ how: "import", specifier, options }, found);
  }

  /** The module again, in a later life of the session. Rejects when it is not there any more. */
  async again({ how, specifier, path: names, options }) {
    let value =
      how === "import"
        ? await this.import(specifier, options)
        : this.#note({ how, specifier }, this.#base(specifier));
    for (const name of names) value = value[name];
    return value;
  }

  /** Before a run: forgets workspace modules that are to run again. */
  refresh() {
    for (const file of Object.keys(this.#base.cache)) {
      if (!isWorkspaceFile(file)) continue;
      this.#files.set(file, signatureOf(file));
      delete this.#base.cache[file];
    }
    let changed = false;
    for (const [file, signature] of this.#files) {
      const now = signatureOf(file);
      changed ||= now !== signature;
      this.#files.set(file, now);
    }
    if (changed) this.#generation += 1;
  }

  #resolve(specifier, context, next) {
    const fromRun = specifier.startsWith(FROM_RUN);
    const wanted = fromRun ? specifier.slice(FROM_RUN.length) : specifier;
    const from = fromRun ? { ...context, parentURL: RUN_URL } : context;
    const result = resolveWithSuffix(wanted, from, next);
    const isImport = fromRun || context.conditions?.includes("import");
    if (!isImport || !result.url.startsWith("file:///workspace/")) return result;
    return { ...result, url: this.#stamped(result.url) };
  }

  #resolveForDeno(specifier) {
    if (/^(npm|jsr|node|https?|data|file):/.test(specifier)) return specifier;
    const file = /^[./]/.test(specifier) ? path.resolve(WORKSPACE, specifier) : this.#base.resolve(specifier);
    return module.isBuiltin(file) ? `node:${file}` : this.#stamped(pathToFileURL(file).href);
  }

  /** The address of a workspace module under which it is loaded anew after a change. */
  #stamped(url) {
    const file = fileURLToPath(url);
    if (!isWorkspaceFile(file)) return url;
    if (!this.#files.has(file)) this.#files.set(file, signatureOf(file));
    return this.#generation === 0 ? url : `${url}?era=${this.#generation}`;
  }

  #note(from, value) {
    const isNew = isObject(value) && !this.origins.has(value);
    const given = [...exportsOf(value)];
    for (const [object, names] of given) this.#noteObject(from, object, names);
    const functions = given.map(([object]) => object).filter((object) => typeof object === "function");
    if (isNew) this.onImport(from.specifier, functions.slice(0, MAX_ASKED));
    return value;
  }

  #noteObject(from, object, names) {
    if (!isObject(object) || this.origins.has(object)) return;
    const isOfWorkspace = /^\.{0,2}\//.test(from.specifier);
    const isMarked =
      isOfWorkspace && typeof object === "object" && !util.types.isModuleNamespaceObject(object);
    const mark = isMarked ? markOf(object) : undefined;
    this.origins.set(object, { ...from, path: names, mark });
  }
}

const { hasOwn } = Object;
const isObject = (value) => (typeof value === "object" && value !== null) || typeof value === "function";

/** What a module gives out, as [value, names that lead to it]; the first that leads to an object counts. */
function* exportsOf(value) {
  yield [value, []];
  if (!isObject(value)) return;
  for (const [name, part] of dataOf(value)) {
    yield [part, [name]];
    if (typeof part === "function" && part.prototype) yield [part.prototype, [name, "prototype"]];
    if (name !== "default" || typeof part !== "object" || part === null) continue;
    for (const [inner, its] of dataOf(part)) if (typeof its === "function") yield [its, [name, inner]];
  }
  if (typeof value === "function" && value.prototype) yield [value.prototype, ["prototype"]];
}

/** An accessor may do work, or warn: only what is there already is looked at, but for namespaces, which are safe. */
function* dataOf(object) {
  for (const name of Object.keys(object).slice(0, MAX_NOTED)) {
    const descriptor = Object.getOwnPropertyDescriptor(object, name);
    if (hasOwn(descriptor, "value")) yield [name, descriptor.value];
  }
}

/** What an object of a workspace module holds, in short: it need not be saved for as long as that stays so. */
export function markOf(object) {
  return util.inspect(object, MARK);
}

function resolveWithSuffix(specifier, context, next) {
  try {
    return next(specifier, context);
  } catch (error) {
    if (!NOT_FOUND.has(error.code) || !/^\.{0,2}\//.test(specifier)) throw error;
    for (const other of otherNames(specifier)) {
      try {
        return next(other, context);
      } catch {
        // not this one
      }
    }
    throw error;
  }
}

/** TypeScript names a module as it will be called when it is compiled. */
function otherNames(specifier) {
  const source = specifier.replace(/\.([mc]?)js$/, ".$1ts");
  const names = SUFFIXES.map((suffix) => specifier + suffix);
  return source === specifier ? names : [source, ...names];
}

function signatureOf(file) {
  try {
    const { mtimeNs, size, ino } = fs.statSync(file, { bigint: true });
    return `${mtimeNs} ${size} ${ino}`;
  } catch {
    return "";
  }
}
