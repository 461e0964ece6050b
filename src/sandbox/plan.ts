/** From a policy to the command line of one sandbox. Pure: tests read what would be started. */
import { planHostLimits } from "./host-limits.ts";
import { planMounts } from "./mounts.ts";
import { planNetwork } from "./network.ts";
import type { SandboxPolicy } from "./policy.ts";
import { planUser } from "./user.ts";

/** The number under which bubblewrap finds the compiled system call filter: see launch.ts. */
const SECCOMP_FD = 3;

export type LaunchPlan = { argv: string[]; needsUserNamespace: boolean };

type PlanHost = { asRoot: boolean; cgroupFolders: readonly string[] };

/**
 * In the order in which containment happens: limits and cgroup on the host, the user namespace, then bubblewrap, which
 * makes the other namespaces, mounts, drops capabilities, forbids new privileges, and filters system calls last.
 */
export function planLaunch(policy: SandboxPolicy, host: PlanHost): LaunchPlan {
  const user = planUser(host.asRoot, host.asRoot && host.cgroupFolders.length > 0);
  return {
    needsUserNamespace: host.asRoot,
    argv: [
      ...planHostLimits(policy.limits, host.cgroupFolders),
      ...user.enter,
      "bwrap",
      ...user.bwrap,
      ...["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"],
      ...planNetwork(),
      ...["--hostname", "era"],
      // The agent is process 1: nothing inside can signal it, and when it ends, so does all else.
      "--as-pid-1",
      ...planMounts(policy),
      "--clearenv",
      ...Object.entries(policy.env).flatMap(([name, value]) => ["--setenv", name, value]),
      ...["--cap-drop", "ALL"],
      ...["--seccomp", String(SECCOMP_FD)],
      "--",
      ...policy.command,
    ],
  };
}
