/**
 * What becomes of a live session's state when it is put to sleep or copied, in its turn between two runs: everything is
 * saved; its processes are kept, too, when the saved state alone would lose something.
 */
import { type Folder, leaveOutSecrets } from "../../live/folder.ts";
import type { SandboxHost } from "../../live/host.ts";
import { copySnapshot, fingerprintOf, flushSnapshot, removeSnapshot } from "../../live/snapshots.ts";
import { keepOf } from "../../live/state-budget.ts";
import { AppError } from "../../protocol/errors.ts";
import type { Snapshot } from "../../store/places.ts";
import type { Store } from "../../store/store.ts";
import type { RunStore } from "../history/run-store.ts";
import type { SessionRecords, SessionView } from "../records.ts";
import type { SessionFolder } from "./session-folder.ts";
import type { Tenancy } from "./tenancy.ts";

/** The parts of a session that take part in its sleep. */
export type Sleeper = {
  records: SessionRecords;
  sandbox: Tenancy;
  folder: SessionFolder;
  runs: RunStore;
  host: SandboxHost;
  store: Store;
};

/**
 * Saves all and ends the sandbox; its snapshot, if any, is on disk a little later. Rejects with `save_failed`, still
 * live; with `keepsPrograms` also when what goes on in it cannot be kept.
 */
export async function hibernate(
  sleeper: Sleeper,
  { keepsPrograms }: { keepsPrograms: boolean },
): Promise<{ flushed: Promise<void> }> {
  const { records, sandbox, folder, host } = sleeper;
  const startedAt = performance.now();
  const isSaved = await saveAll(sleeper);
  records.progress.fallsAsleep();
  const leaveOut = async (from: Folder) => {
    const paths = await leaveOutSecrets(from);
    records.progress.leftOut(paths); // twice when a snapshot fails after the first time
    return paths.length > 0;
  };
  const { current } = folder;
  const snapshot =
    isSaved && current !== null && sandbox.wantsSnapshot
      ? await snapshotOf(sleeper, current, leaveOut)
      : null;
  if (snapshot === null && keepsPrograms && sandbox.hasBackgroundWork) {
    await sandbox.goOn();
    throw new AppError("save_failed", "Cannot put the session to sleep: its programs cannot be kept");
  }
  // Known before the sandbox goes: whoever is killed in between leaves either, and never both.
  if (snapshot !== null) await storeSnapshot(sleeper, snapshot);
  await sandbox.end(new Error("its session sleeps"));
  if (snapshot === null && current !== null) await leaveOut(current);
  records.progress.sleeps(sandbox.limitsWith().memoryBytes);
  await records.storeProgress();
  const to = snapshot === null ? "state" : "snapshot";
  host.metrics.slept(to, performance.now() - startedAt);
  host.log.info({ session: records.id, to }, "sleep");
  const flushed = flush(sleeper, snapshot).catch((error: unknown) => {
    host.log.info({ err: error, session: records.id }, "a snapshot did not come to the disk");
  });
  return { flushed };
}

async function snapshotOf(
  { records, sandbox }: Sleeper,
  current: Folder,
  leaveOut: (from: Folder) => Promise<boolean>,
): Promise<Snapshot | null> {
  const { snapshot, reason } = await sandbox.takeSnapshot(async (isDone) => {
    const files = await fingerprintOf(current); // of most: they have nothing to leave out
    await isDone;
    return (await leaveOut(current)) ? fingerprintOf(current) : files;
  });
  if (reason !== null) records.progress.snapshotLost(reason);
  return snapshot;
}

/** A sandbox whose snapshot cannot be stored has no line any more: its saved state is what there is. */
async function storeSnapshot({ records, sandbox, host }: Sleeper, snapshot: Snapshot): Promise<void> {
  try {
    await records.putSnapshot(snapshot, true);
  } catch (error) {
    await records.putSnapshot(null).catch(() => undefined); // the store has none either
    records.progress.snapshotLost("it could not be stored");
    await removeSnapshot(host, snapshot);
    await sandbox.end(new Error("its snapshot could not be stored"));
    throw error;
  }
}

async function flush({ records, host }: Sleeper, snapshot: Snapshot | null): Promise<void> {
  if (snapshot === null) return;
  await flushSnapshot(host, snapshot);
  const now = records.snapshot;
  if (now?.name !== snapshot.name || now.isUsed) return; // used meanwhile
  await records.putSnapshot({ ...now, unflushedBoot: null });
}

/** A copy of a session as it begins: its records, and the snapshot that is its own. */
type Copy = { row: SessionView; snapshot: Snapshot | null };

/** Has `copy` made of the folder, all of its state saved. */
export async function copyAwake(sleeper: Sleeper, copy: (source: Folder) => Promise<Folder>): Promise<Copy> {
  const { records, sandbox, folder, host } = sleeper;
  const isSaved = await saveAll(sleeper);
  using held = await folder.hold();
  const { folder: source } = held;
  if (source === null) return { row: records.view, snapshot: null };
  if (isSaved && sandbox.wantsSnapshot) return copyFrozen(sleeper, () => copy(source));
  const target = await copy(source);
  const { snapshot } = records;
  return { row: records.view, snapshot: snapshot && (await copySnapshot(host, snapshot, source, target)) };
}

/** The files are copied while the processes that may be using them stand still. */
async function copyFrozen({ records, sandbox, host }: Sleeper, copy: () => Promise<Folder>): Promise<Copy> {
  let copying: Promise<Folder> | null = null;
  const { snapshot, reason } = await sandbox.takeSnapshot(async () => {
    copying = copy();
    return fingerprintOf(await copying);
  });
  try {
    await sandbox.goOn();
    await (copying ?? copy());
    return { row: { ...records.view, snapshotLost: reason }, snapshot };
  } catch (error) {
    if (snapshot !== null) await removeSnapshot(host, snapshot);
    throw error;
  }
}

/** False when its line is gone: what was saved before is what there is. */
async function saveAll({ records, sandbox, runs, host, store }: Sleeper): Promise<boolean> {
  const { live } = sandbox;
  const isThere = live !== null && !live.channel.isLost;
  if (isThere) {
    const { version } = records.progress.now;
    await live.channel.save(version, keepOf(records.settings, host.config));
    const listing = await live.channel.inspect();
    await records.write(() => store.saveListing(records.id, listing));
  }
  await runs.settled();
  return isThere;
}
