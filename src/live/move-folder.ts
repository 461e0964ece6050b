/**
 * Moving what a session keeps from one folder into another that is new: the entries of its three parts are given to the
 * other folder's uid and renamed. Nobody else works in either folder, so what was listed is what is there.
 */
import { chmodSync, lchownSync, lstatSync, readdirSync, renameSync, rmSync } from "node:fs";
import { open } from "node:fs/promises";
import { eachName, joinName } from "../files/names.ts";
import { type Folder, guestFolders } from "./folder.ts";

/** More would take longer to hand over than a sandbox takes to start. */
const MAX_FILES = 500;
/** A path must not be too long for any system call that the move makes. */
const MAX_PATH_BYTES = 3_500;
const SPECIAL_BITS = 0o7000;

/** Whether everything can be moved, and at once. Nothing is changed. */
export function isMovable(folder: Folder): boolean {
  const budget = { files: MAX_FILES };
  try {
    return guestFolders(folder).every((path) => isSmall(Buffer.from(path), budget));
  } catch {
    return false;
  }
}

function isSmall(folder: Buffer, budget: { files: number }): boolean {
  for (const name of eachName(folder)) {
    const path = joinName(folder, name);
    budget.files -= 1;
    if (budget.files < 0 || path.length > MAX_PATH_BYTES) return false;
    if (lstatSync(path).isDirectory() && !isSmall(path, budget)) return false;
  }
  return true;
}

/** Moves all that is still in `from`. What is in its way is the new folder's own, and goes. */
export function moveContent(from: Folder, to: Folder): void {
  const targets = guestFolders(to);
  for (const [index, path] of guestFolders(from).entries()) {
    for (const name of list(Buffer.from(path))) {
      const source = joinName(Buffer.from(path), name);
      const target = joinName(Buffer.from(targets[index] ?? ""), name);
      handOver(source, to.uid);
      rmSync(target, { recursive: true, force: true });
      renameSync(source, target);
    }
  }
}

/** Whether something of a session is still in the folder that it leaves. */
export function isLeft(folder: Folder): boolean {
  return guestFolders(folder).some((path) => list(Buffer.from(path)).length > 0);
}

/** Has what was moved into a folder survive a loss of power. */
export async function flush(folder: Folder): Promise<void> {
  for (const path of guestFolders(folder)) {
    await using part = await open(path);
    await part.sync();
  }
}

/** Links stay links, and what a mode says beside permissions stays too. */
function handOver(path: Buffer, uid: number): void {
  const info = lstatSync(path);
  lchownSync(path, uid, uid);
  if (info.isFile() && (info.mode & SPECIAL_BITS) !== 0) chmodSync(path, info.mode & 0o7777);
  if (info.isDirectory()) for (const name of list(path)) handOver(joinName(path, name), uid);
}

function list(folder: Buffer): Buffer[] {
  try {
    return readdirSync(folder, { encoding: "buffer" });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}
