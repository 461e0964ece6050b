/**
 * The programs in Python: rules and format by ruff, types by pyright. Exits with 1 and a line for each offence; with
 * `--write`, formats the files instead.
 */
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

type Offence = { code: string | null; message: string; start_location: { row: number } };
type Workspace = { check(text: string): Offence[]; format(text: string): string };

const require = createRequire(import.meta.url);
const ruff = require("@astral-sh/ruff-wasm-nodejs") as {
  Workspace: new (options: object, encoding: number) => Workspace;
  PositionEncoding: { Utf32: number };
};

const ROOT = fileURLToPath(new URL("../", import.meta.url));
const FOLDERS = ["guest", "bench", "images", "test"];
const RULES = [
  ...[
    "A",
    "ARG",
    "B",
    "C4",
    "C90",
    "E",
    "F",
    "I",
    "PERF",
    "PIE",
    "PLE",
    "PLR0913",
    "RET",
    "RUF",
    "SIM",
    "UP",
    "W",
  ],
];
const OPTIONS = {
  "line-length": 120,
  "target-version": "py313",
  lint: {
    select: RULES,
    // contextlib.suppress and `with` cost imports and frames where an agent starts in milliseconds; lists of words are
    // lists of words; os.environ is the object itself here, not the process's variables.
    ignore: ["SIM105", "SIM115", "SIM905", "B003"],
    mccabe: { "max-complexity": 15 },
    pylint: { "max-args": 4 },
  },
};

const files = FOLDERS.flatMap((folder) =>
  readdirSync(ROOT + folder, { recursive: true, encoding: "utf8" }).map((path) => `${folder}/${path}`),
).filter((path) => path.endsWith(".py"));
const workspace = new ruff.Workspace(OPTIONS, ruff.PositionEncoding.Utf32);
const faults: string[] = [];
for (const path of files) {
  const text = readFileSync(ROOT + path, "utf8");
  const formatted = workspace.format(text);
  if (process.argv.includes("--write")) writeFileSync(ROOT + path, formatted);
  else if (formatted !== text) faults.push(`${path} is not formatted: node scripts/check-python.ts --write`);
  for (const { code, message, start_location: at } of workspace.check(formatted))
    faults.push(`${path}:${at.row} ${code ?? ""} ${message}`);
}
for (const fault of faults) console.error(fault);
const types = spawnSync(process.execPath, [require.resolve("pyright"), "-p", ROOT], {
  cwd: ROOT,
  stdio: "inherit",
});
console.log(`${files.length} files, ${faults.length} faults`);
process.exitCode = faults.length === 0 && types.status === 0 ? 0 : 1;
