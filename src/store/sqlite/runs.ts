/** Runs as records. */
import type { RunRow, Store } from "../store.ts";
import { markAnswered } from "./answers.ts";
import type { Database } from "./database.ts";
import { encodeOutput, encodeSummary, page, parseRun } from "./rows.ts";
import { writeData, writeProgress } from "./sessions.ts";

type RunMethods = Pick<
  Store,
  | "insertRun"
  | "finishRun"
  | "insertEndedRun"
  | "appendLateOutput"
  | "findRun"
  | "countRemovedRuns"
  | "lastRunNumber"
  | "listRuns"
  | "forgetRun"
  | "listOpenRuns"
>;

/** What a session's records may be; the oldest make room for newer ones. */
export type RecordLimits = {
  keepRuns: number;
  /** Output, results and data of all its runs. One run alone may have more. */
  recordBytes: number;
};

/** Old records are removed with every so-manieth run of a session, and with every one that is large. */
const SWEEP_EVERY = 64;

const INSERT = `INSERT INTO runs (run_id, session_id, number, state, created_at, ended_at, summary, output, late_output,
  update_data) VALUES (?, ?, ?, ?, ?, NULL, NULL, '[]', '', ?) ON CONFLICT DO NOTHING`;
// The run may be unknown here: its insert waits still, or has died with an earlier server.
const FINISH = `INSERT INTO runs (run_id, session_id, number, state, created_at, ended_at, summary, output, late_output)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, '') ON CONFLICT (run_id) DO UPDATE
  SET state = excluded.state, ended_at = excluded.ended_at, summary = excluded.summary, output = excluded.output,
  update_data = NULL WHERE runs.session_id = excluded.session_id`;
const INSERT_ENDED = `INSERT INTO runs (run_id, session_id, number, state, created_at, ended_at, summary, output, late_output)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`;
const LIST = `SELECT run_id, session_id, number, state, created_at, ended_at, summary, '[]' AS output, late_output, update_data
  FROM runs WHERE session_id = ? AND number < ? ORDER BY number DESC LIMIT ?`;

const REMOVE_MANY = `DELETE FROM runs WHERE session_id = ? AND number <= ? AND state <> 'queued' RETURNING run_id`;
const REMOVE_LARGE = `DELETE FROM runs WHERE session_id = ?1 AND state <> 'queued' AND number < ?2 AND number <= (
  SELECT max(number) FROM (
    SELECT number, sum(octet_length(output) + octet_length(late_output) + coalesce(octet_length(summary), 0)
      + coalesce(octet_length(update_data), 0)) OVER (ORDER BY number DESC) AS total
    FROM runs WHERE session_id = ?1)
  WHERE total > ?3) RETURNING run_id`;
const COUNT_REMOVED = `INSERT INTO removed_runs VALUES (?, ?)
  ON CONFLICT (session_id) DO UPDATE SET count = count + excluded.count`;

export function runTables(database: Database, limits: RecordLimits): RunMethods {
  return { ...writing(database, limits), ...reading(database) };
}

/** What is stored of a run's end. */
function encodeEnd({ summary, output }: RunRow): { summary: string | null; output: string; bytes: number } {
  const encoded = summary === null ? null : encodeSummary(summary);
  const printed = encodeOutput(output);
  return { summary: encoded, output: printed, bytes: printed.length + (encoded?.length ?? 0) };
}

/** `bytes`: of the record that was just stored. */
function sweep(
  database: Database,
  { sessionId, number }: RunRow,
  bytes: number,
  { keepRuns, recordBytes }: RecordLimits,
): void {
  const isDue = number % SWEEP_EVERY === 0;
  const isLarge = bytes * keepRuns > recordBytes; // more than its share
  if (!isDue && !isLarge) return;
  const many = isDue ? database.sql(REMOVE_MANY).all(sessionId, number - keepRuns) : [];
  const removed = [...many, ...database.sql(REMOVE_LARGE).all(sessionId, number, recordBytes)];
  for (const { run_id } of removed) markAnswered(database, sessionId, String(run_id));
  if (removed.length > 0) database.sql(COUNT_REMOVED).run(sessionId, removed.length);
}

