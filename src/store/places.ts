/**
 * Facts of this host: where a session's folder lies here, and which processes of it are kept here. No other host has
 * use for them.
 */

/** A session's folder: its name and whose it is. */
export type FolderPlace = {
  key: string;
  uid: number;
  /** The folder from which what it holds is being moved here, while some of it may still be there. */
  movedFrom?: { key: string; uid: number };
};

export type Snapshot = {
  /** The name of its folder, in the server's folder of snapshots. */
  name: string;
  bytes: number;
  /** Whether its processes have connections with each other. */
  hasConnections: boolean;
  /** Memory file systems that held nothing. */
  empty: readonly string[];
  /** Milliseconds for which the processes stood still. */
  tookMs: number;
  /** The version of the variables, whose saved state has all of them that can be saved. */
  version: number;
  /** What it must meet again: the session's files as they were, and the same host. */
  files: string;
  host: string;
  /** The folder on which it was taken. */
  key: string;
  uid: number;
  /** What the program has besides its processes: what goes on is not told again before its next run. */
  background: number;
  /** Boot of this machine in which it was made, until it is on disk. */
  unflushedBoot: string | null;
  /** It is restored at most once: set before that begins. */
  isUsed: boolean;
};

export type SessionPlace = { folder: FolderPlace | null; snapshot: Snapshot | null };

export interface PlaceStore {
  findPlace(sessionId: string): Promise<SessionPlace>;
  /** With `durable`, it is on disk when this resolves. */
  savePlace(sessionId: string, place: SessionPlace, durable?: boolean): Promise<void>;
  /** Names of the snapshots that sessions have. */
  listSnapshots(): Promise<string[]>;
  /** Sessions whose folder was being moved. */
  listMoves(): Promise<{ id: string; folder: FolderPlace }[]>;
  listFolders(): Promise<{ id: string; key: string; uid: number }[]>;
}
