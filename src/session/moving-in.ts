/**
 * Waking without a start: what a sleeping session keeps moves into the folder of a warm sandbox, which then takes it up as
 * if it had been started on it. The session's row names both folders before the first file moves, so that whoever finds
 * the move half done goes on with it. A tree of many files is woken by a new sandbox on its own folder instead: each file
 * changes its owner with the move.
 *
 * Nobody else works in either folder: the session has no process, the warm sandbox has run nothing, and the session's
 * folder is not held (see session-folder.ts). So paths are what they were when they were listed.
 */
import { chmodSync, lchownSync, lstatSync, readdirSync, renameSync, rmSync } from "node:fs";
import { open } from "node:fs/promises";
import { removeTree } from "../lib/remove-tree.ts";
import type { FolderPlace, SessionRow, Store } from "../store/store.ts";
import { type Folder, folderAt, guestFolders } from "./folder.ts";
import type { LiveSandbox } from "./live-sandbox.ts";

export type Mover = { dataDir: string; asRoot: boolean; store: Store };

const MAX_FILES = 500;
const SPECIAL_BITS = 0o7000;

/** Whether all that a session keeps can be moved in less time than a sandbox takes to start. */
export function isMovable(folder: Folder): boolean {
  try {
    return guestFolders(folder).reduce((left, path) => left - count(Buffer.from(path), left), MAX_FILES) >= 0;
  } catch {
    return false; // too deep, or closed to this server when it is not root
  }
}

/** Moves a session into a warm sandbox and has it taken up there. When it rejects, `row.folder` tells how far it came. */
export async function moveIn(row: SessionRow, from: Folder, live: LiveSandbox, mover: Mover): Promise<void> {
  const before = row.folder;
  const { key, uid } = live.folder;
  row.folder = { key, uid, movedFrom: { key: from.key, uid: from.uid } };
  try {
    await mover.store.updateSession(row);
  } catch (error) {
    row.folder = before;
    throw error;
  }
  moveContent(from, live.folder, mover.asRoot);
  live.hello = await live.channel.restore();
}

/** Whether some of what moves is still where it was. */
export function isHalfMoved({ movedFrom }: FolderPlace, dataDir: string): boolean {
  if (movedFrom === undefined) return false;
  return guestFolders(folderAt(dataDir, movedFrom.key, movedFrom.uid)).some((path) => list(path).length > 0);
}

/** Brings a move to its end, on disk too: the earlier folder is gone, and its uid belongs to nobody. */
export async function finishMove(row: SessionRow, { dataDir, asRoot, store }: Mover): Promise<void> {
  if (row.folder?.movedFrom === undefined) return;
  const { key, uid, movedFrom } = row.folder;
  const from = folderAt(dataDir, movedFrom.key, movedFrom.uid);
  const to = folderAt(dataDir, key, uid);
  moveContent(from, to, asRoot);
  for (const path of guestFolders(to)) {
    await using folder = await open(path);
    await folder.sync();
  }
  await removeTree(from.root);
  row.folder = { key, uid };
  await store.updateSession(row);
}

/** What is there already is the warm sandbox's own, and gives way. */
function moveContent(from: Folder, to: Folder, asRoot: boolean): void {
  const targets = guestFolders(to);
  for (const [index, path] of guestFolders(from).entries()) {
    for (const name of list(path)) {
      const source = join(path, name);
      const target = join(targets[index] ?? "", name);
      if (asRoot) handOver(source, to.uid);
      rmSync(target, { recursive: true, force: true });
      renameSync(source, target);
    }
  }
}

/** Links and what a mode says beside permissions stay as they are. */
function handOver(path: Buffer, uid: number): void {
  const info = lstatSync(path);
  lchownSync(path, uid, uid);
  if (info.isFile() && (info.mode & SPECIAL_BITS) !== 0) chmodSync(path, info.mode & 0o7777);
  if (info.isDirectory()) for (const name of list(path)) handOver(join(path, name), uid);
}

/** Of files and folders below a folder; more than `most` are not counted to their end. */
function count(folder: Buffer, most: number): number {
  let found = 0;
  for (const entry of readdirSync(folder, { withFileTypes: true, encoding: "buffer" })) {
    found += 1;
    if (found <= most && entry.isDirectory()) found += count(join(folder, entry.name), most - found);
    if (found > most) break;
  }
  return found;
}

function list(folder: string | Buffer): Buffer[] {
  try {
    return readdirSync(folder, { encoding: "buffer" });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

/** Names are bytes, whatever a guest took for them. */
function join(folder: string | Buffer, name: Buffer): Buffer {
  return Buffer.concat([Buffer.from(folder as string), Buffer.from("/"), name]);
}
