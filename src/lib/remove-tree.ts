import { constants, type Dirent } from "node:fs";
import { type FileHandle, open, opendir, rmdir, unlink } from "node:fs/promises";
import { runCommand } from "./run-command.ts";

const TIMEOUT_MS = 120_000;
const MAX_LEAF = 8;
const FOLDER = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;

/**
 * Removes a folder that a guest may have filled, or whatever else is at the path: never through a link, however deep or
 * wide. Node's own recursive removal fails on paths longer than PATH_MAX; `rm` walks by descriptors. Nothing there is
 * fine.
 */
export async function removeTree(path: string): Promise<void> {
  if (await removeShallow(path).catch(() => false)) return;
  const { code, stderr } = await runCommand(["rm", "-rf", "--one-file-system", "--", path], {
    timeoutMs: TIMEOUT_MS,
  });
  if (code !== 0) throw new Error(`Cannot remove '${path}': ${stderr.trim()}`);
}

/**
 * Most folders hold only a few files in known places: those go without starting a process. Each folder is opened
 * without following a link, and what is in it is named by way of its descriptor: whoever still holds a folder of the
 * tree may put links in it meanwhile. False when there is more, or something else, at the path.
 */
async function removeShallow(path: string): Promise<boolean> {
  const folder = await open(path, FOLDER).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return null;
    throw error; // also for what is no folder
  });
  if (folder === null) return true;
  try {
    const entries = await few(folder);
    for (const entry of entries ?? []) {
      const child = `/proc/self/fd/${folder.fd}/${entry.name}`;
      if (!entry.isDirectory()) await unlink(child);
      else if (!(await removeLeaf(child))) return false;
    }
    if (entries !== null) await rmdir(path);
    return entries !== null;
  } catch {
    return false; // changed meanwhile: left to rm
  } finally {
    await folder.close();
  }
}

async function removeLeaf(path: string): Promise<boolean> {
  await using folder = await open(path, FOLDER);
  const entries = await few(folder);
  if (entries === null || entries.some((entry) => entry.isDirectory())) return false;
  for (const entry of entries) await unlink(`/proc/self/fd/${folder.fd}/${entry.name}`);
  await rmdir(path);
  return true;
}

/** What is in a folder; null when that is much. */
async function few(folder: FileHandle): Promise<Dirent[] | null> {
  const found: Dirent[] = [];
  for await (const entry of await opendir(`/proc/self/fd/${folder.fd}`, { bufferSize: MAX_LEAF + 1 })) {
    if (found.length === MAX_LEAF) return null;
    found.push(entry);
  }
  return found;
}
