/** The answers that were given under keys. */
import type { Store } from "../store.ts";
import type { Database } from "./database.ts";

const ANSWER_LIFETIME_MS = 24 * 3_600_000;

export function answerTables(
  database: Database,
): Pick<Store, "findAnswer" | "reserveAnswer" | "recordAnswer"> {
  return {
    findAnswer: async (scope, key) => {
      const row = database.sql("SELECT * FROM answers WHERE scope = ? AND key = ?").get(scope, key);
      if (row === undefined) return null;
      const requestHash = String(row.request_hash);
      if (row.body === null) return { requestHash, runId: String(row.run_id) };
      return { requestHash, status: Number(row.status), body: String(row.body) };
    },
    reserveAnswer: async (scope, key, { requestHash, runId }, durable) => {
      const sql =
        "INSERT OR REPLACE INTO answers (scope, key, request_hash, run_id, created_at) VALUES (?, ?, ?, ?, ?)";
      database.transaction(
        () => {
          database.sql(sql).run(scope, key, requestHash, runId, Date.now());
        },
        { durable },
      );
    },
    recordAnswer: async (scope, key, { requestHash, status, body }) => {
      const sql =
        "INSERT OR REPLACE INTO answers (scope, key, request_hash, status, body, created_at) VALUES (?, ?, ?, ?, ?, ?)";
      const now = Date.now();
      database.sql(sql).run(scope, key, requestHash, status, body, now);
      database.sql("DELETE FROM answers WHERE created_at < ?").run(now - ANSWER_LIFETIME_MS);
    },
  };
}
