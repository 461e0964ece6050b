/** Reading and changing single files of a session's tree. Paths are relative, and were checked by a schema. */
import { constants } from "node:fs";
import { type FileHandle, lstat, open, rename, rm } from "node:fs/promises";
import type { Readable } from "node:stream";
import { isInTheWay, isMissing, nullIfMissing } from "../lib/missing.ts";
import { randomBase36 } from "../lib/random-id.ts";
import { AppError } from "../protocol/errors.ts";
import { makeFolder, type Owner, openPlace } from "./open.ts";
import type { Quota } from "./quota.ts";

const READ = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
const WRITE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

export type WriteOptions = {
  owner: Owner;
  quota: Quota;
  /** Where a file lies until it is whole: no guest, and no copy of the tree, sees it there. */
  stagingDir: string;
};
type OpenFile = { file: FileHandle; sizeBytes: number; modifiedAt: Date; isExecutable: boolean };

const notFound = (path: string) =>
  new AppError("file_not_found", `Cannot find the file ${JSON.stringify(path)}`);
const inTheWay = (path: string, cause?: unknown) =>
  new AppError("path_conflict", `Cannot put anything at ${JSON.stringify(path)}: something is in the way`, {
    cause,
  });
/** For `.catch` of what puts something at a path. */
const orInTheWay = (path: string) => (error: unknown) => {
  throw isInTheWay(error) ? inTheWay(path, error) : error;
};

/** A regular file, open for reading; the caller closes it. Rejects with `file_not_found`. */
export async function openFile(root: string, path: string): Promise<OpenFile> {
  await using place = await openPlace(root, path);
  const file = place === null ? null : await open(place.at, READ).catch(nullIfMissing);
  if (file === null) throw notFound(path);
  const info = await file.stat();
  const { size: sizeBytes, mtime: modifiedAt, mode } = info;
  if (info.isFile()) return { file, sizeBytes, modifiedAt, isExecutable: (mode & constants.S_IXUSR) !== 0 };
  await file.close();
  if (!info.isDirectory()) throw notFound(path);
  throw new AppError("file_not_found", `Cannot read ${JSON.stringify(path)}: it is a folder`, {
    hint: "GET …/files lists what is in it, GET …/archive answers the whole tree",
  });
}

/**
 * Writes a file whole or not at all: in a folder of the server's own first, on the same file system, then renamed.
 * Answers its size. Rejects with `path_conflict`, or `disk_full` when there is no room.
 */
export async function writeFile(
  root: string,
  path: string,
  content: Readable,
  options: WriteOptions & { isExecutable?: boolean },
): Promise<number> {
  await using place = await openPlace(root, path, options);
  if (place === null) throw inTheWay(path);
  await options.quota.take({ files: 1 });
  const staged = `${options.stagingDir}/upload-${randomBase36(12)}`;
  const file = await open(staged, WRITE, options.isExecutable ? 0o755 : 0o644);
  let size = 0;
  try {
    for await (const chunk of chunksOf(content)) {
      await options.quota.take({ bytes: chunk.length });
      size += chunk.length;
      await file.writeFile(chunk);
    }
    if (options.owner !== null) await file.chown(options.owner.uid, options.owner.uid);
    await rename(staged, place.at).catch(orInTheWay(path));
    options.quota.arrived({ bytes: size, files: 1 });
    return size;
  } catch (error) {
    await rm(staged, { force: true });
    options.quota.giveBack({ bytes: size, files: 1 });
    throw error;
  } finally {
    await file.close();
  }
}

/** The stream is not ended here: what is left of a request must still be read, for its answer to be heard. */
const chunksOf = (content: Readable) => content.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>;

/** Makes a folder and those above it; one that is there already is fine. Rejects with `path_conflict`. */
export async function createFolderAt(root: string, path: string, owner: Owner): Promise<void> {
  await using place = await openPlace(root, path, { owner });
  if (place === null) throw inTheWay(path);
  if (await makeFolder(place.at, owner)) return;
  const info = await lstat(place.at).catch(nullIfMissing);
  if (!info?.isDirectory()) throw inTheWay(path);
}

/** Moves a file or folder; a file that stands at the target is replaced. */
export async function move(root: string, from: string, to: string, owner: Owner): Promise<void> {
  await using source = await openPlace(root, from);
  if (source === null || (await lstat(source.at).catch(nullIfMissing)) === null) throw notFound(from);
  await using target = await openPlace(root, to, { owner });
  if (target === null) throw inTheWay(to);
  await rename(source.at, target.at).catch(orInTheWay(to));
}

/**
 * Takes a file or folder out of the tree at once, to a path on the same file system that no guest can reach, where it
 * can be removed in peace. Rejects with `file_not_found`.
 */
export async function takeOut(root: string, path: string, target: string): Promise<void> {
  await using place = await openPlace(root, path);
  if (place === null) throw notFound(path);
  await rename(place.at, target).catch((error: unknown) => {
    throw isMissing(error) ? notFound(path) : error;
  });
}

/**
 * Bytes of a part of a file, as HTTP's `Range: bytes=…` asks for; null for all, `invalid_range` when there is no such
 * part.
 */
export function parseRange(
  header: string | undefined,
  sizeBytes: number,
): { start: number; end: number } | null {
  const asked = header?.match(/^bytes=(\d*)-(\d*)$/);
  if (!asked || (asked[1] === "" && asked[2] === "")) return null;
  const start = asked[1] === "" ? Math.max(0, sizeBytes - Number(asked[2])) : Number(asked[1]);
  const end = asked[1] === "" || asked[2] === "" ? sizeBytes - 1 : Math.min(Number(asked[2]), sizeBytes - 1);
  if (asked[1] !== "" && asked[2] !== "" && Number(asked[2]) < Number(asked[1])) return null; // no range at all
  if (start > end || start >= sizeBytes)
    throw new AppError("invalid_range", `Cannot read '${header}': the file has ${sizeBytes} bytes`, {
      extra: { size: sizeBytes },
    });
  return { start, end };
}
