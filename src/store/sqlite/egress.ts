/** What sessions have asked of the internet. */
import type { EgressRecord } from "../../protocol/egress.ts";
import type { Store } from "../store.ts";
import type { Database } from "./database.ts";
import { page } from "./rows.ts";

const TOTALS = `INSERT INTO egress_totals (session_id, connections, refused, sent, received) VALUES (?, ?, ?, ?, ?)
  ON CONFLICT (session_id) DO UPDATE SET connections = connections + excluded.connections,
  refused = refused + excluded.refused, sent = sent + excluded.sent, received = received + excluded.received`;
const OLDEST = `DELETE FROM egress WHERE session_id = ?1 AND ordinal <=
  (SELECT ordinal FROM egress WHERE session_id = ?1 ORDER BY ordinal DESC LIMIT 1 OFFSET ?2)`;
const LIST =
  "SELECT ordinal, record FROM egress WHERE session_id = ? AND ordinal < ? ORDER BY ordinal DESC LIMIT ?";

export function egressTables(database: Database): Pick<Store, "addEgress" | "listEgress" | "egressTotals"> {
  const add = (sessionId: string, record: EgressRecord) => {
    const sql = "INSERT INTO egress (session_id, record) VALUES (?, ?)";
    database.sql(sql).run(sessionId, JSON.stringify(record));
    const refused = record.refused === null ? 0 : 1;
    database.sql(TOTALS).run(sessionId, 1, refused, record.sentBytes, record.receivedBytes);
  };
  return {
    addEgress: async (sessionId, records, keep) => {
      database.transaction(() => {
        // Nothing may be written of a session after its deletion.
        if (database.sql("SELECT 1 FROM sessions WHERE id = ?").get(sessionId) === undefined) return;
        for (const record of records) add(sessionId, record);
        database.sql(OLDEST).run(sessionId, keep);
      });
    },
    listEgress: async (sessionId, { limit, cursor }) => {
      const before = cursor === null ? Number.MAX_SAFE_INTEGER : Number(cursor);
      const rows = database.sql(LIST).all(sessionId, before, limit + 1);
      return page(rows, limit, "ordinal", (row) => JSON.parse(String(row.record)) as EgressRecord);
    },
    egressTotals: async (sessionId) => {
      const row = database.sql("SELECT * FROM egress_totals WHERE session_id = ?").get(sessionId);
      return {
        connections: Number(row?.connections ?? 0),
        refused: Number(row?.refused ?? 0),
        sentBytes: Number(row?.sent ?? 0),
        receivedBytes: Number(row?.received ?? 0),
      };
    },
  };
}