function insertEnded(database: Database, run: RunRow, limits: RecordLimits): boolean {
  const { runId, sessionId, number, state, createdAt, endedAt, lateOutput } = run;
  const { summary, output, bytes } = encodeEnd(run);
  const values = [runId, sessionId, number, state, createdAt, endedAt, summary, output, lateOutput] as const;
  let isNew = false;
  database.transaction(() => {
    isNew = Number(database.sql(INSERT_ENDED).run(...values).changes) === 1;
    if (isNew) sweep(database, run, bytes, limits);
  });
  return isNew;
}

function writing(database: Database, limits: RecordLimits) {
  const insert = (...values: [string, string, number, string, string, string | null]) => {
    database.sql(INSERT).run(...values);
  };
  return {
    insertRun: async ({ runId, sessionId, number, state, createdAt, updateData }) => {
      const update = updateData === null ? null : JSON.stringify(updateData);
      database.defer(runId, () => insert(runId, sessionId, number, state, createdAt, update));
      if (update !== null) database.flush(); // whoever asked is told of it, also by another server
    },
    finishRun: async (run, effect, durable = false) => {
      // Encoded before the transaction, which it may share: nothing that a guest has a hand in may fail inside it.
      const { runId, sessionId, number, state, createdAt, endedAt } = run;
      const { summary, output, bytes } = encodeEnd(run);
      const progress = effect === null ? null : JSON.stringify(effect.progress);
      const data = effect?.data == null ? null : JSON.stringify(effect.data);
      const write = () => {
        database.sql(FINISH).run(runId, sessionId, number, state, createdAt, endedAt, summary, output);
        if (progress !== null) writeProgress(database, sessionId, progress);
        if (data !== null) writeData(database, sessionId, data);
        sweep(database, run, bytes, limits);
      };
      await database.endSoon(runId, write, durable);
    },
    insertEndedRun: async (run) => insertEnded(database, run, limits),
    appendLateOutput: async (runId, text, maxChars) => {
      database.flush();
      const sql = "UPDATE runs SET late_output = substr(late_output || ?, 1, ?) WHERE run_id = ?";
      database.sql(sql).run(text, maxChars, runId);
    },
    forgetRun: async (runId) => {
      database.transaction(() => {
        database.sql("DELETE FROM answers WHERE run_id = ?").run(runId);
        database.sql("DELETE FROM runs WHERE run_id = ?").run(runId);
      });
    },
  } satisfies Partial<RunMethods>;
}

function reading(database: Database) {
  return {
    findRun: async (runId) => {
      database.flush();
      const row = database.sql("SELECT * FROM runs WHERE run_id = ?").get(runId);
      return row === undefined ? null : parseRun(row);
    },
    countRemovedRuns: async (sessionId) => {
      const row = database.sql("SELECT count FROM removed_runs WHERE session_id = ?").get(sessionId);
      return Number(row?.count ?? 0);
    },
    lastRunNumber: async (sessionId) => {
      database.flush();
      const row = database.sql("SELECT max(number) AS n FROM runs WHERE session_id = ?").get(sessionId);
      return Number(row?.n ?? 0);
    },
    listRuns: async (sessionId, { limit, cursor }) => {
      database.flush();
      const before = cursor === null ? Number.MAX_SAFE_INTEGER : Number(cursor);
      return page(database.sql(LIST).all(sessionId, before, limit + 1), limit, "number", parseRun);
    },
    listOpenRuns: async () => {
      database.flush();
      const sql = "SELECT * FROM runs WHERE state = 'queued' ORDER BY number";
      return Map.groupBy(database.sql(sql).all().map(parseRun), (run) => run.sessionId);
    },
  } satisfies Partial<RunMethods>;
}
