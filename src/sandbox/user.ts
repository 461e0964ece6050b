/**
 * The guest's user. As root, the server makes one user namespace for each host uid of its range, whose only mapping is
 * `0 <uid> 1`, and bubblewrap enters it; otherwise bubblewrap makes a namespace that maps the server's own user.
 * A namespace is kept alive by an open descriptor, so that a later sandbox with the same uid need not make it again.
 */
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { createInterface } from "node:readline";
import { spawnProgram, streamOf } from "../lib/spawn-program.ts";

/** The number under which a launched command finds the namespace: see launch.ts. */
const USER_NS_FD = 4;

/** Arguments before bubblewrap's own name, and those after it. `canOutlive`: whether a later server would find it. */
export function planUser(asRoot: boolean, canOutlive: boolean): { enter: string[]; bwrap: string[] } {
  const end = canOutlive ? [] : ["--die-with-parent"];
  if (asRoot) {
    return {
      enter: ["nsenter", `--user=/proc/self/fd/${USER_NS_FD}`, "-S", "0", "-G", "0", "--"],
      bwrap: end,
    };
  }
  return { enter: [], bwrap: ["--unshare-user", "--uid", "0", "--gid", "0", ...end] };
}

// Inside the new namespace it has all capabilities: enough to forbid further namespaces below, which stays in force.
const HOLD_SCRIPT =
  "echo unshared; read -r _; echo 0 >/proc/sys/user/max_user_namespaces; echo ready; read -r _";
const TIMEOUT_MS = 10_000;

/** Makes the namespace of a host uid and answers an open descriptor of it, which the caller closes. */
export async function openUserNamespace(uid: number): Promise<FileHandle> {
  const child = await spawnProgram(["unshare", "--user", "--keep-caps", "sh", "-c", HOLD_SCRIPT], {
    stdio: ["pipe", "pipe", "inherit"],
    timeout: TIMEOUT_MS,
    killSignal: "SIGKILL",
  });
  const ended = once(child, "exit");
  const stdin = streamOf(child.stdin).on("error", () => undefined); // it has ended: that is told by its output
  const lines = createInterface({ input: streamOf(child.stdout) })[Symbol.asyncIterator]();
  const expect = async (word: string) => {
    const { value } = await lines.next();
    if (value !== word)
      throw new Error(`Cannot make a user namespace for uid ${uid}: it ended before '${word}'`);
  };
  try {
    await expect("unshared");
    writeFileSync(`/proc/${child.pid}/gid_map`, `0 ${uid} 1\n`);
    writeFileSync(`/proc/${child.pid}/uid_map`, `0 ${uid} 1\n`);
    stdin.write("\n");
    await expect("ready");
    return await open(`/proc/${child.pid}/ns/user`, "r");
  } finally {
    stdin.end();
    await ended;
  }
}
