/** From a folder and limits to what a sandbox on it may see and use, and how it is launched. */
import { createHash } from "node:crypto";
import type { Config } from "../config.ts";
import type { Cgroup } from "../sandbox/cgroup.ts";
import { type LaunchPlan, planLaunch } from "../sandbox/plan.ts";
import { guestEnvironment, type Limits, type SandboxPolicy } from "../sandbox/policy.ts";
import type { ResourceSettings } from "../store/store.ts";
import type { Folder } from "./folder.ts";
import type { SandboxHost } from "./host.ts";
import { diskBytesOf, memoryBytesOf, stateBytesOf } from "./state-budget.ts";

const MIB = 1 << 20;

export function defaultLimits(config: Config): Limits {
  const { memoryBytes, cpus, pids, openFiles, tmpBytes, diskBytes } = config.limits;
  // Set before it is known which session a warm sandbox is for.
  const mostFileBytes = Math.max(stateBytesOf(config, config.maxMemoryMib * MIB), config.maxDiskMib * MIB);
  return { memoryBytes, cpus, pids, openFiles, tmpBytes, fileBytes: diskBytes, mostFileBytes };
}

/** Those of a session: its own where it has some. */
export function limitsOf({ memoryMib, cpuCount, diskMib }: ResourceSettings, config: Config): Limits {
  const defaults = defaultLimits(config);
  return {
    ...defaults,
    memoryBytes: memoryBytesOf(memoryMib, config),
    cpus: cpuCount ?? defaults.cpus,
    fileBytes: diskBytesOf(diskMib, config),
  };
}

/** The launch plan of a sandbox of this server. */
export function planFor(
  host: SandboxHost,
  folder: Folder,
  cgroup: Cgroup | null,
  { limits, command }: Pick<SandboxPolicy, "limits" | "command">,
): LaunchPlan {
  const policy = policyFor(host, folder, limits, command);
  return planLaunch(policy, { asRoot: host.asRoot, cgroupFolders: cgroup?.folders ?? [] });
}

/**
 * One for all sandboxes of a data folder, since warm ones start before their session is known; strangers cannot tell
 * it.
 */
function hashSeed(secret: string): number {
  return createHash("sha256").update(`hash seed of ${secret}`).digest().readUInt32LE();
}

/** What a sandbox on a folder may see and use. */
export function policyFor(
  host: SandboxHost,
  folder: Folder,
  limits: Limits,
  command: readonly string[] = [],
): SandboxPolicy {
  return {
    rootfs: host.image.rootfs,
    guestDir: host.runtime.dir,
    skeleton: host.runtime.skeleton,
    folders: folder,
    caBundle: host.caBundle,
    limits,
    env: guestEnvironment(limits.cpus, host.config.indexes, hashSeed(host.secret)),
    command,
  };
}
