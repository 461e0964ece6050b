/** Brings sessions of databases in which each was one text into the tables of their parts. */
import type { DatabaseSync } from "node:sqlite";

type Old = Record<string, unknown>;

const NOTHING_SAVED = { content: 0, savedVersion: 0, bytes: 0, notKept: [], failure: null, rolledBack: null };

export function takeApart(database: DatabaseSync): void {
  const insert = {
    session: database.prepare("INSERT INTO sessions (ordinal, id, settings) VALUES (?, ?, ?)"),
    progress: database.prepare("INSERT INTO session_progress VALUES (?, ?)"),
    data: database.prepare("INSERT INTO session_data VALUES (?, ?)"),
    code: database.prepare("INSERT INTO session_code VALUES (?, ?)"),
    setup: database.prepare("INSERT INTO session_setup VALUES (?, ?, ?)"),
    place: database.prepare("INSERT INTO places VALUES (?, ?, ?, ?, ?, ?, ?)"),
  };
  for (const { ordinal, row } of database.prepare("SELECT ordinal, row FROM old_sessions").iterate()) {
    const old = JSON.parse(String(row)) as Old;
    const id = String(old.id);
    insert.session.run(Number(ordinal), id, JSON.stringify(settingsOf(old)));
    insert.progress.run(id, JSON.stringify(progressOf(old)));
    insert.data.run(id, JSON.stringify(old.data ?? {}));
    if (old.code != null) insert.code.run(id, JSON.stringify(old.code));
    const setup = old.setup as { status: string } | null | undefined;
    if (setup != null) insert.setup.run(id, JSON.stringify(setup), isOpen(setup.status));
    const folder = old.folder as {
      key: string;
      uid: number;
      movedFrom?: { key: string; uid: number };
    } | null;
    const image = old.image as { name: string } | null | undefined;
    const from = folder?.movedFrom;
    const place = [folder?.key ?? null, folder?.uid ?? null, from?.key ?? null, from?.uid ?? null];
    insert.place.run(id, ...place, image?.name ?? null, image == null ? null : JSON.stringify(image));
  }
  database.exec("DROP TABLE old_sessions");
}

const isOpen = (status: string) => (status === "pending" || status === "running" ? 1 : 0);

function settingsOf(old: Old): Old {
  const names = ["id", "createdAt", "language", "persistent", "metadata", "allowInternetAccess"];
  const more = ["allowPublicAccess", "defaultTimeout", "memoryMib", "cpuCount", "claimable"];
  const kept = [...names, ...more].map((name) => [name, old[name] ?? null]);
  return {
    ...Object.fromEntries(kept),
    durability: old.durability ?? "async",
    imaging: old.imaging ?? "auto",
  };
}

const progressOf = (old: Old): Old => ({
  lastRunAt: old.lastRunAt,
  version: old.version,
  fileCounts: old.fileCounts ?? null,
  saved: old.saved ?? NOTHING_SAVED,
  leftOut: old.leftOut ?? [],
  snapshotLost: old.imageLost ?? null,
  hibernatedAt: old.hibernatedAt ?? null,
});
