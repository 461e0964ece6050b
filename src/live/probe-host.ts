/** Runs the probe in a sandbox made exactly as sessions' are. */

import type { Cgroup } from "../sandbox/cgroup.ts";
import { launchSandbox } from "../sandbox/launch.ts";
import { type Facility, judgeFacilities, PROBE_COMMAND, parseFacts } from "../sandbox/probe.ts";
import { createFolder } from "./folder.ts";
import type { SandboxHost } from "./host.ts";
import { removeFolder } from "./owned-folder.ts";
import { defaultLimits, planFor } from "./plan-sandbox.ts";

const TIMEOUT_MS = 20_000;

export async function probeHost(host: SandboxHost): Promise<Facility[]> {
  const uid = host.asRoot ? host.uids.acquire() : (process.getuid?.() ?? 0);
  const folder = await createFolder(host.config.dataDir, uid, host.asRoot);
  const limits = defaultLimits(host.config);
  let cgroup: Cgroup | null = null;
  try {
    cgroup = (await host.cgroups?.create(folder.key, limits)) ?? null;
    const plan = planFor(host, folder, cgroup, { limits, command: PROBE_COMMAND });
    const sandbox = await launchSandbox(plan, {
      seccompPath: host.runtime.seccompPath,
      userNamespaceFd: plan.needsUserNamespace ? await host.uids.namespaceFd(uid) : null,
      cgroup,
    });
    const timer = setTimeout(() => void sandbox.end(), TIMEOUT_MS);
    await sandbox.exited;
    clearTimeout(timer);
    await sandbox.end();
    return judgeFacilities(parseFacts(sandbox.diagnostics()), host.cgroups, host.asRoot);
  } finally {
    await cgroup?.remove();
    await removeFolder(host, folder);
  }
}
