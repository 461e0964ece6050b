/** What a session is between two runs, with a copy of its folder that is nobody's yet. */
import { copyFolder } from "../live/copy-folder.ts";
import { type Folder, leaveOutSecrets } from "../live/folder.ts";
import type { SandboxHost } from "../live/host.ts";
import { createOwnedFolder, removeFolder } from "../live/owned-folder.ts";
import { removeSnapshot } from "../live/snapshots.ts";
import type { Snapshot } from "../store/places.ts";
import type { Session } from "./session.ts";

type Copy = { snapshot: Snapshot | null; folder: Folder | null };

/**
 * All of it is as it was at one moment: files, saved variables, and what `also` finds, which is called in the session's
 * turn when it has a folder.
 */
export async function copyOut(
  host: SandboxHost,
  source: Session,
  also: () => Promise<void> = async () => undefined,
) {
  let folder: Folder | null = null;
  let leftOut: string[] = [];
  try {
    const { row, snapshot } = await source.copyFolder(async (from) => {
      folder ??= await createOwnedFolder(host);
      await copyFolder(host, from, folder);
      leftOut = await leaveOutSecrets(folder);
      await also();
      return folder;
    });
    return { row, snapshot, leftOut, folder: folder as Folder | null };
  } catch (error) {
    await removeCopy(host, { snapshot: null, folder });
    throw error;
  }
}

export async function removeCopy(host: SandboxHost, { snapshot, folder }: Copy): Promise<void> {
  if (snapshot !== null) await removeSnapshot(host, snapshot);
  if (folder !== null) await removeFolder(host, folder);
}
