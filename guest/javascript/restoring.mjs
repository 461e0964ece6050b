/**
 * Taking up saved variables: the newest version that can be read, each group of it, and what cannot be had again by
 * name.
 */
import fs from "node:fs";
import { Decoder } from "./decoding.mjs";
import { MAX_REASON } from "./save-report.mjs";
import { Damaged, RESEED, readPlace, readVersion, versionNumbers } from "./state-files.mjs";
import { restoreSurroundings } from "./variables.mjs";

export class Restorer {
  #evaluator;
  #variables;
  #context;
  #lost;

  /** `lost`: name -> {name, type, reason}; what cannot be restored is added. */
  constructor(evaluator, variables, { context, lost }) {
    this.#evaluator = evaluator;
    this.#variables = variables;
    this.#context = context;
    this.#lost = lost;
  }

  /** Answers the header of what was restored, null for nothing, and why newer versions could not be. */
  async restoreNewest() {
    const damage = [];
    for (const version of versionNumbers()) {
      try {
        return { header: await this.#restoreFrom(readVersion(version).header), damage };
      } catch (error) {
        damage.push(String(error.message));
      }
    }
    return { header: null, damage };
  }

  async #restoreFrom(header) {
    const extras = JSON.parse(readPlace(header.extras).toString());
    restoreSurroundings(extras);
    for (const item of header.not_kept) this.#lost.set(item.name, item);
    const groups = inOrder(header.groups);
    // A name that is also the language's comes last: what is decoded with may need that.
    const [last, first] = [true, false].map((shadows) =>
      groups.filter((group) => group.names.some((name) => this.#variables.isBuiltIn(name)) === shadows),
    );
    const kept = new Set(await this.#restoreGroups(first, extras.kinds));
    const values = await Promise.all(last.map((group) => this.#decode(group)));
    for (const [at, group] of last.entries()) {
      if (values[at] === null) continue;
      await this.#declare(group.names, extras.kinds);
      for (const [name, value] of values[at]) this.#variables.put(name, value);
      kept.add(group);
    }
    fs.rmSync(RESEED, { force: true });
    return {
      ...header,
      groups: header.groups.filter((group) => kept.has(group)),
      not_kept: [...this.#lost.values()],
    };
  }

  /**
   * Answers those that could be. All names are there before the first value: a function may be evaluated among them.
   */
  async #restoreGroups(groups, kinds) {
    const names = groups.flatMap((group) => group.names);
    await this.#declare(names, kinds);
    const restored = [];
    for (const group of groups) {
      const values = await this.#decode(group);
      if (values === null) {
        for (const name of group.names) this.#variables.kinds.delete(name);
        continue;
      }
      for (const [name, value] of values) this.#variables.put(name, value);
      restored.push(group);
    }
    return restored;
  }

  async #declare(names, kinds) {
    for (const name of names) this.#variables.kinds.set(name, kinds[name] ?? "lexical");
    await this.#evaluator.declare(names.filter((name) => this.#variables.kinds.get(name) === "lexical"));
  }

  /** Names and values of a group; null when it cannot be restored, each of its names then being among those lost. */
  async #decode(group) {
    try {
      return await new Decoder(this.#context).decode(readPlace(group.at));
    } catch (error) {
      const why = error instanceof Damaged ? "its saved state is damaged" : "it could not be restored";
      for (const [at, name] of group.names.entries())
        this.#lost.set(name, {
          name,
          type: group.types[at],
          reason: `${why}: ${error?.name}: ${error?.message}`.slice(0, MAX_REASON),
        });
      return null;
    }
  }
}

/** Each after those whose names it uses: a class may be evaluated with them. */
function inOrder(groups) {
  const byName = new Map(groups.flatMap((group) => group.names.map((name) => [name, group])));
  const ordered = new Set();
  const seen = new Set();
  const add = (group) => {
    if (group === undefined || seen.has(group)) return;
    seen.add(group);
    for (const name of group.reaches) add(byName.get(name));
    ordered.add(group);
  };
  for (const group of groups) add(group);
  return [...ordered];
}
