/** Reads a whole tree that a guest may be changing at the same moment: see open.ts for why that is safe. */
import { type FileHandle, lstat } from "node:fs/promises";
import { nullIfMissing } from "../lib/missing.ts";
import { eachEntry } from "./names.ts";
import { INTERNAL, openFolder } from "./open.ts";

export type FileEntry = { path: string; sizeBytes: number; modifiedAt: Date };
/** `bareFolders` hold neither files nor folders. */
type Tree = { files: FileEntry[]; bareFolders: string[]; count: number; totalBytes: number };

const MAX_DEPTH = 100;

/** Regular files below a folder, counted in all and listed up to `maxListed`, in the order of their paths; bare folders too. */
export async function walkFiles(root: string, maxListed: number): Promise<Tree> {
  const tree: Tree = { files: [], bareFolders: [], count: 0, totalBytes: 0 };
  const top = await openFolder(root);
  if (top !== null) await walk(top, "", 0, tree, maxListed);
  tree.files.sort((a, b) => (a.path < b.path ? -1 : 1));
  tree.bareFolders.sort();
  return tree;
}

async function walk(
  folder: FileHandle,
  prefix: string,
  depth: number,
  tree: Tree,
  maxListed: number,
): Promise<void> {
  try {
    const here = `/proc/self/fd/${folder.fd}`;
    let isBare = prefix !== "";
    for await (const entry of eachEntry(here)) {
      if (prefix === "" && INTERNAL.has(entry.name)) continue;
      if (entry.isFile() || entry.isDirectory()) isBare = false;
      if (entry.isFile()) await addFile(`${here}/${entry.name}`, prefix + entry.name, tree, maxListed);
      if (!entry.isDirectory() || depth >= MAX_DEPTH) continue;
      const child = await openFolder(`${here}/${entry.name}`);
      if (child !== null) await walk(child, `${prefix}${entry.name}/`, depth + 1, tree, maxListed);
    }
    if (isBare && tree.bareFolders.length < maxListed) tree.bareFolders.push(prefix);
  } finally {
    await folder.close();
  }
}

async function addFile(at: string, path: string, tree: Tree, maxListed: number): Promise<void> {
  const info = await lstat(at).catch(nullIfMissing); // removed in between
  if (info === null || !info.isFile()) return;
  tree.count += 1;
  tree.totalBytes += info.size;
  if (tree.files.length < maxListed) tree.files.push({ path, sizeBytes: info.size, modifiedAt: info.mtime });
}
