/**
 * The size and shape of the tree, and the bounds that hold it: how large each room of src/ is, circles among its files,
 * the longest file and function, functions with many parameters. Exits with 1 when one is over its bound.
 */
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { stripTypeScriptTypes } from "node:module";
import { dirname, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { type Node, parse } from "acorn";

type Size = { where: string; lines: number; parameters: number };

const ROOT = fileURLToPath(new URL("../", import.meta.url));
const LARGEST_ROOM = 0.2;
const FILE_LINES = 400;
const FUNCTION_LINES = 60;
const PARAMETERS = 4;
const IMPORT = /^(?:import|export)\s[^;]*?"(\.[^"]+)";/gms;
/** Prints [name, lines, parameters] of each function of the files named, by Python's own reading of them. */
const PYTHON = `
import ast, json, sys
found = []
for path in sys.argv[1:]:
    for node in ast.walk(ast.parse(open(path).read())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names = [argument.arg for argument in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]]
            count = len([name for name in names if name not in ("self", "cls")])
            found.append([f"{path} {node.name}", node.end_lineno - node.lineno + 1, count])
print(json.dumps(found))
`;

const files = ["src", "guest"].flatMap((folder) =>
  readdirSync(ROOT + folder, { recursive: true, encoding: "utf8" }).map((path) => `${folder}/${path}`),
);
const code = files.filter((path) => /\.(ts|mjs|py|sh)$/.test(path) && !path.endsWith(".test.ts"));
const scripts = code.filter((path) => /\.(ts|mjs)$/.test(path));
const textOf = (path: string) => readFileSync(ROOT + path, "utf8");
const linesOf = (path: string) => textOf(path).split("\n").length - 1;

const faults = [...rooms(), ...circles(), ...longFiles(), ...functions()];
for (const fault of faults) console.error(`Over its bound: ${fault}`);
process.exitCode = faults.length === 0 ? 0 : 1;

function rooms(): string[] {
  const sizes = new Map<string, number>();
  for (const path of code.filter((path) => path.startsWith("src/"))) {
    const room = path.split("/")[1] ?? "";
    sizes.set(room, (sizes.get(room) ?? 0) + linesOf(path));
  }
  const all = [...sizes.values()].reduce((sum, lines) => sum + lines, 0);
  const shares = [...sizes].map(([room, lines]) => ({ room, share: lines / all }));
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
  console.log(`src: ${all} lines`);
  for (const { room, share } of shares.sort((a, b) => b.share - a.share))
    console.log(`  ${room.padEnd(12)} ${percent(share).padStart(7)}`);
  return shares
    .filter(({ share }) => share > LARGEST_ROOM)
    .map(({ room, share }) => `${room} is ${percent(share)}`);
}

/** Also circles of types alone. */
function circles(): string[] {
  const imports = new Map(
    scripts.map((path) => [
      path,
      [...textOf(path).matchAll(IMPORT)].map(([, to = ""]) =>
        relative(ROOT, resolve(ROOT, dirname(path), to)),
      ),
    ]),
  );
  const found: string[] = [];
  const done = new Set<string>();
  const visit = (path: string, way: readonly string[]): void => {
    if (way.includes(path)) found.push([...way.slice(way.indexOf(path)), path].join(" > "));
    if (way.includes(path) || done.has(path)) return;
    for (const next of imports.get(path) ?? []) visit(next, [...way, path]);
    done.add(path);
  };
  for (const path of imports.keys()) visit(path, []);
  console.log(`import circles: ${found.length}`);
  return found;
}

function longFiles(): string[] {
  const sizes = code.map((path) => ({ path, lines: linesOf(path) })).sort((a, b) => b.lines - a.lines);
  console.log(`files: ${sizes.length}, the longest ${sizes[0]?.path} with ${sizes[0]?.lines} lines`);
  return sizes
    .filter(({ lines }) => lines > FILE_LINES)
    .map(({ path, lines }) => `${path} has ${lines} lines`);
}

function functions(): string[] {
  const found = [...scripts.flatMap(functionsOf), ...pythonFunctions()].sort((a, b) => b.lines - a.lines);
  const many = found.filter(({ parameters }) => parameters > PARAMETERS);
  const median = found[found.length >> 1];
  console.log(
    `functions: ${found.length}, median ${median?.lines} lines, the longest ${found[0]?.where} with ${found[0]?.lines}`,
  );
  console.log(`functions with more than ${PARAMETERS} parameters: ${many.length}`);
  return [
    ...found
      .filter(({ lines }) => lines > FUNCTION_LINES)
      .map(({ where, lines }) => `${where} has ${lines} lines`),
    ...many.map(({ where, parameters }) => `${where} takes ${parameters} parameters`),
  ];
}

function functionsOf(path: string): Size[] {
  const text = textOf(path);
  const plain = path.endsWith(".ts") ? stripTypeScriptTypes(text) : text; // its lines stay where they are
  const tree = parse(plain, { ecmaVersion: "latest", sourceType: "module", locations: true });
  const found: Size[] = [];
  const visit = (value: unknown): void => {
    if (Array.isArray(value)) for (const item of value) visit(item);
    else if (isNode(value)) {
      if (value.params !== undefined && value.loc != null) {
        const { start, end } = value.loc;
        const lines = end.line - start.line + 1;
        found.push({ where: `${path}:${start.line}`, lines, parameters: value.params.length });
      }
      for (const part of Object.values(value)) visit(part);
    }
  };
  visit(tree);
  return found;
}

function isNode(value: unknown): value is Node & { params?: unknown[] } {
  return typeof value === "object" && value !== null && "type" in value && "start" in value;
}

function pythonFunctions(): Size[] {
  const paths = code.filter((path) => path.endsWith(".py"));
  const { stdout } = spawnSync("python3", ["-c", PYTHON, ...paths], { cwd: ROOT, encoding: "utf8" });
  const found = JSON.parse(stdout) as [string, number, number][];
  return found.map(([where, lines, parameters]) => ({ where, lines, parameters }));
}
