/** Keys of the API, and the log of what was done with them. */
import type { ApiKey, AuditEntry, KeyLimits, KeyScope, Store } from "../store.ts";
import type { Database } from "./database.ts";
import { page } from "./rows.ts";

type KeyMethods = Pick<Store, "insertKey" | "listKeys" | "deleteKey" | "addAudit" | "listAudit">;

/** How often the oldest entries are looked for: not with each new one. */
const TRIM_EVERY = 256;

export function keyTables(database: Database): KeyMethods {
  let added = 0;
  return {
    insertKey: async ({ id, name, hash, scope, limits, createdAt }) => {
      const sql =
        "INSERT INTO api_keys (id, name, hash, scope, limits, created_at) VALUES (?, ?, ?, ?, ?, ?)";
      await database.durably(() => {
        database.sql(sql).run(id, name, hash, scope, JSON.stringify(limits), createdAt);
      });
    },
    listKeys: async () => database.sql("SELECT * FROM api_keys ORDER BY ordinal").all().map(parseKey),
    deleteKey: async (id) => {
      let isGone = false;
      await database.durably(() => {
        isGone = Number(database.sql("DELETE FROM api_keys WHERE id = ?").run(id).changes) === 1;
      });
      return isGone;
    },
    addAudit: async (entry, keep) => {
      const at = added++;
      database.defer(`audit ${at}`, () => {
        const sql = "INSERT INTO audit (key_id, entry) VALUES (?, ?)";
        database.sql(sql).run(entry.keyId ?? "", JSON.stringify(entry));
        if (at % TRIM_EVERY !== 0) return;
        database.sql("DELETE FROM audit WHERE ordinal <= (SELECT max(ordinal) FROM audit) - ?").run(keep);
      });
    },
    listAudit: async ({ limit, cursor }, keyId) => {
      database.flush();
      const before = cursor === null ? Number.MAX_SAFE_INTEGER : Number(cursor);
      const sql = `SELECT ordinal, entry FROM audit WHERE ordinal < ? ${keyId === null ? "" : "AND key_id = ?"}
        ORDER BY ordinal DESC LIMIT ?`;
      const rows = database.sql(sql).all(before, ...(keyId === null ? [] : [keyId]), limit + 1);
      return page(rows, limit, "ordinal", (row) => JSON.parse(String(row.entry)) as AuditEntry);
    },
  };
}

const parseKey = (row: Record<string, unknown>): ApiKey => ({
  id: String(row.id),
  name: String(row.name),
  hash: String(row.hash),
  scope: row.scope as KeyScope,
  limits: JSON.parse(String(row.limits)) as KeyLimits,
  createdAt: String(row.created_at),
});
