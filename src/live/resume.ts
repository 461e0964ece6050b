/** Makes sandboxes again from snapshots of their processes. */
import { GuestChannel } from "../guest/channel.ts";
import { BugError } from "../protocol/errors.ts";
import type { Limits } from "../sandbox/policy.ts";
import type { SnapshotFacts } from "../sandbox/snapshot/plan.ts";
import { type Folder, prepareFolder } from "./folder.ts";
import type { SandboxHost } from "./host.ts";
import { identityOf, type LiveSandbox, makeLive } from "./live-sandbox.ts";
import { policyFor } from "./plan-sandbox.ts";

const GREETING_TIMEOUT_MS = 10_000;

/** The snapshot to resume: its folder, and the key and uid that it was taken under. */
type SnapshotSource = SnapshotFacts & { folder: string; key: string; uid: number };

/** A snapshot to resume, on which folder, and what is called before anything of it is there. */
export type Resume = {
  folder: Folder;
  limits: Limits;
  snapshot: SnapshotSource;
  admit: () => Promise<void>;
};

/**
 * Makes a sandbox again on a folder, as it was when its image was made; `admit` is called before anything of it is
 * there. Rejects, leaving nothing of it, when that does, or when it fails.
 */
export async function resumeSandbox(
  host: SandboxHost,
  { folder, limits, snapshot, admit }: Resume,
): Promise<LiveSandbox> {
  if (host.criu === null || host.cgroups === null)
    throw new BugError("snapshots of processes are not supported here");
  await prepareFolder(folder);
  const cgroup = await host.cgroups.create(folder.key, limits);
  const policy = policyFor(host, folder, limits);
  const sandbox = await host.criu.restore(policy, cgroup, { source: snapshot, owner: folder.uid, admit });
  let channel: GuestChannel | null = null;
  try {
    // Now, and not before: as soon as its agent is welcome, its processes go on.
    channel = await GuestChannel.open(folder.socket, identityOf(host, folder, snapshot.key));
    const hello = await channel.greeted(AbortSignal.timeout(GREETING_TIMEOUT_MS));
    return { ...makeLive(host, { folder, sandbox, channel, hello }), isResumed: true };
  } catch (error) {
    channel?.close(error instanceof Error ? error : new Error(String(error)));
    await sandbox.end();
    throw error;
  }
}
