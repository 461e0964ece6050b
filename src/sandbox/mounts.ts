/** What a guest sees of files: the image read-only, its own three folders, small memory file systems, nothing else. */
import { CA_PATH, type SandboxPolicy } from "./policy.ts";

/** What of the host's files a guest sees, beside the image: where it sees it, and what it is. */
export function hostBinds({ folders, guestDir, caBundle }: SandboxPolicy): Map<string, string> {
  const devices = ["null", "zero", "full", "random", "urandom", "tty"].map((name) => `/dev/${name}`);
  return new Map([
    ...devices.map((path) => [path, path] as const),
    ["/opt/era", guestDir],
    ["/run/era", folders.run],
    ["/run/era-state", folders.state],
    ["/workspace", folders.workspace],
    ["/root", folders.home],
    ...(caBundle === null ? [] : [[CA_PATH, caBundle] as const]),
  ]);
}

/** Arguments of bubblewrap, in order: a later mount may lie inside an earlier one. */
export function planMounts(policy: SandboxPolicy): string[] {
  const size = String(policy.limits.tmpBytes);
  const { workspace, home, state, run } = policy.folders;
  return [
    ...["--ro-bind", policy.rootfs, "/"],
    ...["--proc", "/proc"],
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
