/**
 * What trees were like at one moment, down to the last change of each file, in one short text. No guest works in them.
 */
import { createHash, type Hash } from "node:crypto";
import { lstatSync } from "node:fs";
import { runCommand } from "../lib/run-command.ts";
import { eachName, joinName } from "./names.ts";

const TIMEOUT_MS = 120_000;
/** Starting programs costs more than looking at a few files; looking at many would keep others waiting. */
const MAX_FILES = 200;
/** Longer ones are not for system calls that take a path. */
const MAX_PATH_BYTES = 3_500;
/** Type, mode, size, change of content or attributes, number, name. Links are not followed. */
const FORMAT = "%y %m %s %C@ %i %P\\0";
const SCRIPT = `set -eu
format=$1
shift
{ find "$@" -xdev -mindepth 1 -printf "$format" || echo failed; } | sha256sum`;

/** Rejects when a tree cannot be read. Equal texts mean that nothing was changed in between, renamed or written. */
export async function fingerprint(folders: readonly string[]): Promise<string> {
  return ofFew(folders) ?? ofMany(folders);
}

/** Null when there is more. */
function ofFew(folders: readonly string[]): string | null {
  const hash = createHash("sha256");
  const budget = { files: MAX_FILES };
  for (const folder of folders.map((path) => Buffer.from(path))) {
    hash.update("\0");
    if (!addTree({ hash, budget, rootBytes: folder.length }, folder)) return null;
  }
  return `few:${hash.digest("hex")}`;
}

type Walk = { hash: Hash; budget: { files: number }; rootBytes: number };

function addTree(walk: Walk, folder: Buffer): boolean {
  const { hash, budget, rootBytes } = walk;
  for (const name of eachName(folder)) {
    const path = joinName(folder, name);
    budget.files -= 1;
    if (budget.files < 0 || path.length > MAX_PATH_BYTES) return false;
    const info = lstatSync(path, { bigint: true });
    hash.update(`${info.mode} ${info.size} ${info.ctimeNs} ${info.ino} `);
    hash.update(path.subarray(rootBytes)).update("\0");
    if (info.isDirectory() && !addTree(walk, path)) return false;
  }
  return true;
}

async function ofMany(folders: readonly string[]): Promise<string> {
  const argv = ["/bin/sh", "-c", SCRIPT, "sh", FORMAT, ...folders];
  const { code, stdout, stderr } = await runCommand(argv, { timeoutMs: TIMEOUT_MS });
  if (code !== 0 || stderr !== "") throw new Error(`Cannot read a tree: ${stderr.trim().slice(0, 300)}`);
  return `many:${stdout.split(" ")[0] ?? ""}`;
}
