/** A whole tree as a tar stream, out and in. What comes in is hostile: names are checked, links and devices refused. */
import { Readable } from "node:stream";
import { finished } from "node:stream/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { extract, type Pack, pack } from "tar-stream";
import { shortageIn } from "../lib/shortage.ts";
import { AppError } from "../protocol/errors.ts";
import { createFolderAt, openFile, type WriteOptions, writeFile } from "./change.ts";
import { feedArchive } from "./feed-archive.ts";
import { TarGuard } from "./tar-guard.ts";
import { eachInTree, isNamed } from "./walk.ts";

/** Entries, and what describes them: at most two of each for one. */
const MAX_ENTRIES = 200_000;
const MAX_HEADERS = 3 * MAX_ENTRIES;
const SLOW_READER_MS = 5;
const PADDING = Buffer.alloc(64 << 10);

/**
 * Every folder and regular file below a folder that clients can name, in the order in which they are found, as fast as
 * they are taken. A file that changes while it is read is cut or padded to the size it had.
 */
export function packTree(root: string): Readable {
  const archive = pack();
  const gone = new AbortController();
  archive.once("close", () => gone.abort(new Error("the reader has gone")));
  addAll(archive, root, gone.signal).then(
    () => archive.finalize(),
    (error: unknown) => archive.destroy(error instanceof Error ? error : new Error(String(error))),
  );
  return Readable.from(archive, { objectMode: false });
}

async function addAll(archive: Pack, root: string, signal: AbortSignal): Promise<void> {
  for await (const { kind, path } of eachInTree(root, signal)) {
    if (!isNamed(path)) continue;
    if (kind === "file") await addOne(archive, root, path);
    else archive.entry({ name: `${path}/`, type: "directory", mode: 0o755 });
    // Headers alone are not waited for: a slow reader must not have any number of them wait in memory.
    while (isFull(archive)) await sleep(SLOW_READER_MS, undefined, { signal });
  }
}

/** Streams of tar-stream are streamx's, whose classes can tell this. */
function isFull(archive: Pack): boolean {
  return (archive.constructor as unknown as { isBackpressured(stream: Pack): boolean }).isBackpressured(
    archive,
  );
}

async function addOne(archive: Pack, root: string, path: string): Promise<void> {
  const opened = await openFile(root, path).catch((error: unknown) => {
    if (error instanceof AppError) return null; // removed since it was listed
    throw error;
  });
  if (opened === null) return;
  const { file, sizeBytes: size, modifiedAt: mtime, isExecutable } = opened;
  try {
    const entry = archive.entry({ name: path, size, mtime, mode: isExecutable ? 0o755 : 0o644 });
    entry.on("error", () => undefined); // the archive itself fails with it
    let left = size;
    if (size > 0) {
      for await (const chunk of file.createReadStream({ start: 0, end: size - 1, autoClose: false })) {
        left -= chunk.length;
        if (!entry.write(chunk)) await drained(entry);
      }
    }

    for (; left > 0; left -= PADDING.length)
      if (!entry.write(PADDING.subarray(0, left))) await drained(entry);
    entry.end(Buffer.alloc(0));
    await finished(entry);
  } finally {
    await file.close();
  }
}

function drained(stream: NodeJS.WritableStream & { destroyed?: boolean }): Promise<void> {
  return new Promise((resolve, reject) => {
    if (stream.destroyed) reject(new Error("the reader has gone"));
    stream.once("drain", resolve);
    stream.once("close", () => reject(new Error("the reader has gone")));
  });
}

type Entry = ReturnType<typeof extract> extends AsyncIterable<infer Each> ? Each : never;

type UnpackOptions = WriteOptions & {
  /** Throws for a path that may not be in a workspace. */
  checkPath: (path: string) => string;
};

/**
 * Writes the files and folders of a tar stream, plain or gzipped. Rejects at the first entry that is not fit, with what
 * came before it written. Answers how many files and bytes.
 */
export async function unpackTree(
  root: string,
  content: Readable,
  options: UnpackOptions,
): Promise<{ files: number; bytes: number }> {
  const archive = extract();
  const guard = new TarGuard(MAX_HEADERS, refuse);
  const feeding = feedArchive(content, [guard], archive).catch((error: unknown) => {
    archive.destroy(error instanceof Error ? error : new Error(String(error)));
  });
  const done = { files: 0, bytes: 0 };
  let entries = 0;
  try {
    for await (const entry of archive) {
      entries += 1;
      if (entries > MAX_ENTRIES) throw refuse(`more than ${MAX_ENTRIES} entries`);
      const bytes = await unpackEntry(root, entry, options);
      if (bytes !== null) done.files += 1;
      done.bytes += bytes ?? 0;
    }
  } catch (error) {
    if (error instanceof AppError || shortageIn(error) !== null) throw error;
    throw new AppError("invalid_request", `Cannot read the archive: ${(error as Error).message}`, {
      cause: error,
    });
  } finally {
    archive.destroy();
    await feeding;
  }
  return done;
}

/** Answers how many bytes a file has; null for what is none. */
async function unpackEntry(root: string, entry: Entry, options: UnpackOptions): Promise<number | null> {
  const { name, type, mode = 0 } = entry.header;
  const path = name.replace(/^(\.\/)+/, "").replace(/\/+$/, "");
  const isRoot = path === "" || path === ".";
  if (!isRoot) options.checkPath(path);
  if (isRoot || type === "directory") {
    if (!isRoot) await createFolderAt(root, path, options.owner);
    entry.resume();
    return null;
  }
  if (type !== "file" && type !== "contiguous-file")
    throw refuse(`${JSON.stringify(name.slice(0, 200))} is a ${type}`);
  const isExecutable = (mode & 0o100) !== 0;
  return writeFile(root, path, Readable.from(entry), { ...options, isExecutable });
}

const refuse = (why: string) => new AppError("invalid_request", `Cannot unpack the archive: ${why}`);
