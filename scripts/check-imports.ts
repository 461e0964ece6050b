/**
 * The import table of docs/architecture: a file imports only from rooms below its own, every export of src/ is
 * imported somewhere, so that what nobody uses is removed, and no file is too long. Exits with 1 and a line for each
 * offence.
 */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../", import.meta.url));

/** Rooms from the bottom up; those of one row do not import each other, but for the pairs below. */
const ROWS: readonly (readonly string[])[] = [
  ["lib"],
  ["protocol"],
  ["api"],
  ["config.ts"],
  ["log.ts", "metrics.ts"],
  ["sandbox", "guest", "store", "files", "egress"],
  ["image"],
  ["live"],
  ["runs"],
  ["session"],
  ["http"],
  ["mcp"],
  ["attack"],
  ["cli"],
  ["main.ts"],
];
const PACKAGES_IN_LIB = /^node:/;
/** Programs are started in one place, which hears of a start that fails; a command may also wait for one. */
const STARTS_PROGRAMS = new Set(["src/lib/spawn-program.ts", "src/lib/run-command.ts", "src/cli/test.ts"]);

type Import = { from: string; to: string; names: string[] };

const files = readdirSync(`${ROOT}src`, { recursive: true, encoding: "utf8" })
  .concat(folder("test"), folder("bench"), folder("scripts"))
  .filter((path) => path.endsWith(".ts"))
  .map((path) => (/^(test|bench|scripts)\//.test(path) ? path : `src/${path}`));

function folder(name: string): string[] {
  return readdirSync(`${ROOT}${name}`, { recursive: true, encoding: "utf8" }).map(
    (path) => `${name}/${path}`,
  );
}

const IMPORT = /^(?:import|export)\s+(?:type\s+)?(?:(?:\{([^}]*)\}|\*\s+as\s+(\w+))\s+from\s+)?"([^"]+)";/gm;
const EXPORT =
  /^export\s+(?:declare\s+)?(?:abstract\s+)?(?:async\s+)?(?:function\*?|class|const|type|interface|let)\s+(\w+)/gm;

function importsOf(path: string): Import[] {
  const text = readFileSync(ROOT + path, "utf8");
  return [...text.matchAll(IMPORT)].map(([, names = "", space, to = ""]) => ({
    from: path,
    to: to.startsWith(".") ? relative(ROOT, resolve(ROOT, dirname(path), to)) : to,
    names: space === undefined ? namesIn(names) : membersOf(space, text),
  }));
}

const namesIn = (list: string) =>
  list.split(",").map(
    (name) =>
      name
        .trim()
        .replace(/^type /, "")
        .split(" as ")[0] ?? "",
  );

/** What a file uses of a module that it imports as a whole. */
const membersOf = (space: string, text: string) =>
  [...text.matchAll(new RegExp(`\\b${space}\\.(\\w+)`, "g"))].map(([, name = ""]) => name);

const roomOf = (path: string) => (path.split("/")[1] ?? "").replace(".test.ts", ".ts");
const rowOf = (path: string) => ROWS.findIndex((row) => row.includes(roomOf(path)));

const imports = files.flatMap(importsOf);
const faults: string[] = [];
for (const { from, to } of imports) {
  if (!from.startsWith("src/")) continue;
  if (to === "node:child_process" && !STARTS_PROGRAMS.has(from))
    faults.push(`${from} imports ${to}: programs are started by lib/spawn-program.ts`);
  if (!to.startsWith("src/")) {
    if (roomOf(from) === "lib" && !PACKAGES_IN_LIB.test(to))
      faults.push(`${from} imports ${to}: lib/ imports node: only`);
    continue;
  }
  if (rowOf(from) < 0) faults.push(`${from} is in no room of the table`);
  if (roomOf(from) !== roomOf(to) && rowOf(from) <= rowOf(to))
    faults.push(`${from} imports ${to}: not below it`);
}

const used = new Set(imports.flatMap(({ to, names }) => names.map((name) => `${to} ${name}`)));
for (const path of files.filter((path) => path.startsWith("src/") && !path.endsWith(".test.ts"))) {
  for (const [, name] of readFileSync(ROOT + path, "utf8").matchAll(EXPORT)) {
    if (!used.has(`${path} ${name}`)) faults.push(`${path} exports ${name}, which nothing imports`);
  }
}

for (const path of files) {
  const lines = readFileSync(ROOT + path, "utf8").split("\n").length - 1;
  const most = path.startsWith("src/") ? 400 : 600;
  if (lines > most) faults.push(`${path} has ${lines} lines: at most ${most}`);
}

for (const fault of faults) console.error(fault);
console.log(`${files.length} files, ${imports.length} imports, ${faults.length} faults`);
process.exitCode = faults.length === 0 ? 0 : 1;
