/**
 * A session's folder: `<data>/sessions/<key>/{workspace,home,state,run}`. The key is ours, random and short, never the
 * client's id. All of it belongs to the session's uid and is closed to others; `run` is the server's own.
 */
import { chmod, chown, mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { removeSecrets } from "../files/secrets.ts";
import { randomBase36 } from "../lib/random-id.ts";
import { removeTree } from "../lib/remove-tree.ts";
import type { SessionFolders } from "../sandbox/policy.ts";

export type Folder = SessionFolders & { key: string; uid: number; root: string; socket: string };

const KEY = /^[0-9a-z]{12}$/;
const MAX_SOCKET_PATH = 107;

export const sessionsDir = (dataDir: string) => join(dataDir, "sessions");

export function folderAt(dataDir: string, key: string, uid: number): Folder {
  const root = join(sessionsDir(dataDir), key);
  const run = join(root, "run");
  return {
    key,
    uid,
    root,
    run,
    workspace: join(root, "workspace"),
    home: join(root, "home"),
    state: join(root, "state"),
    socket: join(run, "agent.sock"),
  };
}

/** Makes the folder of a new session; `asRoot` hands it to its uid. */
export async function createFolder(dataDir: string, uid: number, asRoot: boolean): Promise<Folder> {
  const folder = folderAt(dataDir, randomBase36(12), uid);
  try {
    await mkdir(folder.root, { mode: 0o700 });
    await mkdir(folder.run, { mode: 0o755 });
    for (const path of guestFolders(folder)) {
      await mkdir(path, { mode: 0o700 });
      if (asRoot) await chown(path, uid, uid);
    }
    if (asRoot) await chown(folder.root, uid, uid);
    return folder;
  } catch (error) {
    await removeTree(folder.root);
    throw error;
  }
}

/** Where a sandbox reaches the gateway to the internet. */
export const egressSocket = ({ run }: SessionFolders) => join(run, "egress.sock");

/** What counts against the quotas of its files and of its saved state. */
export const measuredFolders = ({ workspace, home, state }: SessionFolders, stateBytes: number) => ({
  paths: [workspace, home],
  state: { path: state, bytes: stateBytes },
});

/** What the guest writes. */
export const guestFolders = ({ workspace, home, state }: SessionFolders) => [workspace, home, state];

/**
 * Makes the folder fit for a new start: without an earlier socket, and open to its owner, who may have closed it to
 * itself. The folders are mount points of the guest: it can change their mode, but not put anything in their place.
 */
export async function prepareFolder(folder: Folder): Promise<void> {
  await rm(folder.socket, { force: true });
  for (const path of guestFolders(folder)) await chmod(path, 0o700);
}

/**
 * Removes what looks like a secret from a folder that no process uses; answers the paths, those of the home with `~/`.
 */
export async function leaveOutSecrets({ workspace, home }: SessionFolders): Promise<string[]> {
  const inHome = (await removeSecrets(home)).map((path) => `~/${path}`);
  return [...(await removeSecrets(workspace)), ...inHome];
}

/** Removes folders that no session owns: those of warm or one-shot sandboxes of a server that was killed. */
export async function removeUnowned(dataDir: string, owned: ReadonlySet<string>): Promise<number> {
  const stray = (await readdir(sessionsDir(dataDir))).filter((name) => KEY.test(name) && !owned.has(name));
  for (const key of stray) await removeTree(join(sessionsDir(dataDir), key));
  return stray.length;
}

/** A socket's path may have 107 bytes: a data folder that is too deep is refused at start, not at the first run. */
export function checkSocketPath(dataDir: string): void {
  const { socket } = folderAt(dataDir, "0".repeat(12), 0);
  if (Buffer.byteLength(socket) > MAX_SOCKET_PATH) {
    throw new Error(
      `Cannot use ERA_DATA_DIR '${dataDir}': a socket path in it would be over ${MAX_SOCKET_PATH} bytes`,
    );
  }
}
