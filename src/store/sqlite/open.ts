/** The store in one SQLite file, in WAL mode, held by one server at a time. */
import { chmodSync, closeSync, openSync } from "node:fs";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import type { EgressRecord } from "../../protocol/egress.ts";
import type { StateListing } from "../../protocol/guest.ts";
import type {
  EgressTotals,
  Page,
  PageRequest,
  RecordedAnswer,
  ReservedAnswer,
  RunRow,
  SessionRow,
  Store,
} from "../store.ts";
import { fillReserve } from "./reserve.ts";
import { columnsOf, encodeSummary, page, parseRun, parseSession, type SessionColumns } from "./rows.ts";
import { MIGRATIONS } from "./schema.ts";

const ANSWER_LIFETIME_MS = 24 * 3_600_000;
/** Old records are removed with every so-manieth run of a session. */
const SWEEP_EVERY = 64;
const DEFER_MS = 10;
const RESERVE_LOOK_MS = 60_000;

type SqliteOptions = { path: string; keepRuns: number };

/** Opens or creates the file. Throws when another server holds it. */
export function openSqliteStore(options: SqliteOptions): Store {
  // Programs, their output and data are in it: nobody else on the host may read it, nor its log, which takes its mode.
  closeSync(openSync(options.path, "a", 0o600));
  chmodSync(options.path, 0o600);
  const database = new DatabaseSync(options.path);
  // Exclusive: a second server on the same data would break both; the lock goes with the process.
  database.exec("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;");
  migrate(database);
  return new SqliteStore(database, options);
}

function migrate(database: DatabaseSync): void {
  const version = Number(Object.values(database.prepare("PRAGMA user_version").get() ?? {})[0]);
  if (version > MIGRATIONS.length) {
    throw new Error(
      `Cannot open the database: its version ${version} is newer than this server's ${MIGRATIONS.length}`,
    );
  }
  for (let at = version; at < MIGRATIONS.length; at++) {
    database.exec(`BEGIN; ${MIGRATIONS[at]} PRAGMA user_version = ${at + 1}; COMMIT;`);
  }
}

class SqliteStore implements Store {
  readonly #database: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();
  readonly #keepRuns: number;
  readonly #path: string;
  readonly #reserveTimer: NodeJS.Timeout;
  /** Inserts of runs that wait for a transaction, by the run's id. */
  readonly #deferred = new Map<string, () => void>();
  #flushTimer: NodeJS.Timeout | undefined;

  constructor(database: DatabaseSync, { keepRuns, path }: SqliteOptions) {
    this.#database = database;
    this.#keepRuns = keepRuns;
    this.#path = path;
    this.#fillReserve();
    this.#reserveTimer = setInterval(() => this.#fillReserve(), RESERVE_LOOK_MS).unref();
  }

  #fillReserve(): void {
    try {
      fillReserve(this.#database, this.#path);
    } catch {
      // the disk has become full: it is tried again
    }
  }

  async insertSession(row: SessionRow): Promise<boolean> {
    const sql = `INSERT INTO sessions (folder_key, folder_uid, version, row, id) VALUES (?, ?, ?, ?, ?)
      ON CONFLICT (id) DO NOTHING`;
    const { changes } = this.#sql(sql).run(...columnsOf(row));
    return Number(changes) === 1;
  }

  async findSession(id: string): Promise<SessionRow | null> {
    const row = this.#sql("SELECT row FROM sessions WHERE id = ?").get(id);
    return row === undefined ? null : parseSession(row);
  }

  async updateSession(row: SessionRow, durable = false): Promise<void> {
    const columns = columnsOf(row);
    if (durable) this.#transaction(() => this.#updateSession(columns), { durable });
    else this.#updateSession(columns);
  }

