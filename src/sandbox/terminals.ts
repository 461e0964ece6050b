/**
 * How many pseudo-terminals one sandbox may have. The kernel has a number of them for all of the host, and bubblewrap
 * mounts their file system without a limit of its own: the server sets it before anything of a guest runs.
 */
import { runCommand } from "../lib/run-command.ts";
import type { Cgroup } from "./cgroup.ts";
import { firstProcess } from "./first-process.ts";

const MAX_TERMINALS = 64;
const TIMEOUT_MS = 10_000;

/** Rejects when it cannot be set. */
export async function limitTerminals(cgroup: Cgroup): Promise<void> {
  const pid = await firstProcess(cgroup);
  // All others as bubblewrap has set them: what is left out falls back to the kernel's own.
  const options = `remount,nosuid,noexec,mode=620,ptmxmode=0666,max=${MAX_TERMINALS}`;
  const argv = ["mount", "-N", `/proc/${pid}/ns/mnt`, "--no-mtab", "--options", options, "/dev/pts"];
  const { code, stderr } = await runCommand(argv, { timeoutMs: TIMEOUT_MS });
  if (code !== 0) throw new Error(`Cannot limit its terminals: ${stderr.trim().slice(0, 300)}`);
}
