/**
 * What a script can count of plain English (docs/style.md), in documents and comments. No sentence is too long, no
 * comment begins with a fragment ("Of …"), no line of a comment is over 120 columns. Exits with 1 and a line for each
 * offence.
 */
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../", import.meta.url));
const MAX_WORDS = { document: 35, comment: 35 };
const MAX_COLUMNS = 120;

type Passage = { path: string; line: number; text: string; kind: keyof typeof MAX_WORDS };

const filesIn = (folder: string, ending: RegExp) =>
  readdirSync(ROOT + folder, { recursive: true, encoding: "utf8" })
    .filter((path) => ending.test(path))
    .map((path) => `${folder}/${path}`);
const documents = ["README.md", "CONTRIBUTING.md", ...filesIn("docs", /\.md$/)];
const programs = ["src", "guest", "test", "bench", "scripts"].flatMap((folder) =>
  filesIn(folder, /\.(ts|mjs|py|sh)$/),
);
const read = (path: string) => readFileSync(ROOT + path, "utf8");

/** Paragraphs, items of lists and cells of tables; not code, and not what is quoted as code. */
function* passagesOf(path: string): Generator<Passage> {
  const text = read(path).replace(/^```[\s\S]*?^```/gm, (code) => code.replace(/[^\n]/g, ""));
  let line = 1;
  for (const block of text.split(/\n(?=\s*\n|[-|#] |\|)/)) {
    const cells = block.trimStart().startsWith("|") ? block.split("|") : [block];
    for (const cell of cells) yield { path, line, text: cell, kind: "document" };
    line += block.split("\n").length;
  }
}

/** Comments and docstrings. */
function* commentsOf(path: string): Generator<Passage> {
  const text = read(path);
  const pattern = path.endsWith(".py")
    ? /"""([\s\S]*?)"""|((?:^ *# .*\n)+)/gm
    : path.endsWith(".sh")
      ? /((?:^ *# .*\n)+)/gm
      : /\/\*\*([\s\S]*?)\*\/|((?:^ *\/\/ .*\n)+)/gm;
  for (const match of text.matchAll(pattern)) {
    const body = (match[1] ?? match[2] ?? "").replace(/^ *(?:\*|#|\/\/) ?/gm, "");
    // A drawing, or a table of frames, is no sentence.
    const prose = body.replace(/^ {4,}.*$/gm, "").replace(/^.*(?:<-|->|\s{3,}).*$/gm, "");
    yield { path, line: text.slice(0, match.index).split("\n").length, text: prose, kind: "comment" };
  }
}

const sentences = (text: string) =>
  text
    .replace(/`[^`]*`/g, "x")
    .replace(/\]\([^)]*\)/g, "]")
    .split(/(?<=[.!?:;])\s+|\n\s*\n/)
    .map((sentence) => sentence.trim());
const countWords = (text: string) => text.split(/\s+/).filter((word) => /[\p{L}\p{N}]/u.test(word)).length;

const faults: string[] = [];
const passages = [
  ...documents.flatMap((path) => [...passagesOf(path)]),
  ...programs.flatMap((path) => [...commentsOf(path)]),
];
for (const { path, line, text, kind } of passages) {
  for (const sentence of sentences(text)) {
    const words = countWords(sentence);
    if (words > MAX_WORDS[kind])
      faults.push(
        `${path}:${line} a sentence of ${words} words: ${sentence.replace(/\s+/g, " ").slice(0, 100)}`,
      );
  }
  if (kind === "comment" && /^\s*Of /.test(text))
    faults.push(`${path}:${line} begins with a fragment: ${text.trim().slice(0, 80)}`);
}
for (const path of programs)
  for (const [at, text] of read(path).split("\n").entries())
    if (/^\s*(?:\*|#|\/\/|\/\*)/.test(text) && text.length > MAX_COLUMNS)
      faults.push(`${path}:${at + 1} a comment of ${text.length} columns`);

for (const fault of faults) console.error(fault);
console.log(`${passages.length} passages, ${faults.length} faults`);
process.exitCode = faults.length === 0 ? 0 : 1;
