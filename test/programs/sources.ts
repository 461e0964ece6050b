/**
 * Programs that others wrote, as steps: fetched when the tests run, from Debian and from npm as the host is set up for
 * them. Python: the examples of its documentation. Node: the examples in the comments of two libraries. Bash: the
 * functions that come with its documentation.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse } from "acorn";
import type { Client } from "../support/client.ts";

export type Program = { name: string; steps: string[] };
/** `files`: an archive of what its workspaces have, or null. */
export type Programs = { language: string; programs: Program[]; files: Buffer | null };

const MAX_STEPS = 60;
const EXAMPLES_A_PROGRAM = 10;
const folder = () => mkdtempSync(join(tmpdir(), "era-programs-"));

/** Unpacks a package of Debian, by the name that a pattern finds among what another one depends on. */
function debian(name: string, ofDependency?: RegExp): string {
  const at = folder();
  const depends = execFileSync("apt-cache", ["depends", name], { encoding: "utf8" });
  const wanted = ofDependency === undefined ? name : (ofDependency.exec(depends)?.[1] ?? name);
  execFileSync("apt-get", ["-o", "APT::Sandbox::User=root", "download", wanted], {
    cwd: at,
    stdio: "ignore",
  });
  const [file = ""] = readdirSync(at);
  execFileSync("dpkg-deb", ["-x", file, "."], { cwd: at });
  return at;
}

function textsIn(root: string, suffix: string): [name: string, text: string][] {
  return readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(suffix))
    .map(({ parentPath, name }) => join(parentPath, name))
    .sort()
    .map((path) => [path.slice(root.length + 1), readFileSync(path, "utf8")]);
}

const EXTRACT = `import doctest, json, sys
def steps(text):
    try: return [example.source for example in doctest.DocTestParser().get_examples(text)]
    except ValueError: return []
print(json.dumps({name: steps(text) for name, text in json.load(open("texts.json")).items()}))`;

/** The parser of Python itself finds the examples, in a sandbox. */
export async function pythonPrograms(client: Client): Promise<Programs> {
  const root = debian("python3-doc", /Depends: (python3\.\d+-doc)/);
  const texts = Object.fromEntries(
    textsIn(root, ".rst.txt").map(([name, text]) => [name.split("/_sources/")[1] ?? name, text]),
  );
  const session = await client.create("extract", { memory_mib: 512 });
  const names = Object.keys(texts);
  const programs: Program[] = [];
  for (let at = 0; at < names.length; at += 50) {
    const part = Object.fromEntries(names.slice(at, at + 50).map((name) => [name, texts[name]]));
    await client.expect(200, "PUT", `${session.path}/files/texts.json`, JSON.stringify(part));
    const { stdout } = await session.run(EXTRACT, { timeout: 60 });
    for (const [name, steps] of Object.entries(JSON.parse(stdout) as Record<string, string[]>))
      if (steps.length >= 3) programs.push({ name, steps: steps.slice(0, MAX_STEPS) });
  }
  await client.expect(200, "DELETE", session.path);
  return { language: "python", programs, files: null };
}

export function nodePrograms(): Programs {
  const at = folder();
  mkdirSync(join(at, "node_modules"));
  const npm = join(import.meta.dirname, "../../node_modules/npm/bin/npm-cli.js");
  const programs: Program[] = [];
  for (const [library, bound] of [
    ["lodash", "_"],
    ["ramda", "R"],
  ] as const) {
    const packed = execFileSync(process.execPath, [npm, "pack", "--silent", library], {
      cwd: at,
      encoding: "utf8",
    });
    execFileSync("tar", ["-xzf", packed.trim(), "--no-same-owner"], { cwd: at });
    const target = join(at, "node_modules", library);
    execFileSync("mv", [join(at, "package"), target]);
    const sources =
      library === "lodash"
        ? [readFileSync(join(target, "lodash.js"), "utf8")]
        : textsIn(join(target, "src"), ".js").map(([, text]) => text);
    const examples = sources.flatMap(examplesIn);
    for (let first = 0; first < examples.length; first += EXAMPLES_A_PROGRAM) {
      const steps = examples.slice(first, first + EXAMPLES_A_PROGRAM).flatMap(statementsOf);
      programs.push({
        name: `${library} ${first}`,
        steps: [`var ${bound} = require('${library}')`, ...steps].slice(0, MAX_STEPS),
      });
    }
  }
  const files = execFileSync(
    "tar",
    ["-cf", "-", "node_modules/lodash/lodash.js", "node_modules/lodash/package.json", "node_modules/ramda"],
    { cwd: at, maxBuffer: 1 << 28 },
  );
  return { language: "node", programs, files };
}

function examplesIn(text: string): string[] {
  return [...text.matchAll(/@example\n([\s\S]*?)\*\//g)].map(([, body = ""]) =>
    body.replace(/^\s*\* ?/gm, ""),
  );
}

function statementsOf(code: string): string[] {
  try {
    const { body } = parse(code, { ecmaVersion: "latest", sourceType: "script" });
    return body.map(({ start, end }) => code.slice(start, end));
  } catch {
    return []; // some show what is no program
  }
}

/** What shows the state that functions and settings leave. */
const BASH_PROBES = [
  "declare -F; declare -f | sed s,/proc/[0-9]*,/proc/N,",
  "alias; shopt -p; set -o",
  "declare -p | grep -v -e BASH -e '_=' -e PID -e PPID -e SECONDS -e RANDOM -e EPOCH -e LINENO -e PIPESTATUS; trap -p; umask; pwd",
];

export function bashPrograms(): Programs {
  const root = join(debian("bash-doc"), "usr/share/doc/bash/examples");
  const programs = textsIn(root, "")
    .filter(([name]) => name.startsWith("functions/") || name.startsWith("startup-files/"))
    .map(([name, text]) => ({
      name,
      steps: commandsOf(text)
        .flatMap((command) => [command, ...BASH_PROBES])
        .slice(0, MAX_STEPS),
    }));
  return { language: "bash", programs: programs.filter(({ steps }) => steps.length > 0), files: null };
}

/** Whole commands of a script: lines are taken together until bash says that they are a program. */
function commandsOf(text: string): string[] {
  const commands: string[] = [];
  let lines: string[] = [];
  for (const line of text.split("\n")) {
    if (lines.length === 0 && /^\s*(#|$)/.test(line)) continue;
    lines.push(line);
    if (!isWhole(lines.join("\n"))) continue;
    commands.push(lines.join("\n"));
    lines = [];
  }
  return commands;
}

function isWhole(text: string): boolean {
  try {
    execFileSync("bash", ["-n"], { input: text, stdio: ["pipe", "ignore", "ignore"] });
    return !text.endsWith("\\");
  } catch {
    return false;
  }
}
