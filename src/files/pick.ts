/** Files of a tree by patterns, with what is in them: for an answer, and therefore few and small. */
import { pathPattern } from "../lib/path-pattern.ts";
import { openFile } from "./change.ts";
import { eachInTree, type FileEntry, isNamed } from "./walk.ts";

type PickedFile = { path: string; sizeBytes: number; content: Buffer };
export type Picked = {
  files: PickedFile[];
  /** Those that fit a pattern, and for which there was no room. */
  leftOut: { path: string; sizeBytes: number }[];
  /** There may be more: not all were looked at. */
  isCut: boolean;
};

const MAX_FILES = 100;
const MAX_LOOKED_AT = 20_000;
const MAX_BYTES = 8 << 20;

/** `patterns`: see path-pattern.ts, of paths relative to `root`. A guest may have made the tree. */
export async function pickFiles(
  root: string,
  patterns: readonly string[],
  signal: AbortSignal,
): Promise<Picked> {
  const picked: Picked = { files: [], leftOut: [], isCut: false };
  const fits = patterns.map(pathPattern);
  let room = MAX_BYTES;
  let lookedAt = 0;
  for await (const entry of eachInTree(root, signal)) {
    lookedAt += 1;
    picked.isCut = lookedAt > MAX_LOOKED_AT || picked.leftOut.length >= MAX_FILES;
    if (picked.isCut) break;
    if (entry.kind !== "file" || !isNamed(entry.path) || !fits.some((isFit) => isFit(entry.path))) continue;
    const most = picked.files.length < MAX_FILES ? room : -1;
    room -= await pick(root, entry, most, picked);
  }
  return picked;
}

/** Takes a file of `most` bytes at most, and answers how many it took. */
async function pick(
  root: string,
  { path, sizeBytes }: FileEntry,
  most: number,
  picked: Picked,
): Promise<number> {
  const content = sizeBytes <= most ? await contentOf(root, path, sizeBytes) : null;
  if (content === null) picked.leftOut.push({ path, sizeBytes });
  else picked.files.push({ path, sizeBytes: content.length, content });
  return content?.length ?? 0;
}

/** Null when it is not there any more, or not readable. */
async function contentOf(root: string, path: string, sizeBytes: number): Promise<Buffer | null> {
  try {
    const { file } = await openFile(root, path);
    try {
      const content = Buffer.alloc(sizeBytes);
      const { bytesRead } = await file.read(content, 0, sizeBytes, 0);
      return content.subarray(0, bytesRead);
    } finally {
      await file.close();
    }
  } catch {
    return null;
  }
}
