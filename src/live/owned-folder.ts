/** Folders with a uid of their own: made for a sandbox, and removed when no process uses them any more. */
import { removeTree } from "../lib/remove-tree.ts";
import { createFolder, type Folder } from "./folder.ts";
import type { SandboxHost } from "./host.ts";

/** A new folder with a uid of its own. */
export async function createOwnedFolder(host: SandboxHost): Promise<Folder> {
  const uid = host.asRoot ? host.uids.acquire() : (process.getuid?.() ?? 0);
  try {
    return await createFolder(host.config.dataDir, uid, host.asRoot);
  } catch (error) {
    if (host.asRoot) await host.uids.release(uid);
    throw error;
  }
}

/** Removes a folder that no process uses any more, and frees its uid: now, or as soon as the host lets it. */
export async function removeFolder(host: SandboxHost, folder: Folder): Promise<void> {
  const failure = await host.leftovers.attempt(async () => {
    await removeTree(folder.root);
    if (host.asRoot) await host.uids.release(folder.uid);
  });
  if (failure !== null) host.log.info({ err: failure }, "a folder is removed later");
}
