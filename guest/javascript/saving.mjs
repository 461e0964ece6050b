/**
 * Saving the variables after each run, between two runs: what the program can have touched, in groups of variables that
 * share objects. The same rules as for Python (guest/python/saving.py); there is no fork, so a save takes its time
 * here.
 */
import { Buffer } from "node:buffer";
import process from "node:process";
import { CannotKeep, Encoder, NeedsFacts } from "./encoding.mjs";
import { findIntrinsics } from "./intrinsics.mjs";
import { KeptVersions } from "./kept-versions.mjs";
import { BEGINS_ANEW, ModuleState } from "./module-state.mjs";
import { Originals } from "./originals.mjs";
import { Restorer } from "./restoring.mjs";
import { MAX_REASON, NOTHING_SAVED, ofFailure, ofRestore, ofSave } from "./save-report.mjs";
import { Data, makeFolders, removeUnfinished, TooLarge, writeVersion } from "./state-files.mjs";
import { wordsOf } from "./syntax.mjs";
import { captureSurroundings, describe, typeOf } from "./variables.mjs";

const MAX_CHANGED = 100;
const MAX_ATTEMPTS = 50;
const ADDED = "what is added to a built-in object cannot be saved";
/** Whoever uses one of these can reach variables that the program does not name. */
const REACH_ALL = new Set([
  "eval",
  "Function",
  "globalThis",
  "global",
  "window",
  "self",
  "vm",
  "inspector",
  "AsyncFunction",
]);
/** What may go on after the run, and touch anything then; asked for by name where the platform does not tell. */
const GOES_ON = new Set(
  globalThis.Deno === undefined
    ? ["unref"]
    : [
        "setTimeout",
        "setInterval",
        "setImmediate",
        "Promise",
        "async",
        "then",
        "on",
        "addEventListener",
        "serve",
        "listen",
        "queueMicrotask",
      ],
);

export class Saver {
  #evaluator;
  #variables;
  #context;
  #originals = new Originals();
  #moduleState;
  #kept = new KeptVersions();
  #header = NOTHING_SAVED;
  #touched = new Set();
  #touchedAll = false;
  #seen = new Map();
  /** Name -> {name, type, reason}: could not be kept, or not be restored, and has no value now. */
  lost = new Map();
  #goesOn = false;
  #ownResources = null;

