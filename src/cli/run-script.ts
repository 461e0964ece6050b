import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { spawnProgram, streamOf } from "../lib/spawn-program.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

type ScriptResult = { code: number; stdout: string };

/** Runs a program of the repository at its root; what it prints is shown as it comes, and answered. */
export async function runScript(argv: readonly string[]): Promise<ScriptResult> {
  const child = await spawnProgram(argv, { cwd: ROOT, stdio: ["ignore", "pipe", "inherit"] });
  let stdout = "";
  streamOf(child.stdout)
    .setEncoding("utf8")
    .on("data", (text: string) => {
      stdout += text;
      process.stdout.write(text);
    });
  const [code] = (await once(child, "close")) as [number | null];
  return { code: code ?? 1, stdout };
}
