/**
 * The documented examples by their ids: which the conformance tests run, in which languages, and what came of it.
 * usage: conformance.ts RESULTS     (as report-tests.ts writes them) prints the table; exits with 1 when an id is
 * missing or failed
 */
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { TestResult } from "../src/cli/test.ts";

const FOLDER = fileURLToPath(new URL("../test/conformance/", import.meta.url));
/** The sections of the documentation, and how many examples each has. */
const SECTIONS: Readonly<Record<string, [title: string, count: number]>> = {
  S: ["sessions", 21],
  P: ["persistence", 18],
  F: ["files", 16],
  E: ["environment variables", 7],
  D: ["data", 12],
  L: ["languages", 14],
  C: ["stored code", 10],
  W: ["webhooks", 9],
  T: ["streams", 11],
  O: ["time limits", 11],
  K: ["packages", 10],
  M: ["projects of several files", 6],
  X: ["language examples", 6],
  Q: ["quick start", 6],
  N: ["tools of a model", 9],
};
const EXAMPLE = /^ {2,6}"([A-Z]\d[^"]*)":/gm;
const LANGUAGE = /language: "(\w+)"/g;

type Example = { id: string; title: string; languages: string };

/** One entry for each id of a test's name, as in "C1, C2: …" or "S4 to S8: …". */
function examples(): Example[] {
  return readdirSync(FOLDER)
    .filter((name) => name.endsWith(".test.ts"))
    .flatMap((name) => {
      const text = readFileSync(FOLDER + name, "utf8");
      const found = [...text.matchAll(EXAMPLE)];
      return found.flatMap((match, at) => {
        const body = text.slice(match.index, found[at + 1]?.index);
        const languages = [...new Set([...body.matchAll(LANGUAGE)].map(([, language = ""]) => language))];
        if (languages.length === 0 || /\bcreate\(name\("[^"]+"\)(\)|, \{ (?!language))/.test(body))
          languages.unshift("python");
        const [ids = "", title = ""] = (match[1] ?? "").split(/: (.*)/);
        return idsOf(ids).map((id) => ({ id, title, languages: [...new Set(languages)].join(", ") }));
      });
    });
}

function idsOf(text: string): string[] {
  return text.split(", ").flatMap((part) => {
    const [from = "", to] = part.split(" to ");
    if (to === undefined) return [from];
    const [first, last] = [Number(from.slice(1)), Number(to.slice(1))];
    return Array.from({ length: last - first + 1 }, (_, at) => `${from[0]}${first + at}`);
  });
}

/** The table of docs/conformance.md; throws when an id has no test. */
export function conformanceTable(passed: (example: Example) => string | null): string {
  const all = examples();
  const rows: string[] = [];
  for (const [letter, [section, count]] of Object.entries(SECTIONS)) {
    for (let number = 1; number <= count; number++) {
      const id = `${letter}${number}`;
      const found = all.filter((example) => example.id === id);
      if (found.length === 0) throw new Error(`no conformance test has the id ${id}`);
      const languages = [...new Set(found.flatMap((example) => example.languages.split(", ")))].join(", ");
      const titles = [...new Set(found.map(({ title }) => title))].join("; ");
      const results = found.map(passed).filter((result) => result !== null);
      rows.push(`| ${[id, section, titles, languages, ...new Set(results)].join(" | ")} |`);
    }
  }
  return rows.join("\n");
}

export function withConformance(document: string): string {
  const head = document.slice(0, document.indexOf("| --- |"));
  return `${head}| --- | --- | --- | --- |\n${conformanceTable(() => null)}\n`;
}

const [program = "", results = ""] = process.argv.slice(1);
if (program === fileURLToPath(import.meta.url)) {
  const ended = readFileSync(results, "utf8")
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as TestResult);
  const table = conformanceTable(({ id, title }) => {
    const ofExample = ended.filter(({ name }) => {
      const [ids = "", named = ""] = name.split(/: (.*)/);
      return named === title && idsOf(ids).includes(id);
    });
    if (ofExample.some(({ outcome }) => outcome !== "passed")) return "FAILED";
    return ofExample.length > 0 ? "passed" : "NOT RUN";
  });
  console.log(`| id | section | example | language | result |\n| --- | --- | --- | --- | --- |\n${table}`);
  process.exitCode = /FAILED|NOT RUN/.test(table) ? 1 : 0;
}
