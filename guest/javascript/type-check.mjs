/**
 * Type errors of a program, by the compiler in the image, before it runs. What earlier runs have declared is known:
 * their text stands before the program's, each in a block inside the one before, so that a name may be declared again.
 */
import { spawn } from "node:child_process";
import fs from "node:fs";
import { wordsOf } from "./syntax.mjs";

const COMPILER = "/usr/local/bin/tsc";
const FOLDER = "/tmp/era-check";
const MAX_RUNS = 200;
const MAX_CHARS = 512 << 10;
const OPTIONS = {
  noEmit: true,
  strict: true,
  target: "esnext",
  module: "esnext",
  moduleResolution: "bundler",
  moduleDetection: "force",
  lib: ["esnext", "dom", "dom.iterable"],
  allowJs: true,
  allowImportingTsExtensions: true,
  resolveJsonModule: true,
  skipLibCheck: true,
  typeRoots: ["/usr/local/lib/typescript/types/node_modules/@types"],
  types: ["node"],
  rootDirs: ["/workspace", FOLDER],
  paths: { "*": ["/workspace/node_modules/*", "/root/.node/node_modules/*"] },
};
/**
 * Not wrong in a session: a package without types, `var` again with another type, a namespace inside a block, a name
 * imported again.
 */
const ACCEPTED = new Set(["TS7016", "TS2403", "TS1235", "TS2300", "TS2440"]);
const IMPORT = /^[ \t]*import\s(?:[^"';]*?\sfrom\s*)?["'][^"'\n]+["'][^;\n]*;?/gm;
const EXPORT =
  /^[ \t]*export\s+(?:default\s+)?(?=(?:declare|const|let|var|async|function|abstract|class|interface|type|enum|namespace)\b)/gm;
const EXPORT_LIST = /^[ \t]*export\s*(?:type\s*)?(?:\{[^}]*\}|\*)[^;\n]*;?/gm;
const DIAGNOSTIC = /^program\.ts\((\d+),(\d+)\): error (TS\d+): (.*)$/;

/** The program has type errors, one in each line. */
export class TypeCheckError extends Error {
  constructor(lines) {
    super(lines.join("\n"));
    this.name = "TypeCheckError";
    this.stack = `${this.name}: ${lines.length === 1 ? "1 type error" : `${lines.length} type errors`}\n${lines.join("\n")}`;
  }
}

export class TypeChecker {
  #earlier = [];

  /** A program that has run: what it declares is known from now on. */
  note(code) {
    this.#earlier.push(split(code));
    let size = 0;
    const from = this.#earlier.findLastIndex(({ body }) => {
      size += body.length;
      return size > MAX_CHARS;
    });
    this.#earlier = this.#earlier.slice(from + 1).slice(-MAX_RUNS);
  }

  /** Throws TypeCheckError. `names` are those that the session has, with or without a known type. */
  async check(code, runName, names) {
    const { text, lineOf } = this.#compose(split(code), names);
    fs.mkdirSync(FOLDER, { recursive: true });
    fs.writeFileSync(`${FOLDER}/program.ts`, text);
    fs.writeFileSync(
      `${FOLDER}/tsconfig.json`,
      JSON.stringify({ compilerOptions: OPTIONS, files: ["program.ts"] }),
    );
    const faults = readFaults(await compile(), lineOf, runName);
    if (faults.length > 0) throw new TypeCheckError(faults);
  }

  /** The text for the compiler, and which of its lines is which of the program's. */
  #compose(program, names) {
    const imports = new Set(this.#earlier.flatMap((run) => run.imports.map(({ text }) => text)));
    for (const { text } of program.imports) imports.delete(text);
    const head = [...imports].map((text) => text.replaceAll("\n", " "));
    const own = new Map();
    for (const { text, line } of program.imports) {
      head.push(text.replaceAll("\n", " "));
      own.set(head.length, line);
    }
    const imported = wordsOf(head.join("\n"));
    const known = [...names].filter((name) => !imported.has(name));
    const unknown = [...known, ...(globalThis.Deno === undefined ? [] : ["Deno"])];
    head.push(unknown.length === 0 ? "" : `declare var ${unknown.map((name) => `${name}: any`).join(", ")};`);
    const before = [...head, ...this.#earlier.flatMap(({ body }) => ["{", ...body.split("\n")]), "{"];
    const text = [...before, program.body, "}".repeat(this.#earlier.length + 1)].join("\n");
    const count = program.body.split("\n").length;
    const lineOf = (line) => {
      const inBody = line - before.length;
      return inBody >= 1 && inBody <= count ? inBody : own.get(line);
    };
    return { text, lineOf };
  }
}

/** A program's imports, which may stand at the top only, and the rest of it, every character in its place. */
function split(code) {
  const imports = [];
  const body = code
    .replace(IMPORT, (text, at) => {
      imports.push({ text: text.trim(), line: code.slice(0, at).split("\n").length });
      return blank(text);
    })
    .replace(EXPORT_LIST, blank)
    .replace(EXPORT, blank);
  return { imports, body };
}

const blank = (text) => text.replace(/[^\n]/g, " ");

function compile() {
  const { promise, resolve, reject } = Promise.withResolvers();
  const child = spawn(COMPILER, ["-p", FOLDER, "--pretty", "false"], {
    cwd: FOLDER,
    stdio: ["ignore", "pipe", "ignore"],
  });
  let said = "";
  child.stdout.setEncoding("utf8").on("data", (text) => {
    said += text;
  });
  child.once("error", reject);
  child.once("close", () => resolve(said));
  return promise;
}

function readFaults(said, lineOf, runName) {
  const faults = [];
  for (const line of said.split("\n")) {
    const [, at, column, code, message] = DIAGNOSTIC.exec(line) ?? [];
    const own = at === undefined ? undefined : lineOf(Number(at));
    if (own !== undefined && !ACCEPTED.has(code))
      faults.push(`${runName}(${own},${column}): error ${code}: ${message}`);
  }
  return faults;
}
