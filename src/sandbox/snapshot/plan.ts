/** CRIU's command lines. Pure: tests read what would be run. docs/decisions/0017 says why each option is there. */
import { fileURLToPath } from "node:url";
import { planHostLimits } from "../host-limits.ts";
import { hostBinds } from "../mounts.ts";
import type { SandboxPolicy } from "../policy.ts";

/** Where CRIU was unpacked, and a folder on a memory file system for what it finds out of this kernel. */
export type CriuPlace = { root: string; runDir: string };

const ENTER_SCRIPT = fileURLToPath(new URL("enter.sh", import.meta.url));
const RESTORE_SCRIPT = fileURLToPath(new URL("restore.sh", import.meta.url));
const RESTORED_SCRIPT = fileURLToPath(new URL("restored.sh", import.meta.url));
const OPEN_SCRIPT = fileURLToPath(new URL("open.sh", import.meta.url));
const LOADERS: Readonly<Record<string, readonly [loader: string, libraries: string]>> = {
  x64: ["usr/lib64/ld-linux-x86-64.so.2", "usr/lib/x86_64-linux-gnu"],
  arm64: ["usr/lib/ld-linux-aarch64.so.1", "usr/lib/aarch64-linux-gnu"],
};
/** Open files of a program without a name: kept in the snapshot up to this size, in bytes. */
const GHOST_LIMIT = 1 << 30;
const LOG = "criu.log";
/** All that CRIU needs of what root can do: it reads and makes processes, their ids, mounts, files and sockets. */
const CAPABILITIES = [
  ...["chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap"],
  ...["net_admin", "sys_chroot", "sys_ptrace", "sys_admin", "sys_resource", "checkpoint_restore"],
];

const COMMON = [
  ...["-v1", "--log-file", LOG, "--manage-cgroups=ignore", "--empty-ns", "net"],
  ...["--tcp-established", "--file-locks", "--ghost-limit", String(GHOST_LIMIT)],
];

/**
 * Images the processes of a sandbox, which go on as they were; `pid` is the host's number of its first process. Waits
 * for the line of `emptyAtDump`.
 */
export function planDump(
  criu: CriuPlace,
  policy: SandboxPolicy,
  { pid, folder }: { pid: number; folder: string },
): string[] {
  return [
    ...alone(criu, policy.rootfs, folder),
    ...program(criu.root, "usr/sbin/criu"),
    ...["dump", "--tree", String(pid), "--images-dir", folder, "--leave-running", "--network-lock", "skip"],
    ...COMMON,
    ...[...hostBinds(policy).keys()].flatMap(externalAtDump),
  ];
}

/** Tells a planned dump, as its line, which memory file systems hold nothing. */
export const emptyAtDump = (empty: readonly string[]) => `${empty.flatMap(externalAtDump).join(" ")}\n`;

const externalAtDump = (target: string) => ["--external", `mnt[${target}]:${keyOf(target)}`];

/** What is to be known of a snapshot to restore it. */
export type SnapshotFacts = {
  /** Whether its processes have connections with each other. */
  hasConnections: boolean;
  /** Memory file systems that held nothing. */
  empty: readonly string[];
};

/**
 * Makes the processes again, in the cgroups of the sandbox, on the folders of `policy`, as the host uid `owner`. Waits
 * for an empty line.
 */
export function planRestore(
  criu: CriuPlace,
  policy: SandboxPolicy,
  { folder, hasConnections, empty, owner }: SnapshotFacts & { folder: string; owner: number },
  cgroupFolders: readonly string[],
): string[] {
  const options = `size=${policy.limits.tmpBytes},mode=1777,uid=${owner},gid=${owner},nosuid,nodev`;
  const fresh = (target: string) => ["tmpfs", `/run/${keyOf(target)}`, "tmpfs", `${options},X-mount.mkdir`];
  const binds = [...hostBinds(policy), ...empty.map((target) => [target, `/run/${keyOf(target)}`] as const)];
  const pidFile = `${folder}/first-process`;
  return [
    ...planHostLimits(policy.limits, cgroupFolders),
    ...alone(criu, policy.rootfs, folder, { namespaces: ["--cgroup"], mounts: empty.map(fresh) }),
    // CRIU calls its own at six stages, each time for some ten milliseconds: only where it must be.
    ...(hasConnections ? [] : ["/bin/sh", RESTORE_SCRIPT, pidFile]),
    ...program(criu.root, "usr/sbin/criu"),
    ...["restore", "--images-dir", folder, "--root", policy.rootfs, "--restore-detached"],
    ...(hasConnections ? ["--action-script", RESTORED_SCRIPT] : ["--pidfile", pidFile]),
    ...COMMON,
    ...binds.flatMap(([target, source]) => ["--external", `mnt[${keyOf(target)}]:${source}`]),
  ];
}

/** What the scripts are told: the command that does what CRIU leaves undone, before anything of the guest runs. */
export function criuEnvironment(criu: CriuPlace): Record<string, string> {
  const open = ["/bin/sh", OPEN_SCRIPT, ...program(criu.root, "usr/bin/ip")];
  return { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", ERA_OPEN: open.join(" ") };
}

/** Source, target, kind and options. */
type Mount = readonly string[];

/**
 * Ends with the server, has few rights, and mounts that nobody else sees: CRIU's own folder in the place of /run, and
 * the image's root, which is to be a mount, as CRIU asks of a new root.
 */
function alone(
  criu: CriuPlace,
  rootfs: string,
  folder: string,
  { namespaces = [], mounts = [] }: { namespaces?: string[]; mounts?: Mount[] } = {},
): string[] {
  const kept = CAPABILITIES.map((name) => `+${name}`).join(",");
  const own = [
    [criu.runDir, "/run", "none", "bind"],
    [rootfs, rootfs, "none", "bind"],
  ];
  return [
    ...["setpriv", "--pdeathsig", "KILL", "--bounding-set", `-all,${kept}`, "--"],
    ...["unshare", "--mount", "--propagation", "private", ...namespaces, "--"],
    ...["/bin/sh", ENTER_SCRIPT, `${folder}/fstab`, fstab([...own, ...mounts])],
  ];
}

const fstab = (mounts: readonly Mount[]) =>
  mounts.map((fields) => `${fields.map(fstabField).join(" ")} 0 0\n`).join("");

const fstabField = (text: string) =>
  text.replaceAll(/[\\\s#]/g, (char) => `\\${char.charCodeAt(0).toString(8).padStart(3, "0")}`);

/** A program of CRIU's folder, run by its own loader. */
function program(root: string, path: string): string[] {
  const [loader, libraries] = LOADERS[process.arch] ?? ["", ""];
  return [`${root}/${loader}`, "--library-path", `${root}/${libraries}`, `${root}/${path}`];
}

const keyOf = (target: string) => target.slice(1).replaceAll("/", "-");
