/**
 * Files that a guest has deleted and still holds: they take up disk, and no walk through its folders finds them. Found
 * through the open descriptors and the mappings of its processes. Everything read here is the kernel's word, not the
 * guest's.
 */
import type { BigIntStats } from "node:fs";
import { readdir, readFile, readlink, stat } from "node:fs/promises";

const DELETED = " (deleted)";
const BLOCK_BYTES = 512n;

/**
 * Bytes of deleted files on the device that the processes keep alive, as many as are found by `deadline`, a time of
 * performance.now(); a file that several hold counts once.
 */
export async function unlinkedBytes(
  pids: readonly number[],
  device: bigint,
  deadline: number,
): Promise<number> {
  const files = new Map<bigint, bigint>();
  // Begun elsewhere each time: what is not reached in time now is another time.
  const first = Math.floor(Math.random() * pids.length);
  for (const pid of [...pids.slice(first), ...pids.slice(0, first)]) {
    if (performance.now() > deadline) break;
    if (await addDescriptors(pid, device, files)) await addMappings(pid, device, files);
    else await addThreads(pid, device, files);
  }
  let total = 0n;
  for (const size of files.values()) total += size;
  return Number(total);
}

/** A process whose first thread has ended shows nothing under its own number, but all under those of its others. */
async function addThreads(pid: number, device: bigint, files: Map<bigint, bigint>): Promise<void> {
  for (const thread of await readdir(`/proc/${pid}/task`).catch(() => [])) {
    await addDescriptors(Number(thread), device, files);
    await addMappings(Number(thread), device, files);
  }
}

/** Notes a file that is deleted and on the device. */
async function addFile(path: string, device: bigint, files: Map<bigint, bigint>): Promise<boolean> {
  const info: BigIntStats | null = await stat(path, { bigint: true }).catch(() => null);
  if (info?.nlink === 0n && info.dev === device) files.set(info.ino, info.blocks * BLOCK_BYTES);
  return info !== null;
}

/** False when the process shows no descriptors at all: a living one has some. */
async function addDescriptors(pid: number, device: bigint, files: Map<bigint, bigint>): Promise<boolean> {
  const folder = `/proc/${pid}/fd`;
  const names = await readdir(folder).catch(() => []);
  for (const name of names) {
    const target = await readlink(`${folder}/${name}`).catch(() => "");
    if (target.endsWith(DELETED)) await addFile(`${folder}/${name}`, device, files);
  }
  return names.length > 0;
}

/** A mapping outlives its descriptor. Only root may ask for its file; else it is at least as long as what is mapped. */
async function addMappings(pid: number, device: bigint, files: Map<bigint, bigint>): Promise<void> {
  const maps = await readFile(`/proc/${pid}/maps`, "utf8").catch(() => "");
  for (const line of maps.split("\n")) {
    if (!line.endsWith(DELETED)) continue;
    const [range = "", , offset = "0", where = "", inode = "0"] = line.split(/ +/);
    const [from = "0", to = "0"] = range.split("-");
    const [major = "0", minor = "0"] = where.split(":");
    if (
      deviceOf(major, minor) !== device ||
      (await addFile(`/proc/${pid}/map_files/${trimmed(range)}`, device, files))
    )
      continue;
    const reach = BigInt(`0x${offset}`) + BigInt(`0x${to}`) - BigInt(`0x${from}`);
    if (reach > (files.get(BigInt(inode)) ?? 0n)) files.set(BigInt(inode), reach);
  }
}

/** maps pads addresses with zeros, map_files does not. */
const trimmed = (range: string) => range.replace(/(^|-)0+(?=[0-9a-f])/g, "$1");

/** Linux's encoding of a device number, as stat() has it. */
function deviceOf(major: string, minor: string): bigint {
  const high = BigInt(`0x${major}`);
  const low = BigInt(`0x${minor}`);
  return ((high & 0xfffn) << 8n) | (low & 0xffn) | ((low & ~0xffn) << 12n) | ((high & ~0xfffn) << 32n);
}
