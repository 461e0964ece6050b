/** Where sessions stand on this host. */
import type { PlaceStore } from "../places.ts";
import type { Database } from "./database.ts";
import { parseFolder, parsePlace } from "./rows.ts";

const SAVE = `INSERT INTO places (session_id, folder_key, folder_uid, moved_from_key, moved_from_uid, snapshot_name, snapshot)
  SELECT id, ?2, ?3, ?4, ?5, ?6, ?7 FROM sessions WHERE id = ?1
  ON CONFLICT (session_id) DO UPDATE SET folder_key = excluded.folder_key, folder_uid = excluded.folder_uid,
  moved_from_key = excluded.moved_from_key, moved_from_uid = excluded.moved_from_uid,
  snapshot_name = excluded.snapshot_name, snapshot = excluded.snapshot`;

export function placeTables(database: Database): PlaceStore {
  return {
    findPlace: async (sessionId) => {
      const row = database.sql("SELECT * FROM places WHERE session_id = ?").get(sessionId);
      return row === undefined ? { folder: null, snapshot: null } : parsePlace(row);
    },
    savePlace: async (sessionId, { folder, snapshot }, durable = false) => {
      const from = folder?.movedFrom;
      const values = [folder?.key ?? null, folder?.uid ?? null, from?.key ?? null, from?.uid ?? null];
      const text = snapshot === null ? null : JSON.stringify(snapshot);
      const save = () => void database.sql(SAVE).run(sessionId, ...values, snapshot?.name ?? null, text);
      if (durable) await database.durably(save);
      else database.transaction(save);
    },
    listSnapshots: async () =>
      database
        .sql("SELECT snapshot_name FROM places WHERE snapshot_name IS NOT NULL")
        .all()
        .map((row) => String(row.snapshot_name)),
    listMoves: async () => {
      const rows = database.sql("SELECT * FROM places WHERE moved_from_key IS NOT NULL").all();
      return rows.flatMap((row) => {
        const folder = parseFolder(row);
        return folder === null ? [] : [{ id: String(row.session_id), folder }];
      });
    },
    listFolders: async () =>
      database
        .sql("SELECT session_id, folder_key, folder_uid FROM places WHERE folder_key IS NOT NULL")
        .all()
        .map((row) => ({
          id: String(row.session_id),
          key: String(row.folder_key),
          uid: Number(row.folder_uid),
        })),
  };
}
