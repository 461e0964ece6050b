/** Starting and ending one sandbox. "Ended" means: every process in it is gone, and its cgroup with them. */
import { readFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { spawnProgram } from "../lib/spawn-program.ts";
import type { Cgroup } from "./cgroup.ts";
import type { LaunchPlan } from "./plan.ts";

type LaunchResources = {
  /** Compiled system call filter. */
  seccompPath: string;
  /** Open descriptor of the user namespace, where the plan needs one. */
  userNamespaceFd: number | null;
  cgroup: Cgroup | null;
};

export type Sandbox = {
  /** Host pid of bubblewrap's monitor: for this server's own bookkeeping, never public. */
  pid: number;
  cgroup: Cgroup | null;
  /** Resolves when the monitor has ended. */
  exited: Promise<void>;
  /** What was said on standard error before the agent took over; empty after a good start. */
  diagnostics(): string;
  /** Ends all of it at once and resolves when nothing is left. May be called again. */
  end(): Promise<void>;
};

const MAX_DIAGNOSTICS = 4096;
/** Each waits 100 ms at most: half a minute in all. */
const END_ATTEMPTS = 300;

export async function launchSandbox(plan: LaunchPlan, resources: LaunchResources): Promise<Sandbox> {
  await using filter = await open(resources.seccompPath, "r");
  const child = await spawnProgram(plan.argv, {
    env: { PATH: process.env.PATH ?? "/usr/sbin:/usr/bin:/sbin:/bin" },
    // In the order of SECCOMP_FD and USER_NS_FD.
    stdio: ["ignore", "ignore", "pipe", filter.fd, resources.userNamespaceFd ?? "ignore"],
    detached: true,
  });
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  let diagnostics = "";
  child.stderr?.setEncoding("utf8").on("data", (chunk: string) => {
    if (diagnostics.length < MAX_DIAGNOSTICS) diagnostics += chunk;
  });
  const pid = child.pid ?? 0;
  let ended: Promise<void> | null = null;
  return {
    pid,
    cgroup: resources.cgroup,
    exited,
    diagnostics: () => diagnostics.trim(),
    end: () => {
      ended ??= endSandbox(pid, exited, resources.cgroup).catch((error: unknown) => {
        ended = null; // to be tried again
        throw error;
      });
      return ended;
    },
  };
}

/** A sandbox that an earlier server started, known by its cgroup alone. */
export function adoptedSandbox(cgroup: Cgroup): Sandbox {
  return {
    pid: 0,
    cgroup,
    exited: new Promise(() => undefined), // its agent's line tells when it has ended
    diagnostics: () => "",
    end: () => cgroup.remove(),
  };
}

async function endSandbox(pid: number, exited: Promise<void>, cgroup: Cgroup | null): Promise<void> {
  let gone = false;
  const noteGone = exited.then(() => {
    gone = true;
  });
  for (let attempt = 0; !gone; attempt++) {
    if (attempt > END_ATTEMPTS) throw new Error("Cannot end a sandbox: its processes do not die");
    cgroup?.kill();
    // Without a cgroup: process 1 of the sandbox is the monitor's only child; the monitor ends with it.
    if (cgroup === null) killChildren(pid, attempt > 100);
    await Promise.race([noteGone, sleep(Math.min(5 + attempt * 5, 100), undefined, { ref: false })]);
  }
  await cgroup?.remove();
}

function killChildren(pid: number, andItself: boolean): void {
  let children: number[] = [];
  try {
    children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8")
      .split(" ")
      .filter(Boolean)
      .map(Number);
  } catch {
    // the monitor has ended
  }
  for (const child of andItself ? [...children, pid] : children) {
    try {
      process.kill(child, "SIGKILL");
    } catch {
      // it ended by itself
    }
  }
}
