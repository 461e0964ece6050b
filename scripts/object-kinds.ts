/** The tables of docs/persistence.md, from the fixtures that prove them. */
import { JAVASCRIPT_KINDS } from "../test/fixtures/javascript-kinds/index.ts";
import { OBJECT_KINDS } from "../test/fixtures/object-kinds/index.ts";
import type { ObjectKind } from "../test/fixtures/object-kinds/kind.ts";

const TABLES = { "<!-- kinds: python -->": OBJECT_KINDS, "<!-- kinds: javascript -->": JAVASCRIPT_KINDS };
const END = "<!-- end of kinds -->";

/** The document with its tables as the fixtures have them now. */
export function withKindTables(document: string): string {
  return Object.entries(TABLES).reduce((text, [begin, kinds]) => {
    const [before, rest] = split(text, begin);
    const [, after] = split(rest, END);
    return `${before}${begin}\n${table(kinds)}\n${END}${after}`;
  }, document);
}

function split(text: string, mark: string): [string, string] {
  const at = text.indexOf(mark);
  if (at < 0) throw new Error(`Cannot find '${mark}' in docs/persistence.md`);
  return [text.slice(0, at), text.slice(at + mark.length)];
}

function table(groups: Readonly<Record<string, readonly ObjectKind[]>>): string {
  const all = Object.values(groups).flat();
  const kept = all.filter(({ lost }) => lost === undefined).length;
  const rows = Object.entries(groups).flatMap(([group, kinds]) =>
    kinds.map((kind) => `| ${group} | ${cell(kind.kind)} | ${verdict(kind)} |`),
  );
  return [
    `${kept} of ${all.length} kinds are kept.`,
    "",
    "| group | kind | kept |",
    "| --- | --- | --- |",
    ...rows,
  ].join("\n");
}

function verdict({ lost, caveat }: ObjectKind): string {
  if (lost !== undefined) return `no: named, with a reason that says "${cell(lost)}"`;
  return caveat === undefined ? "yes" : `yes; ${cell(caveat)}`;
}

const cell = (text: string) => text.replaceAll("|", "\\|");
