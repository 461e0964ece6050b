/**
 * Files that look like secrets. They are not kept when a session sleeps, and not copied with it: who needs one again
 * passes it again.
 */
import type { FileHandle } from "node:fs/promises";
import { unlink } from "node:fs/promises";
import { nullIfMissing } from "../lib/missing.ts";
import { eachEntry } from "./names.ts";
import { openFolder } from "./open.ts";

/** Whole names, or ends of a path, in any case. */
const NAMES: readonly string[] = [
  ...[
    ".env",
    ".env.local",
    ".env.production",
    ".env.development",
    ".netrc",
    ".dockercfg",
    ".npmrc",
    ".pypirc",
  ],
  ...["credentials.json", "service-account.json", "secrets.json", "secrets.yaml", "secrets.yml"],
  ...[".aws/credentials", ".ssh/id_rsa", ".ssh/id_ed25519"],
];
const WHOLE = new Set(NAMES);
const MAX_DEPTH = 100;
const MAX_LISTED = 100;
/** A guest chooses names and depth, and the list is stored with its session. */
const MAX_LISTED_CHARS = 1_024;

function looksSecret(path: string): boolean {
  const parts = path.toLowerCase().split("/");
  return WHOLE.has(parts.at(-1) ?? "") || WHOLE.has(parts.slice(-2).join("/"));
}

/**
 * Removes what looks like a secret below a folder that a guest has filled, never through a link. Answers their paths,
 * 100 at the most.
 */
export async function removeSecrets(root: string): Promise<string[]> {
  const removed: string[] = [];
  const top = await openFolder(root);
  if (top !== null) await sweep(top, "", 0, removed);
  return removed.sort();
}

async function remove(at: string, path: string, removed: string[]): Promise<void> {
  const isGone = (await unlink(at).catch(nullIfMissing)) !== null;
  if (isGone && removed.length < MAX_LISTED) removed.push(path.slice(0, MAX_LISTED_CHARS));
}

async function sweep(folder: FileHandle, prefix: string, depth: number, removed: string[]): Promise<void> {
  try {
    const here = `/proc/self/fd/${folder.fd}`;
    for await (const entry of eachEntry(here)) {
      const path = prefix + entry.name;
      const at = `${here}/${entry.name}`;
      if (entry.isDirectory()) {
        const child = depth < MAX_DEPTH ? await openFolder(at) : null;
        if (child !== null) await sweep(child, `${path}/`, depth + 1, removed);
      } else if (looksSecret(path)) await remove(at, path, removed);
    }
  } finally {
    await folder.close();
  }
}
