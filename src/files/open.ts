/**
 * Opens what is below a folder that a guest may be changing at the same moment: each part of a path relative to the
 * descriptor of the one before it, by way of /proc/self/fd, and never through a link.
 */
import { constants } from "node:fs";
import { type FileHandle, mkdir, open } from "node:fs/promises";
import { isInTheWay, nullIfMissing } from "../lib/missing.ts";

/** Names at the top of a workspace that belong to the server, not to the user. */
export const INTERNAL: ReadonlySet<string> = new Set([".session_data.json", ".session_data.json.new"]);
const FOLDER = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;

/** Whose new files and folders are; null leaves them to the server's own user. */
export type Owner = { uid: number } | null;

/** A name in an open folder. */
type Place = AsyncDisposable & { folder: FileHandle; at: string };

const inside = (folder: FileHandle, name: string) => `/proc/self/fd/${folder.fd}/${name}`;

/** Null when it is missing, or something else than a folder. */
export async function openFolder(path: string): Promise<FileHandle | null> {
  return open(path, FOLDER).catch(nullIfMissing);
}

/**
 * The place of a path whose parts were checked: with `create` the folders on the way are made. Null when one of them is
 * missing, or is no folder.
 */
export async function openPlace(
  root: string,
  path: string,
  create: { owner: Owner } | null = null,
): Promise<Place | null> {
  const parts = path.split("/");
  const name = parts.pop() ?? "";
  let folder = await openFolder(root);
  for (const part of parts) {
    if (folder === null) return null;
    const next: FileHandle | null = await openChild(folder, part, create);
    await folder.close();
    folder = next;
  }
  if (folder === null) return null;
  const held = folder;
  return { folder: held, at: inside(held, name), [Symbol.asyncDispose]: () => held.close() };
}

async function openChild(
  folder: FileHandle,
  name: string,
  create: { owner: Owner } | null,
): Promise<FileHandle | null> {
  const found = await openFolder(inside(folder, name));
  if (found !== null || create === null) return found;
  if (!(await makeFolder(inside(folder, name), create.owner))) return null;
  return openFolder(inside(folder, name));
}

/** False when the name is taken. */
export async function makeFolder(at: string, owner: Owner): Promise<boolean> {
  try {
    await mkdir(at, { mode: 0o755 });
  } catch (error) {
    if (isInTheWay(error)) return false;
    throw error;
  }
  const made = await openFolder(at);
  try {
    if (owner !== null) await made?.chown(owner.uid, owner.uid);
  } finally {
    await made?.close();
  }
  return true;
}
