/** `era test [NAME...]`: every check of the project, or those named, in an order that fails early. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Config } from "../config.ts";
import { obtainImage } from "./image.ts";
import { runScript } from "./run-script.ts";
import { comparedAnswers } from "./test-answers.ts";

/** A program that exits with 0, or a suite: globs of files, of which so many run at a time. */
type Check = {
  argv?: string[];
  suite?: { width: number; globs: string[]; env?: Record<string, string> };
  /** Whether it starts sandboxes: as root, on an image. */
  needsImage?: true;
};

/** As scripts/report-tests.ts writes them. */
export type TestResult = { name: string; outcome: "passed" | "failed" | "skipped" };

/** The file to which the servers of tests append what they have compared. */
const ANSWERS = "answers";
const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const BIN = `${ROOT}node_modules/.bin/`;
const NODE_FLAGS = [
  "--disable-warning=ExperimentalWarning",
  "--test",
  "--test-force-exit",
  "--test-timeout=300000",
];
const script = (name: string): Check => ({ argv: [process.execPath, `scripts/${name}.ts`] });
/** Suites that start servers run one file at a time: they share two cores with what they measure. */
const suite = (...globs: string[]): Check => ({ suite: { width: 1, globs }, needsImage: true });
/** Over a store that really waits, as one on another machine does. */
const WAITING = { ERA_TEST_MAIN: `${ROOT}test/support/waiting-store.ts` };

const CHECKS: Readonly<Record<string, Check>> = {
  lint: { argv: [`${BIN}biome`, "ci", "--error-on-warnings", "."] },
  types: { argv: [`${BIN}tsc`, "-p", "."] },
  javascript: { argv: [`${BIN}tsc`, "-p", "scripts/typings/javascript"] },
  python: script("check-python"),
  shell: script("check-shell"),
  imports: script("check-imports"),
  frames: script("check-frames"),
  figures: script("figures"),
  api: script("check-api"),
  documents: script("check-documents"),
  prose: script("check-prose"),
  unit: { suite: { width: 2, globs: ["src/**/*.test.ts", "test/unit/**/*.test.ts"] } },
  integration: suite("test/integration/**/*.test.ts"),
  e2e: suite("test/e2e/**/*.test.ts"),
  conformance: suite("test/conformance/**/*.test.ts"),
  programs: suite("test/programs/**/*.test.ts"),
  waiting: {
    suite: {
      width: 1,
      globs: ["test/conformance/**/*.test.ts", "test/e2e/lifecycle.test.ts", "test/e2e/sessions.test.ts"],
      env: WAITING,
    },
    needsImage: true,
  },
  security: suite("test/security/**/*.test.ts"),
};

export async function test(names: readonly string[], config: Config, signal: AbortSignal): Promise<number> {
  const unknown = names.find((name) => !(name in CHECKS));
  if (unknown !== undefined) {
    console.error(`Cannot run '${unknown}': the checks are ${Object.keys(CHECKS).join(", ")}`);
    return 2;
  }
  const chosen = Object.entries(CHECKS).filter(([name]) => names.length === 0 || names.includes(name));
  if (chosen.some(([, check]) => check.needsImage)) await obtainImage(config, signal);
  const folder = mkdtempSync(join(tmpdir(), "era-test-"));
  const failed: string[] = [];
  try {
    for (const [name, check] of chosen) {
      console.log(`\n== ${name}`);
      failed.push(...(await faultsOf(name, check, folder)));
      if (signal.aborted) break;
    }
    failed.push(...showAnswers(join(folder, ANSWERS), names.length === 0));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  console.log(failed.length === 0 ? "\nAll checks passed" : `\nFailed: ${failed.join(", ")}`);
  return failed.length === 0 && !signal.aborted ? 0 : 1;
}

async function faultsOf(name: string, check: Check, folder: string): Promise<string[]> {
  if (check.suite === undefined) return (await runScript(check.argv ?? [])) === 0 ? [] : [name];
  const { env, ...suite } = check.suite;
  const answers = { ERA_CHECK_ANSWERS: join(folder, ANSWERS) };
  return faultsOfSuite(name, { ...suite, env: { ...env, ...answers } }, join(folder, `${name}-results`));
}

/** After all checks, each operation must have been answered. */
function showAnswers(path: string, isWhole: boolean): string[] {
  const { answers, operations, missing } = comparedAnswers(path);
  if (answers === 0) return isWhole ? ["answers (none was compared)"] : [];
  console.log(`\n${answers} answers of ${operations} operations are as the API declares them`);
  return isWhole && missing.length > 0 ? [`answers (none of ${missing.join(", ")})`] : [];
}

async function faultsOfSuite(
  name: string,
  { width, globs, env }: NonNullable<Check["suite"]>,
  path: string,
): Promise<string[]> {
  const reporters = [
    ...["--test-reporter=spec", "--test-reporter-destination=stdout"],
    ...[`--test-reporter=${ROOT}scripts/report-tests.ts`, `--test-reporter-destination=${path}`],
  ];
  const argv = [process.execPath, ...NODE_FLAGS, `--test-concurrency=${width}`, ...reporters, ...globs];
  const code = await runScript(argv, env);
  const results = existsSync(path) ? readFileSync(path, "utf8").split("\n").filter(Boolean) : [];
  const outcomes = results.map((line) => (JSON.parse(line) as TestResult).outcome);
  const faults: string[] = [];
  if (code !== 0 || outcomes.includes("failed")) faults.push(name);
  // The test runner counts a skipped test as no failure; here it is one.
  else if (outcomes.length === 0 || outcomes.includes("skipped"))
    faults.push(`${name} (a test was skipped, or none ran)`);
  if (name === "conformance" && !showConformance(path))
    faults.push("conformance (an example has no test that passed)");
  return faults;
}

/** Prints which of the documented examples have passed, by their ids; false when one has not. */
function showConformance(path: string): boolean {
  const [file = "", ...args] = script("conformance").argv ?? [];
  return spawnSync(file, [...args, path], { cwd: ROOT, stdio: "inherit" }).status === 0;
}
