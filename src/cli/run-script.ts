import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { spawnProgram } from "../lib/spawn-program.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** Runs a program of the repository at its root; what it prints is shown. Resolves with its exit status. */
export async function runScript(
  argv: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<number> {
  const child = await spawnProgram(argv, {
    cwd: ROOT,
    env: { ...process.env, ...env },
    stdio: ["ignore", "inherit", "inherit"],
  });
  const [code] = (await once(child, "close")) as [number | null];
  return code ?? 1;
}
