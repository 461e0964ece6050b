/**
 * What becomes of a live session's state when it is put to sleep or copied, in its turn between two runs: everything is
 * saved; its processes are imaged too when the saved state alone would lose something.
 */

import { type Folder, leaveOutSecrets } from "../../live/folder.ts";
import { copyImage, dropImage, fingerprintOf, flushImageOf, wantsImage } from "../../live/snapshots.ts";
import { keepOf } from "../../live/state-budget.ts";
import type { SessionRow } from "../../store/store.ts";
import type { RunRecorder } from "../history/run-store.ts";
import type { SessionDependencies } from "../session.ts";
import type { SessionFolder } from "./session-folder.ts";
import type { Tenancy } from "./tenancy.ts";

/** Saves all and ends the sandbox; its image, if any, is on disk a little later. Rejects with `save_failed`, still live. */
export async function fallAsleep(
  row: SessionRow,
  sandbox: Tenancy,
  folder: SessionFolder,
  recorder: RunRecorder,
  deps: SessionDependencies,
): Promise<{ flushed: Promise<void> }> {
  const isSaved = await saveAll(row, sandbox, recorder, deps);
  row.leftOut = [];
  const leaveOut = async (from: Folder) => {
    const paths = await leaveOutSecrets(from);
    row.leftOut.push(...paths); // twice when an image fails after the first time
    return paths.length > 0;
  };
  const { current } = folder;
  row.image =
    isSaved && current !== null && wantsImage(deps.host, row, sandbox)
      ? await sandbox.image(row, async (isDone) => {
          const files = await fingerprintOf(current); // of most: they have nothing to leave out
          await isDone;
          return (await leaveOut(current)) ? fingerprintOf(current) : files;
        })
      : null;
  // Known before the sandbox goes: whoever is killed in between leaves either, and never both.
  if (row.image !== null) await storeImage(row, sandbox, deps);
  await sandbox.end(new Error("its session sleeps"));
  if (row.image === null && current !== null) await leaveOut(current);
  row.hibernatedAt = new Date().toISOString();
  await deps.store.updateSession(row);
  const flushed = flushImageOf(deps.host, deps.store, row).catch((error: unknown) => {
    deps.host.log.info({ err: error, session: row.id }, "an image did not come to the disk");
  });
  return { flushed };
}

/** A sandbox whose image cannot be stored has no line any more: its saved state is what there is. */
async function storeImage(
  row: SessionRow,
  sandbox: Tenancy,
  { host, store }: SessionDependencies,
): Promise<void> {
  const { image } = row;
  try {
    await store.updateSession(row, true);
  } catch (error) {
    row.image = null;
    row.imageLost = "it could not be stored";
    if (image !== null) await dropImage(host, image);
    await sandbox.end(new Error("its image could not be stored"));
    throw error;
  }
}

/** Has `copy` made of the folder, all of its state saved; answers the row as the copy's begins. */
export async function copyAwake(
  row: SessionRow,
  sandbox: Tenancy,
  folder: SessionFolder,
  recorder: RunRecorder,
  deps: SessionDependencies,
  copy: (source: Folder) => Promise<Folder>,
): Promise<SessionRow> {
  const isSaved = await saveAll(row, sandbox, recorder, deps);
  using held = await folder.hold();
  const { folder: source } = held;
  if (source === null) return structuredClone(row);
  if (isSaved && wantsImage(deps.host, row, sandbox))
    return copyImaged(row, sandbox, deps, () => copy(source));
  const target = await copy(source);
  const image = row.image && (await copyImage(deps.host, row.image, source, target));
  return { ...structuredClone(row), image };
}

/** The files are copied while the processes that may be using them stand still. */
async function copyImaged(
  row: SessionRow,
  sandbox: Tenancy,
  { host }: SessionDependencies,
  copy: () => Promise<Folder>,
): Promise<SessionRow> {
  let copying: Promise<Folder> | null = null;
  const { imageLost } = row;
  const image = await sandbox.image(row, async () => {
    copying = copy();
    return fingerprintOf(await copying);
  });
  const lost = row.imageLost;
  row.imageLost = imageLost; // what this one could not, the copy tells
  try {
    await sandbox.goOn(row);
    await (copying ?? copy());
    return { ...structuredClone(row), image, imageLost: image === null ? lost : null };
  } catch (error) {
    if (image !== null) await dropImage(host, image);
    throw error;
  }
}

/** False when its line is gone: what was saved before is what there is. */
async function saveAll(
  row: SessionRow,
  sandbox: Tenancy,
  recorder: RunRecorder,
  { host, store }: SessionDependencies,
): Promise<boolean> {
  const { live } = sandbox;
  const isThere = live !== null && !live.channel.isLost;
  if (isThere) {
    await live.channel.save(row.version, keepOf(row, host.config));
    await store.saveListing(row.id, await live.channel.inspect());
  }
  await recorder.settled();
  return isThere;
}
