/** Takes over sandboxes that an earlier server started. */
import { readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { GuestChannel } from "../guest/channel.ts";
import { AppError } from "../protocol/errors.ts";
import type { Cgroup } from "../sandbox/cgroup.ts";
import { adoptedSandbox } from "../sandbox/launch.ts";
import type { Folder } from "./folder.ts";
import type { SandboxHost } from "./host.ts";
import { describe, identityOf, type LiveSandbox, makeLive } from "./live-sandbox.ts";

const ADOPT_TIMEOUT_MS = 10_000;
const ADOPT_LOOK_MS = 100;

/**
 * Takes over the sandbox of a folder that an earlier server started: its agent dials again and again. Rejects, after
 * ending it, when it does not come.
 */
export async function adoptSandbox(host: SandboxHost, folder: Folder, cgroup: Cgroup): Promise<LiveSandbox> {
  const sandbox = adoptedSandbox(cgroup);
  await rm(folder.socket, { force: true });
  const channel = await GuestChannel.open(folder.socket, identityOf(host, folder, folder.key));
  const gone = new AbortController();
  const watch = setInterval(() => {
    if (cgroup.isEmpty()) gone.abort(new Error("it has ended"));
  }, ADOPT_LOOK_MS);
  try {
    const hello = await channel.greeted(
      AbortSignal.any([gone.signal, AbortSignal.timeout(ADOPT_TIMEOUT_MS)]),
    );
    return { ...makeLive(host, { folder, sandbox, channel, hello }), isResumed: !hasMonitor(cgroup) };
  } catch (cause) {
    const reason = new AppError("sandbox_failed", `Cannot adopt a sandbox: ${describe(cause, sandbox)}`, {
      cause,
    });
    channel.close(reason);
    await sandbox.end();
    throw reason;
  } finally {
    clearInterval(watch);
  }
}

/** Whether bubblewrap's own process is there, which stays outside; one that was restored has none. */
const hasMonitor = (cgroup: Cgroup) => cgroup.pids().some((pid) => !isInside(pid));

function isInside(pid: number): boolean {
  try {
    return /^NSpid:\t\d+\t\d+/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return true; // it ended in between
  }
}
