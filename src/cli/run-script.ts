import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** Runs a program of the repository at its root, with our output; answers its exit status. */
export async function runScript([file = "", ...args]: readonly string[]): Promise<number> {
  const child = spawn(file, args, { cwd: ROOT, stdio: ["ignore", "inherit", "inherit"] });
  const [code] = (await once(child, "exit")) as [number | null];
  return code ?? 1;
}
