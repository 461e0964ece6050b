/**
 * One SQLite file in WAL mode, held by one server at a time: statements, transactions, and inserts that wait for one.
 */
import { chmodSync, closeSync, fdatasync, openSync } from "node:fs";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { promisify } from "node:util";
import { fillReserve } from "./reserve.ts";
import { MIGRATIONS } from "./schema.ts";

const DEFER_MS = 10;
const RESERVE_LOOK_MS = 60_000;

const syncData = promisify(fdatasync);

type WaitingWork = {
  work: () => void;
  durable: boolean;
  /** The run that ends by it: the insert that waits for that run need not be made any more. */
  ended: string;
  settled: PromiseWithResolvers<void>;
};

export class Database implements Disposable {
  readonly #database: DatabaseSync;
  readonly #path: string;
  readonly #statements = new Map<string, StatementSync>();
  readonly #reserveTimer: NodeJS.Timeout;
  /** Inserts of runs that wait for a transaction, by the run's id. */
  readonly #deferred = new Map<string, () => void>();
  #flushTimer: NodeJS.Timeout | undefined;
  /** The log, which each commit is written to: what was committed is on disk once it is. */
  readonly #log: number;
  #syncing: Promise<void> = Promise.resolve();
  /** The next look at the disk, which has not begun. */
  #nextSync: Promise<void> | null = null;
  /** Ends of runs that wait for the transaction that they share. */
  #waiting: WaitingWork[] = [];

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
    this.#log = openLog(path);
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

  /**
   * Ends a run a moment later, in one transaction with all that end until then: a commit costs more than what is
   * written by it. One that fails takes no other with it.
   */
  endSoon(runId: string, work: () => void, durable: boolean): Promise<void> {
    if (this.#waiting.length === 0) setImmediate(() => this.endWaiting());
    const settled = Promise.withResolvers<void>();
    this.#waiting.push({ work, durable, ended: runId, settled });
    return settled.promise;
  }

  /** Does all that waits. */
  flush(): void {
    this.endWaiting();
    if (this.#deferred.size > 0) this.transaction(() => undefined);
  }

  /** A machine that loses power may lose it, a killed server not. */
  transaction(work: () => void): void {
    this.endWaiting(); // it was asked for before
    this.#transact(work, new Set());
  }

  /** A transaction that is on disk when this resolves. */
  durably(work: () => void): Promise<void> {
    this.transaction(work);
    return this.#onDisk();
  }

  /**
   * Resolves when all that is committed now is on disk. Not on the event loop, as SQLite itself would: a busy disk
   * takes a tenth of a second for it. Those who ask while it goes on share the next one.
   */
  #onDisk(): Promise<void> {
    this.#nextSync ??= this.#syncing
      .catch(() => undefined)
      .then(() => {
        this.#nextSync = null;
        this.#syncing = syncData(this.#log);
        return this.#syncing;
      });
    return this.#nextSync;
  }

  /** Ends the runs that wait. Whoever writes without a transaction calls it first: the order of calls is kept. */
  endWaiting(): void {
    const all = this.#waiting;
    this.#waiting = [];
    if (all.length === 0) return;
    try {
      this.#end(all);
    } catch (error) {
      if (all.length === 1) all[0]?.settled.reject(error);
      else for (const one of all) this.#endAlone(one);
    }
  }

  #endAlone(one: WaitingWork): void {
    try {
      this.#end([one]);
    } catch (error) {
      one.settled.reject(error);
    }
  }

  #end(all: readonly WaitingWork[]): void {
    const work = () => {
      for (const one of all) one.work();
    };
    this.#transact(work, new Set(all.map(({ ended }) => ended)));
    for (const { durable, settled } of all) settled.resolve(durable ? this.#onDisk() : undefined);
  }

  #transact(work: () => void, ended: ReadonlySet<string>): void {
    clearTimeout(this.#flushTimer);
    this.#flushTimer = undefined;
    this.sql("BEGIN IMMEDIATE").run();
    try {
      for (const [runId, insert] of this.#deferred) if (!ended.has(runId)) insert();
      work();
      this.sql("COMMIT").run();
      this.#deferred.clear();
    } catch (error) {
      if (this.#database.isTransaction) this.sql("ROLLBACK").run();
      throw error;
    }
  }

  [Symbol.dispose](): void {
    clearInterval(this.#reserveTimer);
    this.flush();
    this.#statements.clear();
    this.#database.close();
    closeSync(this.#log);
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

/** SQLite makes it with the first write. */
function openLog(path: string): number {
  return openSync(`${path}-wal`, "a", 0o600);
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
