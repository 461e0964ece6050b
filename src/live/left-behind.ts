/** What an earlier server of the same data folder has left: taken over by the next one, or removed. */
import type { Logger } from "../log.ts";
import type { Cgroup, CgroupTree } from "../sandbox/cgroup.ts";
import type { FolderPlace, PlaceStore } from "../store/places.ts";
import { folderAt, removeUnowned } from "./folder.ts";
import { isLeft } from "./move-folder.ts";
import { removeStraySnapshots } from "./snapshots.ts";

type LeftBehind = {
  /** Sandboxes that still run, by their sessions. */
  sandboxes: Map<string, Cgroup>;
  /** Uids of folders that sessions have. */
  uids: number[];
};

/** Removes what no session has: cgroups with what runs in them, folders, snapshots. */
export async function clearLeftBehind(
  places: PlaceStore,
  cgroups: CgroupTree | null,
  dataDir: string,
  log: Logger,
): Promise<LeftBehind> {
  const leaving = await stopMoves(places, cgroups, dataDir);
  const folders = await places.listFolders();
  const inUse = [...folders, ...leaving];
  const owned = new Set(inUse.map(({ key }) => key));
  await cgroups?.clear(owned);
  const sandboxes = await findLeftSandboxes(cgroups, folders);
  const removed = await removeUnowned(dataDir, owned);
  await removeStraySnapshots(dataDir, new Set(await places.listSnapshots()));
  log.info({ removed_folders: removed, sandboxes: sandboxes.size }, "cleaned up after the last server");
  return { sandboxes, uids: inUse.map(({ uid }) => uid) };
}

/**
 * Ends what holds sessions that were moving into a warm sandbox when the last server ended: what has not arrived was
 * not taken up there either. Answers the folders that the moves began with: sessions go on with them when they are
 * used.
 */
async function stopMoves(
  store: PlaceStore,
  cgroups: CgroupTree | null,
  dataDir: string,
): Promise<FolderPlace[]> {
  const places: FolderPlace[] = [];
  for (const { folder } of await store.listMoves()) {
    if (folder.movedFrom === undefined) continue;
    const { key, uid } = folder.movedFrom;
    if (isLeft(folderAt(dataDir, key, uid))) await cgroups?.open(folder.key).remove();
    places.push(folder.movedFrom);
  }
  return places;
}

/** Sandboxes of sessions that an earlier server left running, by session; groups with nothing in them are removed. */
async function findLeftSandboxes(
  cgroups: CgroupTree | null,
  folders: readonly { id: string; key: string }[],
): Promise<Map<string, Cgroup>> {
  if (cgroups === null) return new Map();
  const inUse = new Set(cgroups.inUse());
  await cgroups.clear(inUse);
  return new Map(folders.filter(({ key }) => inUse.has(key)).map(({ id, key }) => [id, cgroups.open(key)]));
}
