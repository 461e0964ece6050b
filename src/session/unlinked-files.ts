/**
 * Files that a guest has deleted and still holds: they take up disk, and no walk through its folders finds them. Found
 * through the open descriptors and the mappings of its processes. Everything read here is the kernel's word, not the guest's.
 */
import type { BigIntStats } from "node:fs";
import { readdir, readFile, readlink, stat } from "node:fs/promises";

const DELETED = " (deleted)";
const BLOCK_BYTES = 512n;

/** Bytes of deleted files on the device that the processes keep alive; a file that several hold counts once. */
export async function unlinkedBytes(pids: readonly number[], device: bigint): Promise<number> {
  const files = new Map<bigint, bigint>();
  for (const pid of pids) {
    await addDescriptors(pid, device, files);
    await addMappings(pid, device, files);
  }
  let total = 0n;
  for (const size of files.values()) total += size;
  return Number(total);
}

function add(files: Map<bigint, bigint>, inode: bigint, size: bigint): void {
  const known = files.get(inode) ?? 0n;
  if (size >= known) files.set(inode, size);
}

async function addDescriptors(pid: number, device: bigint, files: Map<bigint, bigint>): Promise<void> {
  const folder = `/proc/${pid}/fd`;
  for (const name of await readdir(folder).catch(() => [])) {
    const path = `${folder}/${name}`;
    const target = await readlink(path).catch(() => "");
    if (!target.endsWith(DELETED)) continue;
    const info: BigIntStats | null = await stat(path, { bigint: true }).catch(() => null);
    if (info !== null && info.nlink === 0n && info.dev === device)
      add(files, info.ino, info.blocks * BLOCK_BYTES);
  }
}

/** A mapping outlives its descriptor; its file's size is at least as far as it reaches. */
async function addMappings(pid: number, device: bigint, files: Map<bigint, bigint>): Promise<void> {
  const maps = await readFile(`/proc/${pid}/maps`, "utf8").catch(() => "");
  for (const line of maps.split("\n")) {
    if (!line.endsWith(DELETED)) continue;
    const [range = "", , offset = "0", where = "", inode = "0"] = line.split(/ +/);
    const [from = "0", to = "0"] = range.split("-");
    const [major = "0", minor = "0"] = where.split(":");
    if (deviceOf(major, minor) !== device) continue;
    add(files, BigInt(inode), BigInt(`0x${offset}`) + BigInt(`0x${to}`) - BigInt(`0x${from}`));
  }
}

/** Linux's encoding of a device number, as stat() has it. */
function deviceOf(major: string, minor: string): bigint {
  const high = BigInt(`0x${major}`);
  const low = BigInt(`0x${minor}`);
  return ((high & 0xfffn) << 8n) | (low & 0xffn) | ((low & ~0xffn) << 12n) | ((high & ~0xfffn) << 32n);
}