  #updateSession(columns: SessionColumns): void {
    const sql = "UPDATE sessions SET folder_key = ?, folder_uid = ?, version = ?, row = ? WHERE id = ?";
    this.#sql(sql).run(...columns);
  }

  async deleteSession(id: string): Promise<void> {
    this.#transaction(
      () => {
        this.#sql("DELETE FROM runs WHERE session_id = ?").run(id);
        this.#sql("DELETE FROM answers WHERE scope = ?").run(id);
        this.#sql("DELETE FROM listings WHERE session_id = ?").run(id);
        this.#sql("DELETE FROM egress WHERE session_id = ?").run(id);
        this.#sql("DELETE FROM egress_totals WHERE session_id = ?").run(id);
        this.#sql("DELETE FROM sessions WHERE id = ?").run(id);
      },
      { durable: true },
    );
  }

  async listSessions({ limit, cursor }: PageRequest): Promise<Page<SessionRow>> {
    const before = cursor === null ? Number.MAX_SAFE_INTEGER : Number(cursor);
    const sql = "SELECT ordinal, row FROM sessions WHERE ordinal < ? ORDER BY ordinal DESC LIMIT ?";
    const rows = this.#sql(sql).all(before, limit + 1);
    return page(rows, limit, "ordinal", parseSession);
  }

  async countSessions(): Promise<number> {
    return Number(this.#sql("SELECT count(*) AS n FROM sessions").get()?.n);
  }

  async listOpenSetups(): Promise<string[]> {
    const sql = "SELECT id FROM sessions WHERE json_extract(row, '$.setup.status') IN ('pending', 'running')";
    return this.#sql(sql)
      .all()
      .map((row) => String(row.id));
  }

  async listImages(): Promise<string[]> {
    const sql = "SELECT json_extract(row, '$.image.name') AS name FROM sessions WHERE name IS NOT NULL";
    return this.#sql(sql)
      .all()
      .map((row) => String(row.name));
  }

  async listMoves(): Promise<SessionRow[]> {
    const sql = "SELECT row FROM sessions WHERE json_extract(row, '$.folder.movedFrom') IS NOT NULL";
    return this.#sql(sql).all().map(parseSession);
  }

  async listFolders(): Promise<{ id: string; key: string; uid: number }[]> {
    const sql = "SELECT id, folder_key, folder_uid FROM sessions WHERE folder_key IS NOT NULL";
    return this.#sql(sql)
      .all()
      .map((row) => ({ id: String(row.id), key: String(row.folder_key), uid: Number(row.folder_uid) }));
  }

  /**
   * Joins the next transaction, or one of its own a moment later. Most runs end before that: then their end is all that
   * is written. A server that is killed in between loses the record of a run that nobody was told of.
   */
  async insertRun(run: RunRow): Promise<void> {
    const { runId, sessionId, number, state, createdAt } = run;
    const updateData = run.updateData === null ? null : JSON.stringify(run.updateData);
    this.#deferred.set(runId, () => this.#insertRun(runId, sessionId, number, state, createdAt, updateData));
    if (updateData !== null) return this.#flush(); // whoever asked is told of it, also by another server
    this.#flushTimer ??= setTimeout(() => this.#flushLate(), DEFER_MS);
  }

  #insertRun(...values: [string, string, number, string, string, string | null]): void {
    const sql = `INSERT INTO runs (run_id, session_id, number, state, created_at, ended_at, summary, output, late_output,
      update_data) VALUES (?, ?, ?, ?, ?, NULL, NULL, '[]', '', ?)`;
    this.#sql(sql).run(...values);
  }

  async finishRun(run: RunRow, session: SessionRow, durable = false): Promise<void> {
    // The run may be unknown here: its insert waits still, or has died with an earlier server.
    const sql = `INSERT INTO runs (run_id, session_id, number, state, created_at, ended_at, summary, output, late_output)
      VALUES (?, ?, ?, ?, ?, ?, ?, ?, '') ON CONFLICT (run_id) DO UPDATE
      SET state = excluded.state, ended_at = excluded.ended_at, summary = excluded.summary, output = excluded.output,
      update_data = NULL`;
    // Encoded before the transaction: nothing that a guest has a hand in may fail inside it.
    const summary = run.summary === null ? null : encodeSummary(run.summary);
    const output = JSON.stringify(run.output);
    const columns = columnsOf(session);
    this.#transaction(
      () => {
        const { runId, sessionId, number, state, createdAt, endedAt } = run;
        this.#sql(sql).run(runId, sessionId, number, state, createdAt, endedAt, summary, output);
        this.#updateSession(columns);
        if (run.number % SWEEP_EVERY === 0) this.#sweep(session.id, run.number);
      },
      { durable, ended: run.runId },
    );
  }

  async appendLateOutput(runId: string, text: string, maxChars: number): Promise<void> {
    this.#flush();
    this.#sql("UPDATE runs SET late_output = substr(late_output || ?, 1, ?) WHERE run_id = ?").run(
      text,
      maxChars,
      runId,
    );
  }

  async findRun(runId: string): Promise<RunRow | null> {
    this.#flush();
    const row = this.#sql("SELECT * FROM runs WHERE run_id = ?").get(runId);
    return row === undefined ? null : parseRun(row);
  }

  async lastRunNumber(sessionId: string): Promise<number> {
    this.#flush();
    return Number(this.#sql("SELECT max(number) AS n FROM runs WHERE session_id = ?").get(sessionId)?.n ?? 0);
  }

  async listRuns(sessionId: string, { limit, cursor }: PageRequest): Promise<Page<RunRow>> {
    this.#flush();
    const before = cursor === null ? Number.MAX_SAFE_INTEGER : Number(cursor);
    const sql = `SELECT run_id, session_id, number, state, created_at, ended_at, summary, '[]' AS output, late_output, update_data
      FROM runs WHERE session_id = ? AND number < ? ORDER BY number DESC LIMIT ?`;
    return page(this.#sql(sql).all(sessionId, before, limit + 1), limit, "number", parseRun);
  }

  async findAnswer(scope: string, key: string): Promise<RecordedAnswer | ReservedAnswer | null> {
    const row = this.#sql("SELECT * FROM answers WHERE scope = ? AND key = ?").get(scope, key);
    if (row === undefined) return null;
    const requestHash = String(row.request_hash);
    if (row.body === null) return { requestHash, runId: String(row.run_id) };
    return { requestHash, status: Number(row.status), body: String(row.body) };
  }

  async reserveAnswer(scope: string, key: string, answer: ReservedAnswer, durable: boolean): Promise<void> {
    const { requestHash, runId } = answer;
    const sql =
      "INSERT OR REPLACE INTO answers (scope, key, request_hash, run_id, created_at) VALUES (?, ?, ?, ?, ?)";
    this.#transaction(
      () => {
        this.#sql(sql).run(scope, key, requestHash, runId, Date.now());
      },
      { durable },
    );
  }

  async recordAnswer(scope: string, key: string, answer: RecordedAnswer): Promise<void> {
    const sql =
      "INSERT OR REPLACE INTO answers (scope, key, request_hash, status, body, created_at) VALUES (?, ?, ?, ?, ?, ?)";
    const now = Date.now();
    this.#sql(sql).run(scope, key, answer.requestHash, answer.status, answer.body, now);
    this.#sql("DELETE FROM answers WHERE created_at < ?").run(now - ANSWER_LIFETIME_MS);
  }

  async forgetRun(runId: string): Promise<void> {
    this.#transaction(() => {
      this.#sql("DELETE FROM answers WHERE run_id = ?").run(runId);
      this.#sql("DELETE FROM runs WHERE run_id = ?").run(runId);
    });
  }

  async listOpenRuns(): Promise<Map<string, RunRow[]>> {
    this.#flush();
    const rows = this.#sql("SELECT * FROM runs WHERE state = 'queued' ORDER BY number").all().map(parseRun);
    return Map.groupBy(rows, (run) => run.sessionId);
  }

  async addEgress(sessionId: string, records: readonly EgressRecord[], keep: number): Promise<void> {
    const totals = `INSERT INTO egress_totals (session_id, connections, refused, sent, received) VALUES (?, ?, ?, ?, ?)
      ON CONFLICT (session_id) DO UPDATE SET connections = connections + excluded.connections,
      refused = refused + excluded.refused, sent = sent + excluded.sent, received = received + excluded.received`;
    const oldest = `DELETE FROM egress WHERE session_id = ?1 AND ordinal <=
      (SELECT ordinal FROM egress WHERE session_id = ?1 ORDER BY ordinal DESC LIMIT 1 OFFSET ?2)`;
    this.#transaction(() => {
      // Of a session that is being deleted nothing may come after it.
      if (this.#sql("SELECT 1 FROM sessions WHERE id = ?").get(sessionId) === undefined) return;
      for (const record of records) {
        this.#sql("INSERT INTO egress (session_id, record) VALUES (?, ?)").run(
          sessionId,
          JSON.stringify(record),
        );
        const refused = record.refused === null ? 0 : 1;
        this.#sql(totals).run(sessionId, 1, refused, record.sentBytes, record.receivedBytes);
      }
      this.#sql(oldest).run(sessionId, keep);
    });
  }

  async listEgress(sessionId: string, { limit, cursor }: PageRequest): Promise<Page<EgressRecord>> {
    const before = cursor === null ? Number.MAX_SAFE_INTEGER : Number(cursor);
    const sql =
      "SELECT ordinal, record FROM egress WHERE session_id = ? AND ordinal < ? ORDER BY ordinal DESC LIMIT ?";
    const rows = this.#sql(sql).all(sessionId, before, limit + 1);
    return page(rows, limit, "ordinal", (row) => JSON.parse(String(row.record)) as EgressRecord);
  }

  async egressTotals(sessionId: string): Promise<EgressTotals> {
    const row = this.#sql("SELECT * FROM egress_totals WHERE session_id = ?").get(sessionId);
    return {
      connections: Number(row?.connections ?? 0),
      refused: Number(row?.refused ?? 0),
      sentBytes: Number(row?.sent ?? 0),
      receivedBytes: Number(row?.received ?? 0),
    };
  }

  async saveListing(sessionId: string, listing: StateListing): Promise<void> {
    const sql = "INSERT OR REPLACE INTO listings (session_id, listing) VALUES (?, ?)";
    this.#sql(sql).run(sessionId, JSON.stringify(listing));
  }

  async findListing(sessionId: string): Promise<StateListing | null> {
    const row = this.#sql("SELECT listing FROM listings WHERE session_id = ?").get(sessionId);
    return row === undefined ? null : (JSON.parse(String(row.listing)) as StateListing);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#reserveTimer);
    this.#flush();
    this.#statements.clear();
    this.#database.close();
  }

  #sweep(sessionId: string, newest: number): void {
    this.#sql("DELETE FROM runs WHERE session_id = ? AND number <= ?").run(
      sessionId,
      newest - this.#keepRuns,
    );
  }

  #sql(text: string): StatementSync {
    let statement = this.#statements.get(text);
    if (statement === undefined) {
      statement = this.#database.prepare(text);
      this.#statements.set(text, statement);
    }
    return statement;
  }

  /** A disk that is full now must not end the server: what could not be written is tried again with the next write. */
  #flushLate(): void {
    try {
      this.#flush();
    } catch {
      this.#flushTimer = undefined;
    }
  }

  #flush(): void {
    if (this.#deferred.size > 0) this.#transaction(() => undefined);
  }

  /**
   * With `durable` it is on disk when this returns; else a machine that loses power may lose it, a killed server not.
   * The insert of the run that is `ended` by it need not be made any more.
   */
  #transaction(
    work: () => void,
    { durable = false, ended }: { durable?: boolean; ended?: string } = {},
  ): void {
    clearTimeout(this.#flushTimer);
    this.#flushTimer = undefined;
    if (durable) this.#database.exec("PRAGMA synchronous = FULL");
    this.#sql("BEGIN IMMEDIATE").run();
    try {
      for (const [runId, insert] of this.#deferred) if (runId !== ended) insert();
      work();
      this.#sql("COMMIT").run();
      this.#deferred.clear();
    } catch (error) {
      if (this.#database.isTransaction) this.#sql("ROLLBACK").run();
      throw error;
    } finally {
      if (durable) this.#database.exec("PRAGMA synchronous = NORMAL");
    }
  }
}
