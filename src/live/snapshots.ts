/**
 * Snapshots of processes: taking one, whether it can be resumed, and what becomes of it. A snapshot goes with the files
 * as they were and is used at most once; the saved state is there beside it, for all that can be saved.
 */
import { existsSync } from "node:fs";
import { cp, mkdir, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fingerprint } from "../files/fingerprint.ts";
import { randomBase36 } from "../lib/random-id.ts";
import { shortageIn } from "../lib/shortage.ts";
import { type Criu, flushSnapshotFolder, removeSnapshotFolder } from "../sandbox/snapshot/criu.ts";
import type { Snapshot } from "../store/places.ts";
import type { Folder } from "./folder.ts";
import type { SandboxHost } from "./host.ts";
import type { LiveSandbox } from "./live-sandbox.ts";
import { defaultLimits, policyFor } from "./plan-sandbox.ts";

const snapshotsDir = (dataDir: string) => join(dataDir, "images");

/** Where a new snapshot is to be written: in a folder that only the server may enter. */
export async function newSnapshot(host: SandboxHost): Promise<{ name: string; folder: string }> {
  await mkdir(snapshotsDir(host.config.dataDir), { recursive: true, mode: 0o700 });
  const name = randomBase36(16);
  return { name, folder: join(snapshotsDir(host.config.dataDir), name) };
}

/** What a snapshot must have been taken on to be used by this server. */
export const hostKey = ({ image, runtime }: SandboxHost, criu: Criu) =>
  criu.hostKey({ rootfs: image.rootfs, guestDir: runtime.dir });

/** What is to be kept of a sandbox's processes, and under which number of the variables. */
type SnapshotOptions = {
  version: number;
  /** What the program has besides its processes: what goes on is not told again before its next run. */
  background: number;
  /**
   * Called when all stands still; answers the fingerprint of the files that the snapshot is to be resumed on, its own
   * or a copy of them. Those that it removes must be there until the snapshot `isDone`.
   */
  prepareFiles: (isDone: Promise<unknown>) => Promise<string>;
  /** Has the sandbox stand still. */
  freeze: () => Promise<void>;
};

/**
 * Has a sandbox stand still, and takes a snapshot of its processes. Rejects, with nothing of it left, when that fails.
 */
export async function takeSnapshot(
  host: SandboxHost,
  live: LiveSandbox,
  { version, background, prepareFiles, freeze }: SnapshotOptions,
): Promise<Snapshot> {
  const { criu } = host;
  const { cgroup } = live.sandbox;
  if (criu === null || cgroup === null) throw new Error("snapshots of processes are not supported here");
  const { name, folder } = await newSnapshot(host);
  const policy = policyFor(host, live.folder, defaultLimits(host.config));
  let startedAt = 0;
  const still = Promise.withResolvers<void>();
  const dumped = criu.dump(policy, cgroup, folder, async () => {
    startedAt = performance.now();
    await freeze();
    still.resolve();
  });
  dumped.catch(still.reject); // also when it never came to that
  const prepared = still.promise.then(() => prepareFiles(dumped));
  try {
    const [{ bytes, ...facts }, files] = await allOf(dumped, prepared);
    return {
      name,
      bytes,
      ...facts,
      tookMs: Math.round(performance.now() - startedAt),
      version,
      files,
      host: hostKey(host, criu),
      key: live.folder.key,
      uid: live.folder.uid,
      background,
      unflushedBoot: await bootId(),
      isUsed: false,
    };
  } catch (error) {
    await removeSnapshotFolder(folder);
    throw error;
  }
}

/** Both, when neither goes on any more. */
async function allOf<A, B>(first: Promise<A>, second: Promise<B>): Promise<[A, B]> {
  await Promise.allSettled([first, second]);
  return Promise.all([first, second]);
}

/** Why a snapshot cannot be resumed now, whatever the files are like; null when nothing is against it. */
export async function reasonAgainst(host: SandboxHost, snapshot: Snapshot): Promise<string | null> {
  if (host.criu === null) return "this host cannot restore snapshots of processes";
  if (snapshot.unflushedBoot !== null && snapshot.unflushedBoot !== (await bootId()))
    return "the machine stopped before it was on disk";
  if (snapshot.isUsed) return "the server ended while it was made or restored";
  if (snapshot.host !== hostKey(host, host.criu))
    return "the kernel, the processor, or what the sandbox stands on has changed";
  return null;
}

/** The same of the files that it would be restored on. */
export async function reasonInFiles(snapshot: Snapshot, folder: Folder): Promise<string | null> {
  const files = await fingerprintOf(folder).catch((error: unknown) => {
    if (shortageIn(error) !== null) throw error; // nothing is known of them
    return null;
  });
  return files === snapshot.files ? null : "files were changed while the session slept";
}

/** A fingerprint of all files that programs of a session use. */
export const fingerprintOf = ({ workspace, home }: Folder): Promise<string> => fingerprint([workspace, home]);

/** Also of its saved variables: there are none before its first run. */
export const fingerprintOfAll = ({ workspace, home, state }: Folder): Promise<string> =>
  fingerprint([workspace, home, ...(existsSync(state) ? [state] : [])]);

/** For a copy of a session that sleeps; null when its snapshot is of no use to the session itself. */
export async function copySnapshot(
  host: SandboxHost,
  snapshot: Snapshot,
  source: Folder,
  copy: Folder,
): Promise<Snapshot | null> {
  if (((await reasonAgainst(host, snapshot)) ?? (await reasonInFiles(snapshot, source))) !== null)
    return null;
  const { name, folder } = await newSnapshot(host);
  try {
    await cp(snapshotFolder(host, snapshot), folder, { recursive: true });
    const files = await fingerprintOf(copy);
    return { ...snapshot, name, files, unflushedBoot: await bootId() };
  } catch (error) {
    await removeSnapshotFolder(folder);
    throw error;
  }
}

/** After that it outlives the machine's own end. */
export const flushSnapshot = (host: SandboxHost, snapshot: Snapshot): Promise<void> =>
  flushSnapshotFolder(snapshotFolder(host, snapshot));

/** The id of this run of the machine. */
export const bootId = async () => (await readFile("/proc/sys/kernel/random/boot_id", "utf8")).trim();

export const snapshotFolder = (host: SandboxHost, { name }: Snapshot) =>
  join(snapshotsDir(host.config.dataDir), name);

export const removeSnapshot = (host: SandboxHost, snapshot: Snapshot): Promise<void> =>
  removeSnapshotFolder(snapshotFolder(host, snapshot));

/** Removes snapshots that no session has: those that a killed server was making. */
export async function removeStraySnapshots(dataDir: string, owned: ReadonlySet<string>): Promise<void> {
  const names = await readdir(snapshotsDir(dataDir)).catch(() => []);
  for (const name of names)
    if (!owned.has(name)) await removeSnapshotFolder(join(snapshotsDir(dataDir), name));
}
