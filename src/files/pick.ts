/** Files of a tree by patterns, with what is in them: for an answer, and therefore few and small. */
import { setImmediate } from "node:timers/promises";
import { pathPattern } from "../lib/path-pattern.ts";
import { openFile } from "./change.ts";
import { eachInTree, type FileEntry, isNamed } from "./walk.ts";

type PickedFile = { path: string; sizeBytes: number; content: Buffer };
export type Picked = {
  files: PickedFile[];
  /** Those that fit a pattern, and for which there was no room. */
  leftOut: { path: string; sizeBytes: number }[];
  /** Files whose names no request can say, and no pattern. */
  unnamed: number;
  /** There may be more: not all were looked at. */
  isCut: boolean;
};

const MAX_FILES = 100;
const MAX_LOOKED_AT = 20_000;
/** Comparing names with patterns: in all, and without a break. */
const MAX_COMPARING_MS = 1_000;
const TURN_MS = 5;
const MAX_BYTES = 8 << 20;

/** `patterns`: see path-pattern.ts, of paths relative to `root`. A guest may have made the tree. */
export async function pickFiles(
  root: string,
  patterns: readonly string[],
  signal: AbortSignal,
): Promise<Picked> {
  const picked: Picked = { files: [], leftOut: [], unnamed: 0, isCut: false };
  const fits = patterns.map(pathPattern);
  let room = MAX_BYTES;
  let lookedAt = 0;
  const pace = new Pace();
  for await (const entry of eachInTree(root, signal)) {
    lookedAt += 1;
    picked.isCut = lookedAt > MAX_LOOKED_AT || picked.leftOut.length >= MAX_FILES || pace.isSpent;
    if (picked.isCut) break;
    if (entry.kind === "file" && !isNamed(entry.path)) picked.unnamed += 1;
    else if (entry.kind === "file" && (await pace.of(() => fits.some((isFit) => isFit(entry.path)))))
      room -= await pick(root, entry, picked.files.length < MAX_FILES ? room : -1, picked);
  }
  return picked;
}

/** Work in small pieces: others have their turn in between, and all of it together has an end. */
class Pace {
  #sinceMs = performance.now();
  #spentMs = 0;

  get isSpent(): boolean {
    return this.#spentMs > MAX_COMPARING_MS;
  }

  async of<T>(work: () => T): Promise<T> {
    const begun = performance.now();
    const done = work();
    const now = performance.now();
    this.#spentMs += now - begun;
    if (now - this.#sinceMs > TURN_MS) {
      await setImmediate();
      this.#sinceMs = performance.now();
    }
    return done;
  }
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
