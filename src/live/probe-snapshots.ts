/**
 * Whether this host can make and restore snapshots of processes: found out with a sandbox of its own, once for each
 * boot, kernel and version of what takes part, and remembered beside CRIU when it works.
 */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Criu, removeSnapshotFolder } from "../sandbox/snapshot/criu.ts";
import type { SandboxHost, SnapshotSupport } from "./host.ts";
import type { LiveSandbox } from "./live-sandbox.ts";
import { removeFolder } from "./owned-folder.ts";
import { defaultLimits, policyFor } from "./plan-sandbox.ts";
import { resumeSandbox } from "./resume.ts";
import { bootId, hostKey, newSnapshot } from "./snapshots.ts";
import { startPristine } from "./start.ts";

const DONE = new Error("the probe is over");

/** `memory`: the folder where it is noted that it works. */
export async function probeSnapshots(
  host: SandboxHost,
  criu: Criu,
  memory: string,
): Promise<SnapshotSupport> {
  const key = `${await bootId()}|${hostKey(host, criu)}`;
  const path = join(memory, `works-${createHash("sha256").update(key).digest("hex").slice(0, 16)}`);
  if (existsSync(path)) return WORKS;
  try {
    await tryOut({ ...host, criu }, criu);
    await mkdir(memory, { recursive: true });
    await writeFile(path, "");
    return WORKS;
  } catch (error) {
    return { supported: false, detail: (error as Error).message.slice(0, 500) };
  }
}

const WORKS: SnapshotSupport = {
  supported: true,
  detail: "processes are put into snapshots and restored by CRIU",
};

/** Rejects when it does not work. */
async function tryOut(host: SandboxHost, criu: Criu): Promise<void> {
  const limits = defaultLimits(host.config);
  const first = await startPristine(host, { language: "python", limits });
  const { folder, sandbox } = first;
  const { folder: path } = await newSnapshot(host);
  let second: LiveSandbox | null = null;
  try {
    if (sandbox.cgroup === null) throw new Error("there are no cgroups");
    const policy = policyFor(host, folder, limits);
    const facts = await criu.dump(policy, sandbox.cgroup, path, () => first.freeze());
    await first.end(DONE);
    const source = { ...facts, folder: path, key: folder.key, uid: folder.uid };
    second = await resumeSandbox(host, { folder, limits, snapshot: source, admit: async () => undefined });
  } finally {
    await (second ?? first).end(DONE);
    await removeFolder(host, folder);
    await removeSnapshotFolder(path);
  }
}
