/**
 * CRIU with all that it stands on, unpacked from Debian's packages into a folder of its own beside the images: it is
 * run by its own loader, so that neither the host nor what guests see has anything of it. Debian 12 and 13 have
 * versions that cannot image a socket on kernels since 6.16, so it is taken from the release after them.
 */
import { existsSync } from "node:fs";
import { mkdir, rename } from "node:fs/promises";
import { join } from "node:path";
import { lockFile } from "../lib/file-lock.ts";
import { removeTree } from "../lib/remove-tree.ts";
import { unpackPackages } from "./unpack.ts";

const SUITE = "forky";
/** `ip` brings up the loopback of a restored network. */
const PACKAGES = ["criu", "iproute2"];
/** Changes when what is unpacked, or how, changes. */
const NAME = `${SUITE}-1`;

const toolsDir = (home: string) => join(home, "criu");

/** The folder that CRIU was unpacked into; null when it was not. */
export function findCriu(home: string): string | null {
  const root = join(toolsDir(home), NAME);
  return existsSync(root) ? root : null;
}

/** Unpacks it, unless that was done. Rejects when its packages cannot be had; the server works without. */
export async function ensureCriu(
  home: string,
  debianMirror: string | undefined,
  signal: AbortSignal,
): Promise<string> {
  const found = findCriu(home);
  if (found !== null) return found;
  const base = toolsDir(home);
  await mkdir(base, { recursive: true, mode: 0o755 });
  await using _lock = await lockFile(join(base, ".lock"), () => undefined, signal);
  const foundNow = findCriu(home);
  if (foundNow !== null) return foundNow;
  const staging = join(base, `.unpacking-${NAME}`);
  await removeTree(staging);
  try {
    await unpackPackages({ suite: SUITE, packages: PACKAGES, folder: staging, debianMirror, signal });
    await rename(join(staging, "root"), join(base, NAME));
  } finally {
    await removeTree(staging);
  }
  return join(base, NAME);
}
