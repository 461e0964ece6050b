/**
 * What becomes of a live session's state when it is put to sleep or copied, in its turn between two runs: everything is
 * saved; its processes are imaged too when the saved state alone would lose something.
 */
import type { SessionRow } from "../store/store.ts";
import { type Folder, leaveOutSecrets } from "./folder.ts";
import { copyImage, wantsImage } from "./process-images.ts";
import type { RunRecorder } from "./recorder.ts";
import type { SessionDependencies } from "./session.ts";
import type { SessionFolder } from "./session-folder.ts";
import type { SessionSandbox } from "./session-sandbox.ts";

/** Saves all and ends the sandbox. Rejects with `save_failed`, still live. */
export async function fallAsleep(
  row: SessionRow,
  sandbox: SessionSandbox,
  folder: SessionFolder,
  recorder: RunRecorder,
  deps: SessionDependencies,
): Promise<void> {
  const isSaved = await saveAll(row, sandbox, recorder, deps);
  const leaveOut = async (from: Folder) => {
    row.leftOut = await leaveOutSecrets(from);
    return from;
  };
  const { current } = folder;
  row.image =
    isSaved && current !== null && wantsImage(deps.host, row, sandbox)
      ? await sandbox.image(row, () => leaveOut(current))
      : null;
  // Known before the sandbox goes: whoever is killed in between leaves either, and never both.
  if (row.image !== null) await deps.store.updateSession(row, true);
  await sandbox.end(new Error("its session sleeps"));
  if (row.image === null && current !== null) await leaveOut(current);
  row.hibernatedAt = new Date().toISOString();
  await deps.store.updateSession(row);
}

/** Has `copy` made of the folder, all of its state saved; answers the row as the copy's begins. */
export async function copyAwake(
  row: SessionRow,
  sandbox: SessionSandbox,
  folder: SessionFolder,
  recorder: RunRecorder,
  deps: SessionDependencies,
  copy: (source: Folder) => Promise<Folder>,
): Promise<SessionRow> {
  const isSaved = await saveAll(row, sandbox, recorder, deps);
  using held = await folder.hold();
  const { folder: source } = held;
  if (source === null) return structuredClone(row);
  if (isSaved && wantsImage(deps.host, row, sandbox)) return copyImaged(row, sandbox, () => copy(source));
  const target = await copy(source);
  const image = row.image && (await copyImage(deps.host, row.image, source, target));
  return { ...structuredClone(row), image };
}

/** The files are copied while the processes that may be using them stand still. */
async function copyImaged(
  row: SessionRow,
  sandbox: SessionSandbox,
  copy: () => Promise<Folder>,
): Promise<SessionRow> {
  let copied: Folder | null = null;
  const image = await sandbox.image(row, async () => {
    copied = await copy();
    return copied;
  });
  const { imageLost } = row;
  row.imageLost = null;
  await sandbox.goOn(row);
  if (copied === null) await copy();
  return { ...structuredClone(row), image, imageLost };
}

/** False when its line is gone: what was saved before is what there is. */
async function saveAll(
  row: SessionRow,
  sandbox: SessionSandbox,
  recorder: RunRecorder,
  { host, store }: SessionDependencies,
): Promise<boolean> {
  const { live } = sandbox;
  const isThere = live !== null && !live.channel.isLost;
  if (isThere) {
    await live.channel.save(row.version, host.config.keepVersions);
    await store.saveListing(row.id, await live.channel.inspect());
  }
  await recorder.settled();
  return isThere;
}
