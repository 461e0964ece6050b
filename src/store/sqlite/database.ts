/**
 * One SQLite file in WAL mode, held by one server at a time: statements, transactions, and inserts that wait for one.
 */
import { chmodSync, closeSync, openSync } from "node:fs";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { fillReserve } from "./reserve.ts";
import { MIGRATIONS } from "./schema.ts";

const DEFER_MS = 10;
const RESERVE_LOOK_MS = 60_000;

type TransactionOptions = {
  /** It is on disk when the transaction returns; else a machine that loses power may lose it, a killed server not. */
  durable?: boolean;
  /** The run that ends by it: the insert that waits for that run need not be made any more. */
  ended?: string;
};

export class Database implements Disposable {
  readonly #database: DatabaseSync;
  readonly #path: string;
  readonly #statements = new Map<string, StatementSync>();
  readonly #reserveTimer: NodeJS.Timeout;
  /** Inserts of runs that wait for a transaction, by the run's id. */
  readonly #deferred = new Map<string, () => void>();
  #flushTimer: NodeJS.Timeout | undefined;

  /** Opens or creates the file. Throws when another server holds it. */
  constructor(path: string) {
    // Programs, their output and data are in it: nobody else on the host may read it, nor its log, which takes its
    // mode.
    closeSync(openSync(path, "a", 0o600));
    chmodSync(path, 0o600);
    this.#database = new DatabaseSync(path);
    this.#path = path;
    // Exclusive: a second server on the same data would break both; the lock goes with the process.
    this.#database.exec(
      "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;",
    );
    migrate(this.#database);
    this.#fillReserve();
    this.#reserveTimer = setInterval(() => this.#fillReserve(), RESERVE_LOOK_MS).unref();
  }

  sql(text: string): StatementSync {
    let statement = this.#statements.get(text);
    if (statement === undefined) {
      statement = this.#database.prepare(text);
      this.#statements.set(text, statement);
    }
    return statement;
  }

  /**
   * Has an insert join the next transaction, or one of its own a moment later. Most runs end before that: then their
   * end is all that is written. A server that is killed in between loses the record of a run that nobody was told of.
   */
  defer(runId: string, insert: () => void): void {
    this.#deferred.set(runId, insert);
    this.#flushTimer ??= setTimeout(() => this.#flushLate(), DEFER_MS);
  }

  /** Makes all inserts that wait. */
  flush(): void {
    if (this.#deferred.size > 0) this.transaction(() => undefined);
  }

  transaction(work: () => void, { durable = false, ended }: TransactionOptions = {}): void {
    clearTimeout(this.#flushTimer);
    this.#flushTimer = undefined;
    if (durable) this.#database.exec("PRAGMA synchronous = FULL");
    this.sql("BEGIN IMMEDIATE").run();
    try {
      for (const [runId, insert] of this.#deferred) if (runId !== ended) insert();
      work();
      this.sql("COMMIT").run();
      this.#deferred.clear();
    } catch (error) {
      if (this.#database.isTransaction) this.sql("ROLLBACK").run();
      throw error;
    } finally {
      if (durable) this.#database.exec("PRAGMA synchronous = NORMAL");
    }
  }

  [Symbol.dispose](): void {
    clearInterval(this.#reserveTimer);
    this.flush();
    this.#statements.clear();
    this.#database.close();
  }

  /** A disk that is full now must not end the server: what could not be written is tried again with the next write. */
  #flushLate(): void {
    try {
      this.flush();
    } catch {
      this.#flushTimer = undefined;
    }
  }

  #fillReserve(): void {
    try {
      fillReserve(this.#database, this.#path);
    } catch {
      // the disk has become full: it is tried again
    }
  }
}

function migrate(database: DatabaseSync): void {
  const version = Number(Object.values(database.prepare("PRAGMA user_version").get() ?? {})[0]);
  if (version > MIGRATIONS.length) {
    throw new Error(
      `Cannot open the database: its version ${version} is newer than this server's ${MIGRATIONS.length}`,
    );
  }
  for (const [at, migration] of MIGRATIONS.entries()) {
    if (at < version) continue;
    database.exec("BEGIN");
    if (typeof migration === "string") database.exec(migration);
    else migration(database);
    database.exec(`PRAGMA user_version = ${at + 1}; COMMIT;`);
  }
}
