/**
 * Reads a whole tree that a guest may be changing at the same moment, one entry after the other, and never through a
 * link: what is small here, by descriptors (see open.ts); what is large by `find`, which walks by descriptors, too,
 * outside this process.
 */

import { type FileHandle, lstat } from "node:fs/promises";
import type { Readable } from "node:stream";
import { nullIfMissing } from "../lib/missing.ts";
import { spawnProgram, streamOf } from "../lib/spawn-program.ts";
import { eachEntry } from "./names.ts";
import { INTERNAL, openFolder } from "./open.ts";

export type FileEntry = { path: string; sizeBytes: number; modifiedAt: Date };
/** Paths are relative to the tree. */
type TreeEntry = ({ kind: "file" } & FileEntry) | { kind: "folder"; path: string };

/** More entries than that are left to `find`: starting it takes some milliseconds. */
const FEW = 500;
const FEW_DEPTH = 50;
const TIMEOUT_MS = 120_000;
/** Type, size, seconds since 1970, path. */
const FORMAT = "%y %s %T@ %P\\0";
/** What a path may have that clients can name: see workspacePath. */
const MAX_NAMED_CHARS = 1_024;

/** Whether a path can be asked for: it is not too long, and its bytes were UTF-8. */
export const isNamed = (path: string): boolean => path.length <= MAX_NAMED_CHARS && !path.includes("\ufffd");

/** Folders and regular files below a folder, folders before what is in them. The signal ends it, by its reason. */
export async function* eachInTree(root: string, signal: AbortSignal): AsyncGenerator<TreeEntry> {
  const few = await findFew(root);
  if (few !== null) yield* few;
  else yield* findMany(root, signal);
}

/** Null when there is more than a few, or a name that is not UTF-8, by which nothing can be opened here. */
async function findFew(root: string): Promise<TreeEntry[] | null> {
  const found: TreeEntry[] = [];
  const top = await openFolder(root);
  return top === null || (await walk(top, "", 0, found)) ? found : null;
}

async function walk(folder: FileHandle, prefix: string, depth: number, found: TreeEntry[]): Promise<boolean> {
  try {
    const here = `/proc/self/fd/${folder.fd}`;
    for await (const entry of eachEntry(here)) {
      if (found.length >= FEW || depth > FEW_DEPTH || entry.name.includes("\ufffd")) return false;
      const path = prefix + entry.name;
      if (prefix === "" && INTERNAL.has(entry.name)) continue;
      if (entry.isFile()) await addFile(`${here}/${entry.name}`, path, found);
      if (!entry.isDirectory()) continue;
      found.push({ kind: "folder", path });
      const child = await openFolder(`${here}/${entry.name}`);
      if (child !== null && !(await walk(child, `${path}/`, depth + 1, found))) return false;
    }
    return true;
  } finally {
    await folder.close();
  }
}

async function addFile(at: string, path: string, found: TreeEntry[]): Promise<void> {
  const info = await lstat(at).catch(nullIfMissing); // removed in between
  if (info === null || !info.isFile()) return;
  found.push({ kind: "file", path, sizeBytes: info.size, modifiedAt: info.mtime });
}

async function* findMany(root: string, signal: AbortSignal): AsyncGenerator<TreeEntry> {
  const tests = ["(", "-type", "f", "-o", "-type", "d", ")", "-printf", FORMAT];
  const stop = AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]);
  stop.throwIfAborted();
  const child = await spawnProgram(["find", root, "-xdev", "-mindepth", "1", ...tests], {
    stdio: ["ignore", "pipe", "ignore"], // what vanishes while it looks is no failure
  });
  const end = () => child.kill("SIGKILL");
  stop.addEventListener("abort", end, { once: true });
  try {
    for await (const record of eachRecord(streamOf(child.stdout))) {
      const entry = parseEntry(record);
      if (entry !== null) yield entry;
    }
    stop.throwIfAborted();
  } finally {
    stop.removeEventListener("abort", end);
    end();
  }
}

/** Texts that end with a NUL. */
async function* eachRecord(stream: Readable): AsyncGenerator<string> {
  let rest = "";
  for await (const chunk of stream.setEncoding("utf8")) {
    const records = (rest + String(chunk)).split("\0");
    rest = records.pop() ?? "";
    yield* records;
  }
}

function parseEntry(record: string): TreeEntry | null {
  const [kind = "", size = "", seconds = ""] = record.split(" ", 3);
  const path = record.slice(kind.length + size.length + seconds.length + 3);
  if (path === "" || INTERNAL.has(path)) return null;
  if (kind === "d") return { kind: "folder", path };
  return { kind: "file", path, sizeBytes: Number(size), modifiedAt: new Date(Number(seconds) * 1000) };
}
