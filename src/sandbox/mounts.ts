/** What a guest sees of files: the image read-only, its own three folders, small memory file systems, nothing else. */
import { CA_PATH, type SandboxPolicy } from "./policy.ts";

/** Memory file systems that a guest writes. */
export const MEMORY_MOUNTS = ["/tmp", "/dev/shm"];

/** Those that a guest has. */
export const DEVICES = ["null", "zero", "full", "random", "urandom", "tty"];

/** A guest is root of its namespaces, whose settings the kernel would let it change. */
const KERNEL_SETTINGS = "/proc/sys";

/**
 * What of the host's files a guest sees, beside the image: where it sees it, and what it is. /dev and /run hold nothing
 * but places for what is mounted in them: a restored sandbox has a folder of the host there.
 */
export function hostBinds(policy: SandboxPolicy): Map<string, string> {
  const { folders, guestDir, skeleton, caBundle } = policy;
  const devices = DEVICES.map((name) => `/dev/${name}`);
  return new Map([
    [KERNEL_SETTINGS, KERNEL_SETTINGS],
    ...agentCovers(policy),
    ["/dev", `${skeleton}/dev`],
    ["/run", `${skeleton}/run`],
    ...devices.map((path) => [path, path] as const),
    ["/opt/era", guestDir],
    ["/run/era", folders.run],
    ["/run/era-state", folders.state],
    ["/workspace", folders.workspace],
    ["/root", folders.home],
    ...(caBundle === null ? [] : [[CA_PATH, caBundle] as const]),
  ]);
}

/**
 * What lies over the agent's entries in /proc: it runs as the guest's own user, and while it is imaged the kernel would
 * let others of that user open its memory and descriptors.
 */
function agentCovers({ skeleton }: SandboxPolicy): Map<string, string> {
  const names = ["mem", ...AGENT_FOLDERS];
  // Each another source: CRIU restores a second mount of the same one without its flags.
  return new Map(names.map((name) => [`/proc/1/${name}`, `${skeleton}/none/${name}`]));
}

/** Folders of a process in /proc that lead to its memory and descriptors. */
export const AGENT_FOLDERS = ["fd", "fdinfo", "map_files", "task"];

/** Arguments of bubblewrap, in order: a later mount may lie inside an earlier one. */
export function planMounts(policy: SandboxPolicy): string[] {
  const size = String(policy.limits.tmpBytes);
  const { workspace, home, state, run } = policy.folders;
  return [
    ...["--ro-bind", policy.rootfs, "/"],
    ...["--proc", "/proc", "--ro-bind", KERNEL_SETTINGS, KERNEL_SETTINGS],
    ...[...agentCovers(policy)].flatMap(([target, source]) => ["--ro-bind", source, target]),
    ...["--dev", "/dev"],
    ...["--size", size, "--perms", "1777", "--tmpfs", "/dev/shm"],
    // Device nodes stay usable; but nobody can fill the memory file system that they lie on.
    ...["--remount-ro", "/dev"],
    ...["--size", size, "--perms", "1777", "--tmpfs", "/tmp"],
    ...["--ro-bind", policy.guestDir, "/opt/era"],
    // Read-only: a guest can dial the socket but not put another one in its place.
    ...["--size", "65536", "--tmpfs", "/run", "--ro-bind", run, "/run/era"],
    ...["--bind", state, "/run/era-state", "--remount-ro", "/run"],
    ...["--bind", workspace, "/workspace"],
    ...["--bind", home, "/root"],
    ...(policy.caBundle === null ? [] : ["--ro-bind", policy.caBundle, CA_PATH]),
    ...["--chdir", "/workspace"],
  ];
}
