/**
 * What trees take up on their disk, counted in one way wherever a quota is judged: blocks and names, folders included.
 */
import { runCommand } from "../lib/run-command.ts";

/** A folder that is renamed at the wrong moment makes du abort itself; a guest may rename one all the time. */
const ATTEMPTS = 100;

/** `files`: names in all, each name of a file counting, and each folder. */
export type DiskUse = { bytes: number; files: number };

/** Use of each path, NaN where it is not there; null when that takes longer than `timeoutMs`. Follows no link. */
export async function diskUse(
  paths: readonly string[],
  timeoutMs: number,
): Promise<Map<string, DiskUse> | null> {
  const [bytes, files] = await Promise.all([
    du(["--block-size=1"], paths, timeoutMs),
    // Each name of a file: a folder of them takes room, and time of whoever reads it.
    du(["--inodes", "--count-links"], paths, timeoutMs),
  ]);
  if (bytes === null || files === null) return null;
  const of = (sizes: Map<string, number>, path: string) => sizes.get(path) ?? Number.NaN;
  return new Map(paths.map((path) => [path, { bytes: of(bytes, path), files: of(files, path) }]));
}

async function du(
  flags: string[],
  paths: readonly string[],
  timeoutMs: number,
): Promise<Map<string, number> | null> {
  const argv = ["du", "--summarize", "--one-file-system", "--no-dereference", ...flags, "--", ...paths];
  const until = performance.now() + timeoutMs;
  for (let attempt = 0; attempt < ATTEMPTS && performance.now() < until; attempt++) {
    const { stdout, signal } = await runCommand(argv, { timeoutMs: Math.ceil(until - performance.now()) });
    if (signal === null) return sizesIn(stdout);
    if (signal !== "SIGABRT") return null;
  }
  return null;
}

function sizesIn(text: string): Map<string, number> {
  const sizes = new Map<string, number>();
  for (const line of text.split("\n")) {
    const [size, path] = line.split("\t");
    if (size !== undefined && path !== undefined) sizes.set(path, Number(size));
  }
  return sizes;
}
