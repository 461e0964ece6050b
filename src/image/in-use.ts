/** Which folders of images and runtimes are in use: a server holds its own open, and sandboxes outlive a server. */
import { readdirSync, statSync } from "node:fs";
import { open } from "node:fs/promises";

/** Where a sandbox has the guest programs: see sandbox/mounts.ts. */
const GUEST_MOUNT = "root/opt/era";

/** Keeps folders in use until it is disposed of, also for other processes. */
export async function keepInUse(paths: readonly string[]): Promise<AsyncDisposable> {
  const stack = new AsyncDisposableStack();
  for (const path of paths) stack.use(await open(path, "r"));
  return stack;
}

/** The folders, by device and number, that a process holds open, or has as its root or as its guest programs. */
export function foldersInUse(): { has(path: string): boolean } {
  const found = new Set<string>();
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    for (const place of [...descriptorsOf(pid), "root", GUEST_MOUNT]) {
      const identity = identityOf(`/proc/${pid}/${place}`);
      if (identity !== null) found.add(identity);
    }
  }
  return { has: (path) => found.has(identityOf(path) ?? "") };
}

function descriptorsOf(pid: string): string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`).map((name) => `fd/${name}`);
  } catch {
    return []; // it ended, or belongs to somebody else
  }
}

/** Null for what is no folder, or cannot be looked at. */
function identityOf(path: string): string | null {
  try {
    const info = statSync(path, { bigint: true });
    return info.isDirectory() ? `${info.dev}:${info.ino}` : null;
  } catch {
    return null;
  }
}
