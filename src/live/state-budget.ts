/**
 * What the saved state of a session may take. It is apart from the quota of its files: whoever deletes none keeps both.
 */
import type { Config } from "../config.ts";
import type { Keep } from "../protocol/guest.ts";
import type { SessionSettings } from "../store/store.ts";

/** Whatever fits into a session's memory can be saved. */
export const stateBytesOf = ({ limits }: Pick<Config, "limits">, memoryBytes: number): number =>
  Math.max(limits.stateBytes, memoryBytes);

const MIB = 1 << 20;

/** What a session may use; `memoryMib` is its own, null as the server has it. */
export function memoryBytesOf(memoryMib: number | null, { limits }: Pick<Config, "limits">): number {
  return memoryMib === null ? limits.memoryBytes : memoryMib * MIB;
}

/** What its files may take. */
export function diskBytesOf(diskMib: number | null, { limits }: Pick<Config, "limits">): number {
  return diskMib === null ? limits.diskBytes : diskMib * MIB;
}

export function keepOf({ memoryMib }: Pick<SessionSettings, "memoryMib">, config: Config): Keep {
  return { versions: config.keepVersions, bytes: stateBytesOf(config, memoryBytesOf(memoryMib, config)) };
}
