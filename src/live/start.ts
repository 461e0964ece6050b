/** Starts sandboxes. */
import { GuestChannel } from "../guest/channel.ts";
import { AppError, shortageError } from "../protocol/errors.ts";
import type { HelloFrame } from "../protocol/guest.ts";
import { type Language, languageEntry } from "../protocol/languages.ts";
import type { Cgroup } from "../sandbox/cgroup.ts";
import { launchSandbox, type Sandbox } from "../sandbox/launch.ts";
import type { Limits } from "../sandbox/policy.ts";
import { limitTerminals } from "../sandbox/terminals.ts";
import { type Folder, prepareFolder } from "./folder.ts";
import type { SandboxHost } from "./host.ts";
import { describe, identityOf, type LiveSandbox, makeLive } from "./live-sandbox.ts";
import { createOwnedFolder, removeFolder } from "./owned-folder.ts";
import { planFor } from "./plan-sandbox.ts";

/** What a sandbox is started as. */
export type Start = { language: Language; limits: Limits };

const MIB = 1 << 20;
const START_TIMEOUT_MS = 30_000;
const NO_PROCESSES = /Resource temporarily unavailable|can't start new thread/;
const NO_MEMORY = /Cannot allocate memory|MemoryError/;
const AGENT = ["/usr/bin/python3.13", "-s", "-S", "/opt/era/agent/main.py"];

/** Starts a sandbox on an existing folder. Rejects with `sandbox_failed`, leaving nothing of it behind. */
export async function startSandbox(host: SandboxHost, folder: Folder, start: Start): Promise<LiveSandbox> {
  const { language, limits } = start;
  await prepareFolder(folder);
  const channel = await GuestChannel.open(folder.socket, identityOf(host, folder, null));
  let sandbox: Sandbox | null = null;
  let cgroup: Cgroup | null = null;
  try {
    cgroup = (await host.cgroups?.create(folder.key, limits)) ?? null;
    const command = [...AGENT, ...languageEntry(language).kernel(Math.floor(limits.memoryBytes / MIB))];
    const plan = planFor(host, folder, cgroup, { limits, command });
    sandbox = await launchSandbox(plan, {
      seccompPath: host.runtime.seccompPath,
      userNamespaceFd: plan.needsUserNamespace ? await host.uids.namespaceFd(folder.uid) : null,
      cgroup,
    });
    // While the kernel gets ready: it has run nothing by then.
    const limited = host.asRoot && cgroup !== null ? limitWhenThere(channel, cgroup) : null;
    const [hello] = await Promise.all([greeted(sandbox, channel), limited]);
    return makeLive(host, { folder, sandbox, channel, hello });
  } catch (cause) {
    const reason =
      shortageError("start a sandbox", cause) ??
      shortageTold(sandbox) ??
      new AppError("sandbox_failed", `Cannot start a sandbox: ${describe(cause, sandbox)}`, { cause });
    channel.close(reason);
    await (sandbox === null ? cgroup?.remove() : sandbox.end());
    throw reason;
  }
}

/** What a program of the sandbox has died of, by its own words. */
function shortageTold(sandbox: Sandbox | null): AppError | null {
  const said = sandbox?.diagnostics() ?? "";
  const short = NO_PROCESSES.test(said) ? "processes" : NO_MEMORY.test(said) ? "memory" : null;
  return short === null
    ? null
    : new AppError("host_exhausted", `Cannot start a sandbox: this host is short of ${short}`);
}

/** Starts a sandbox on a new folder of its own. */
export async function startPristine(host: SandboxHost, start: Start): Promise<LiveSandbox> {
  const folder = await createOwnedFolder(host);
  try {
    return await startSandbox(host, folder, start);
  } catch (error) {
    await removeFolder(host, folder);
    throw error;
  }
}

async function limitWhenThere(channel: GuestChannel, cgroup: Cgroup): Promise<void> {
  await channel.dialled;
  await limitTerminals(cgroup);
}

async function greeted(sandbox: Sandbox, channel: GuestChannel): Promise<HelloFrame> {
  const early = new AbortController();
  const onExit = () => early.abort(new Error("it ended before its agent answered"));
  void sandbox.exited.then(onExit);
  return channel.greeted(AbortSignal.any([early.signal, AbortSignal.timeout(START_TIMEOUT_MS)]));
}
