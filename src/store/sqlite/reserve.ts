/**
 * Room that the database keeps for itself: free pages in its file, and a log that is long enough already. Where the
 * disk is full, runs are still recorded and sessions deleted in it.
 */
import { statfsSync } from "node:fs";
import type { DatabaseSync } from "node:sqlite";

const RESERVE_BYTES = 16 << 20;
/** Filled up again below that. */
const LEAST_BYTES = 8 << 20;
/** A disk with less free than that is left what it has. */
const MIN_FREE_BYTES = 128 << 20;

/** Fills it up, where the disk has room for that. Takes some 100 ms when it does. */
export function fillReserve(database: DatabaseSync, path: string): void {
  const pragma = (name: string) => Number(Object.values(database.prepare(`PRAGMA ${name}`).get() ?? {})[0]);
  if (pragma("freelist_count") * pragma("page_size") >= LEAST_BYTES) return;
  const { bavail, bsize } = statfsSync(path);
  if (bavail * bsize < MIN_FREE_BYTES) return;
  // What is freed stays in the file; the log keeps the length that it had to have once.
  database.exec("CREATE TABLE reserve (data BLOB) STRICT");
  database.prepare("INSERT INTO reserve VALUES (zeroblob(?))").run(RESERVE_BYTES);
  database.exec("DROP TABLE reserve; PRAGMA wal_checkpoint(PASSIVE);");
}
