/** `era test [NAME...]`: every check of the project, or those named, in an order that fails early. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { Config } from "../config.ts";
import { obtainImage } from "./image.ts";
import { runScript } from "./run-script.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const BIN = `${ROOT}node_modules/.bin/`;
const NODE_FLAGS = [
  "--disable-warning=ExperimentalWarning",
  "--test",
  "--test-force-exit",
  "--test-timeout=300000",
];
const suite = (width: number, ...globs: string[]) => [
  process.execPath,
  ...NODE_FLAGS,
  `--test-concurrency=${width}`,
  ...globs,
];
/** Over a store that really waits, as one on another machine does. */
const waiting = (argv: string[]) => ["env", `ERA_TEST_MAIN=${ROOT}test/support/waiting-store.ts`, ...argv];
const script = (name: string) => [process.execPath, `scripts/${name}.ts`];

/** Suites that start servers run one file at a time: they share two cores with what they measure. */
const CHECKS: Readonly<Record<string, string[]>> = {
  lint: [`${BIN}biome`, "ci", "--error-on-warnings", "."],
  types: [`${BIN}tsc`, "-p", "."],
  javascript: [`${BIN}tsc`, "-p", "scripts/typings/javascript"],
  python: script("check-python"),
  shell: script("check-shell"),
  imports: script("check-imports"),
  figures: script("figures"),
  documents: script("check-documents"),
  unit: suite(2, "src/**/*.test.ts"),
  integration: suite(1, "test/integration/**/*.test.ts"),
  e2e: suite(1, "test/e2e/**/*.test.ts"),
  conformance: suite(1, "test/conformance/**/*.test.ts"),
  waiting: waiting(
    suite(1, "test/conformance/**/*.test.ts", "test/e2e/lifecycle.test.ts", "test/e2e/sessions.test.ts"),
  ),
  security: suite(1, "test/security/**/*.test.ts"),
};

/** Those that need neither root nor an image. */
const NEEDS_NOTHING = new Set([
  "lint",
  "types",
  "javascript",
  "python",
  "shell",
  "imports",
  "figures",
  "documents",
  "unit",
]);

export async function test(names: readonly string[], config: Config, signal: AbortSignal): Promise<number> {
  const unknown = names.find((name) => !(name in CHECKS));
  if (unknown !== undefined) {
    console.error(`Cannot run '${unknown}': the checks are ${Object.keys(CHECKS).join(", ")}`);
    return 2;
  }
  const chosen = Object.entries(CHECKS).filter(([name]) => names.length === 0 || names.includes(name));
  if (chosen.some(([name]) => !NEEDS_NOTHING.has(name))) await obtainImage(config, signal);
  const failed: string[] = [];
  for (const [name, argv] of chosen) {
    console.log(`\n== ${name}`);
    const { code, stdout } = await runScript(argv);
    const areAllShown = name !== "conformance" || showConformance(stdout);
    if (!areAllShown) failed.push("conformance (an example has no test that passed)");
    if (code !== 0) failed.push(name);
    else if (argv.includes("--test") && !ranAll(stdout))
      failed.push(`${name} (a test was skipped, or none ran)`);
    if (signal.aborted) break;
  }
  console.log(failed.length === 0 ? "\nAll checks passed" : `\nFailed: ${failed.join(", ")}`);
  return failed.length === 0 && !signal.aborted ? 0 : 1;
}

/** Prints which of the documented examples have passed, by their ids; false when one has not. */
function showConformance(stdout: string): boolean {
  const [file = "", ...args] = script("conformance");
  const { status } = spawnSync(file, args, {
    cwd: ROOT,
    input: stdout,
    stdio: ["pipe", "inherit", "inherit"],
  });
  return status === 0;
}

/** The test runner counts a skipped test as no failure; here it is one. */
function ranAll(stdout: string): boolean {
  return /^ℹ tests [1-9]/m.test(stdout) && /^ℹ skipped 0$/m.test(stdout) && /^ℹ todo 0$/m.test(stdout);
}
