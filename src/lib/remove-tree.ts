import { readdir, rm, rmdir } from "node:fs/promises";
import { runCommand } from "./run-command.ts";

const TIMEOUT_MS = 120_000;

/**
 * Removes a folder that a guest may have filled: never through a link, however deep or wide. Node's own recursive
 * removal fails on paths longer than PATH_MAX; `rm` walks by descriptors. A missing folder is fine.
 */
export async function removeTree(path: string): Promise<void> {
  if (await removeShallow(path)) return;
  const { code, stderr } = await runCommand(["rm", "-rf", "--one-file-system", "--", path], {
    timeoutMs: TIMEOUT_MS,
  });
  if (code !== 0) throw new Error(`Cannot remove '${path}': ${stderr.trim()}`);
}

/** Most folders hold only a few files in known places: those go without starting a process. */
async function removeShallow(path: string): Promise<boolean> {
  try {
    for (const entry of await readdir(path, { withFileTypes: true })) {
      const child = `${path}/${entry.name}`;
      if (!entry.isDirectory()) await rm(child);
      else if (!(await removeLeaf(child))) return false;
    }
    await rmdir(path);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ENOENT";
  }
}

async function removeLeaf(path: string): Promise<boolean> {
  const entries = await readdir(path, { withFileTypes: true });
  if (entries.length > 8 || entries.some((entry) => entry.isDirectory())) return false;
  for (const entry of entries) await rm(`${path}/${entry.name}`);
  await rmdir(path);
  return true;
}
