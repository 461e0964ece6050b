/** `era bench`: the benchmark is a program of its own, which starts servers like any user would. */
import { runScript } from "./run-script.ts";

export async function bench(args: readonly string[]): Promise<number> {
  const code = await runScript([
    process.execPath,
    "--disable-warning=ExperimentalWarning",
    "bench/main.ts",
    ...args,
  ]);
  return code;
}
