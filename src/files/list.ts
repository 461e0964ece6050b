/** What a tree holds, as it is shown: counted whole, and listed as far as clients ask and memory allows. */
import { eachInTree, type FileEntry, isNamed } from "./walk.ts";

type Listing = {
  /** In the order of their paths. */
  files: FileEntry[];
  /** Regular files in all, or those that match. */
  count: number;
  totalBytes: number;
  /** Files that count, but whose path is too long, or no text: they cannot be asked for, and are not listed. */
  unnamed: number;
};

export type ListOptions = {
  maxListed: number;
  signal: AbortSignal;
  /** Part of the paths, in any case. */
  search?: string | undefined;
};

/** Limit for all listed paths together. */
const MAX_LISTED_CHARS = 4 << 20;
const never = new AbortController().signal;

export async function listFiles(root: string, options: ListOptions): Promise<Listing> {
  const { maxListed, signal } = options;
  const wanted = options.search?.toLowerCase();
  const list = new FirstByPath(maxListed);
  let [count, totalBytes, unnamed] = [0, 0, 0];
  for await (const entry of eachInTree(root, signal)) {
    if (entry.kind !== "file") continue;
    totalBytes += entry.sizeBytes;
    if (wanted !== undefined && !entry.path.toLowerCase().includes(wanted)) continue;
    count += 1;
    if (isNamed(entry.path)) list.add(entry);
    else unnamed += 1;
  }
  return { files: list.files(), count, totalBytes, unnamed };
}

export async function countFiles(root: string): Promise<{ files: number; bytes: number }> {
  const { count, totalBytes } = await listFiles(root, { maxListed: 0, signal: never });
  return { files: count, bytes: totalBytes };
}

const byPath = (a: FileEntry, b: FileEntry) => (a.path < b.path ? -1 : 1);

/** The first of many files, by their paths: never many more are held than are wanted. */
class FirstByPath {
  #most: number;
  #files: FileEntry[] = [];
  #chars = 0;

  constructor(most: number) {
    this.#most = most;
  }

  add({ path, sizeBytes, modifiedAt }: FileEntry): void {
    if (this.#most === 0) return;
    this.#files.push({ path, sizeBytes, modifiedAt });
    this.#chars += path.length;
    if (this.#files.length >= 2 * this.#most || this.#chars >= 2 * MAX_LISTED_CHARS) this.#cut();
  }

  files(): FileEntry[] {
    this.#cut();
    return this.#files;
  }

  #cut(): void {
    this.#files.sort(byPath);
    this.#chars = 0;
    let kept = 0;
    for (const { path } of this.#files) {
      if (kept === this.#most || this.#chars + path.length > MAX_LISTED_CHARS) break;
      this.#chars += path.length;
      kept += 1;
    }
    if (kept < this.#files.length) this.#most = Math.min(this.#most, kept);
    this.#files.length = kept;
  }
}
