/** The tables of docs/persistence.md, from the fixtures that prove them. */
import { OBJECT_KINDS } from "../test/fixtures/object-kinds/index.ts";
import type { ObjectKind } from "../test/fixtures/object-kinds/kind.ts";

const BEGIN = "<!-- kinds: python -->";
const END = "<!-- end of kinds -->";

/** The document with its table as the fixtures have it now. */
export function withKindTables(document: string): string {
  const [before, rest] = split(document, BEGIN);
  const [, after] = split(rest, END);
  return `${before}${BEGIN}\n${table(OBJECT_KINDS)}\n${END}${after}`;
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
