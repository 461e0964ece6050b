/** The answers that were given under keys. */
import type { Store } from "../store.ts";
import type { Database } from "./database.ts";

type AnswerMethods = Pick<Store, "findAnswer" | "reserveAnswer" | "recordAnswer">;

const ANSWER_LIFETIME_MS = 24 * 3_600_000;
/** Answers over this size count together; as in the index of large answers. */
const LARGE_BYTES = 1 << 16;

const RESERVE =
  "INSERT OR REPLACE INTO answers (scope, key, request_hash, run_id, created_at) VALUES (?, ?, ?, ?, ?)";
const RECORD = `INSERT INTO answers (scope, key, request_hash, status, body, created_at) VALUES (?, ?, ?, ?, ?, ?)
  ON CONFLICT (scope, key) DO UPDATE SET request_hash = excluded.request_hash, status = excluded.status,
  body = excluded.body, created_at = excluded.created_at`;
// What is left says that there was an answer: a request that is sent again has no effect again.
const MAKE_ROOM = `UPDATE answers SET body = NULL WHERE scope = ?1 AND key IN (
  SELECT key FROM (
    SELECT key, sum(octet_length(body)) OVER (ORDER BY created_at DESC, key) AS total
    FROM answers WHERE scope = ?1 AND octet_length(body) > ${LARGE_BYTES})
  WHERE total > ?2)`;

/** `maxBytes`: large answers of one scope together; the oldest make room. */
export function answerTables(database: Database, maxBytes: number): AnswerMethods {
  return {
    findAnswer: async (scope, key) => {
      const row = database.sql("SELECT * FROM answers WHERE scope = ? AND key = ?").get(scope, key);
      if (row === undefined) return null;
      return {
        requestHash: String(row.request_hash),
        runId: row.run_id === null ? null : String(row.run_id),
        status: row.status === null ? null : Number(row.status),
        body: row.body === null ? null : String(row.body),
      };
    },
    reserveAnswer: async (scope, key, { requestHash, runId }, durable) => {
      const reserve = () => void database.sql(RESERVE).run(scope, key, requestHash, runId, Date.now());
      if (durable) await database.durably(reserve);
      else database.transaction(reserve);
    },
    recordAnswer: async (scope, key, { requestHash, status, body }) => {
      const now = Date.now();
      database.sql(RECORD).run(scope, key, requestHash, status, body, now);
      if (body.length > LARGE_BYTES) database.sql(MAKE_ROOM).run(scope, maxBytes);
      database.sql("DELETE FROM answers WHERE created_at < ?").run(now - ANSWER_LIFETIME_MS);
    },
  };
}

/** A run's record is removed: its key is not one of a run that never began. */
export function markAnswered(database: Database, sessionId: string, runId: string): void {
  const sql = "UPDATE answers SET status = 200 WHERE scope = ? AND run_id = ? AND status IS NULL";
  database.sql(sql).run(sessionId, runId);
}