  constructor({ evaluator, variables, modules }) {
    this.#evaluator = evaluator;
    this.#variables = variables;
    this.#moduleState = new ModuleState(evaluator);
    modules.onImport = (specifier, functions) => this.#moduleState.note(specifier, functions);
    const intrinsics = findIntrinsics();
    const byPath = new Map([...intrinsics].map(([value, path]) => [path.join("."), value]));
    this.#context = {
      intrinsics,
      resolveIntrinsic: (path) => byPath.get(path.join(".")),
      origins: modules.origins,
      modules,
      facts: new WeakMap(),
      sources: new WeakMap(),
    };
  }

  /** Restores the newest version that can be read; answers what the agent is told, null when nothing was ever saved. */
  async restore() {
    const restorer = new Restorer(this.#evaluator, this.#variables, {
      context: this.#context,
      lost: this.lost,
    });
    const { header, damage } = await restorer.restoreNewest();
    if (header !== null) {
      this.#header = header;
      this.#look();
    }
    return ofRestore(header, damage);
  }

  /** Notes what a program, which has ended, can have touched. */
  note(code) {
    const words = wordsOf(code);
    this.#goesOn ||= !words.isDisjointFrom(GOES_ON);
    this.#touchedAll ||= !words.isDisjointFrom(REACH_ALL) || this.background > 0 || this.#goesOn;
    for (const word of words) this.#touched.add(word);
    const before = this.#seen;
    this.#look();
    for (const [name, value] of this.#seen)
      if (!Object.is(before.get(name), value) || !before.has(name)) this.#touched.add(name);
    for (const name of before.keys()) if (!this.#seen.has(name)) this.#touched.add(name);
    for (const name of this.#seen.keys()) this.lost.delete(name);
  }

  #look() {
    this.#seen = this.#variables.read();
  }

  /** Timers, servers and the like that the program has left running. */
  get background() {
    const resources = process.getActiveResourcesInfo?.() ?? [];
    this.#ownResources ??= resources.length;
    return Math.max(0, resources.length - this.#ownResources);
  }

  /** Counts the kernel's own timers and pipes, before any program has run. */
  settle() {
    this.#ownResources = process.getActiveResourcesInfo?.().length ?? 0;
  }

  /** Saves what was touched; with `all`, everything. Answers the report for the agent; does not reject. */
  save(request) {
    return this.#originals.during(() => this.#save(request));
  }

  async #save({ version, run, result, keep, durable: isAsked, stage, all }) {
    this.#kept.keep = keep;
    try {
      const durable = isAsked || this.#kept.isFlushDue;
      if (durable || this.#header.version === 0) makeFolders();
      if (this.#header.version === 0) removeUnfinished();
      this.#touchedAll ||= all;
      const entry = {
        version,
        run: run ?? this.#header.run,
        result: result === undefined ? this.#header.result : result,
      };
      const [header, isDurable] = await this.#write(entry, durable, stage);
      this.#header = header;
      this.#touched = new Set();
      this.#touchedAll = false;
      this.#kept.add(header, isDurable, stage);
      return ofSave(header, version, { written: header.written, staged: stage, background: this.background });
    } catch (error) {
      removeUnfinished();
      const reason = error instanceof TooLarge ? error.message : `${error?.name}: ${error?.message}`;
      return ofFailure(version, reason, this.#header, { background: this.background });
    }
  }

  /**
   * Answers the header, and whether it is on disk. A snapshot is taken in one go; facts that it needs are asked for,
   * and it is taken again.
   */
  async #write(entry, durable, stage) {
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const missing = [];
      const taken = this.#take(missing);
      if (missing.length === 0) return this.#put(entry, taken, durable, stage);
      for (const value of missing) await this.#learn(value);
      await this.#evaluator.endLook();
    }
    throw new Error("the variables change faster than they can be looked at");
  }

  #take(missing) {
    const values = this.#variables.read();
    const groups = new Map(this.#header.groups.flatMap((group) => group.names.map((name) => [name, group])));
    const pending = this.#touchedAll ? [...values.keys(), ...groups.keys()] : [...this.#touched];
    const seen = new Set();
    const encoders = new Map();
    const failures = new Map();
    for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
      if (seen.has(name)) continue;
      seen.add(name);
      const group = groups.get(name);
      if (group !== undefined) pending.push(...group.names, ...group.reaches);
      if (!values.has(name)) continue;
      const encoder = this.#encode([name], { values, missing, failures });
      if (encoder === null) continue;
      encoders.set(name, encoder);
      pending.push(...encoder.words);
    }
    if (missing.length > 0) return null;
    const parts = partition(encoders).map((names) =>
      names.length === 1 ? encoders.get(names[0]) : this.#encode(names, { values, missing, failures }),
    );
    return { values, groups, seen, parts: parts.filter(Boolean), failures };
  }

  /** Null when they have no saved form. What is saved, but not as it was, is among the failures, too. */
  #encode(names, { values, missing, failures }, trustsModules = false) {
    const encoder = new Encoder(this.#context, trustsModules);
    const fail = (reason) => {
      for (const name of names) failures.set(name, reason);
    };
    try {
      encoder.names = names;
      encoder.data = encoder.encode(Object.fromEntries(names.map((name) => [name, values.get(name)])));
      if (encoder.notes.length > 0) fail(encoder.notes[0]);
      return encoder;
    } catch (error) {
      if (error instanceof NeedsFacts) missing.push(...encoder.missing);
      else if (error instanceof CannotKeep && encoder.hasChanged && !trustsModules) {
        const imported = this.#encode(names, { values, missing, failures }, true);
        if (imported !== null) fail(`it is what its module gives out again: ${error.message}`);
        return imported;
      } else fail(error instanceof CannotKeep ? error.message : `${error?.name}: ${error?.message}`);
      return null;
    }
  }

  #put(entry, { values, groups, seen, parts, failures }, durable, stage) {
    const data = new Data(entry.version, durable);
    const carry = data.carrier(this.#header);
    const kept = this.#header.groups
      .filter((group) => !group.names.some((name) => seen.has(name)))
      .map((group) => ({ ...group, at: carry(group.at) }));
    const size = [...kept.map((group) => group.at[2]), ...parts.map((part) => part.data.length)];
    this.#refuseTooLarge(size.reduce((total, bytes) => total + bytes, 0));
    const made = parts.map((part) => entryOf(part, values, data.add(part.data)));
    const changed = made.flatMap((group) =>
      group.names.filter((name) => groups.get(name)?.at[3] !== group.at[3]),
    );
    const removed = [...groups.keys()].filter((name) => seen.has(name) && !values.has(name));
    const all = [...kept, ...made];
    const kinds = Object.fromEntries(
      all.flatMap(({ names }) => names.map((name) => [name, this.#variables.kinds.get(name)])),
    );
    const header = {
      ...entry,
      at: Date.now(),
      kernel: "javascript",
      changed: [...changed, ...removed].sort().slice(0, MAX_CHANGED),
      bytes: all.reduce((sum, group) => sum + group.at[2], 0),
      groups: all,
      extras: data.add(Buffer.from(JSON.stringify({ ...captureSurroundings(), kinds }))),
      sources: {},
      modules: {},
      not_kept: [...this.#notKept(values, seen, failures), ...this.#changedModules(values, seen)],
      written: data.written,
    };
    const isDurable = durable || this.#kept.mustFlush(header);
    writeVersion(header, data, { durable: isDurable, stage, onDisk: this.#kept.onDisk });
    return [header, isDurable];
  }

  #refuseTooLarge(bytes) {
    const limit = this.#kept.keep.bytes;
    if (bytes > limit) throw new TooLarge(bytes, limit);
  }

  /** What cannot be encoded now, and what was lost earlier and not been given a new value since. */
  #notKept(values, seen, failures) {
    const found = [...failures].map(([name, reason]) => ({
      name,
      type: typeOf(values.get(name)),
      reason: reason.slice(0, MAX_REASON),
    }));
    const earlier = this.#header.not_kept.filter(({ name }) => !seen.has(name) && values.has(name));
    const lost = [...this.lost.values()].filter(
      ({ name, reason }) => !values.has(name) && reason !== BEGINS_ANEW,
    );
    const added = this.#originals.added.map((name) => ({ name, type: "property", reason: ADDED }));
    return [...found, ...earlier, ...lost, ...added].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** Modules whose functions a program can have called, as far as the variables tell that it uses. */
  #changedModules(values, seen) {
    if (this.#touchedAll) return this.#moduleState.look();
    const { origins } = this.#context;
    const used = [...seen]
      .map((name) => values.get(name))
      .filter((value) => isObject(value) && origins.has(value));
    return this.#moduleState.look(new Set(used.map((value) => origins.get(value).specifier)));
  }

  async #learn(value) {
    const { internal, privates } = await this.#evaluator.internals(value);
    const { facts } = this.#context;
    if (typeof value !== "function") {
      const state = internal["[[PromiseState]]"]?.value;
      const result =
        state === "fulfilled" || state === "rejected"
          ? await this.#evaluator.valueOf(internal["[[PromiseResult]]"])
          : undefined;
      facts.set(value, { state, result, privates });
    } else if (internal["[[TargetFunction]]"] !== undefined) {
      const target = await this.#evaluator.valueOf(internal["[[TargetFunction]]"]);
      const self = await this.#evaluator.valueOf(internal["[[BoundThis]]"]);
      facts.set(value, {
        bound: [target, self, ...(await this.#evaluator.valueOf(internal["[[BoundArgs]]"]))],
      });
    } else {
      const scopes = await this.#evaluator.scopesOf(internal);
      // A class sees its own name in a scope of its own.
      const captured = scopes.flatMap(({ names }) => names).filter((name) => name !== value.name);
      facts.set(value, { captured });
    }
  }
}

const isObject = (value) => (typeof value === "object" && value !== null) || typeof value === "function";

function entryOf(encoder, values, place) {
  return {
    names: encoder.names,
    at: place,
    types: encoder.names.map((name) => typeOf(values.get(name))),
    reprs: encoder.names.map((name) => describe(values.get(name))),
    reaches: [...encoder.words].sort(),
    files: [],
  };
}

/** Names in lists, such that variables which share something changeable are in one. */
function partition(encoders) {
  const leader = new Map([...encoders.keys()].map((name) => [name, name]));
  const find = (name) => {
    let at = name;
    while (leader.get(at) !== at) at = leader.get(at);
    return at;
  };
  const owners = new Map();
  for (const [name, encoder] of encoders) {
    for (const object of encoder.changeable) {
      if (!owners.has(object)) owners.set(object, name);
      leader.set(find(name), find(owners.get(object)));
    }
  }
  const lists = new Map();
  for (const name of encoders.keys()) lists.set(find(name), [...(lists.get(find(name)) ?? []), name]);
  return [...lists.values()].map((names) => names.sort());
}
