/**
 * What outlives the server, besides the session folders. One implementation in sqlite/; a second one can be a server.
 */

import type { EgressRecord, EgressRule } from "../protocol/egress.ts";
import type { NotKept, SaveMode, StateListing } from "../protocol/guest.ts";
import type { Language } from "../protocol/languages.ts";
import type { Outcome, RichResult, RunUsage } from "../protocol/outcome.ts";

export type JsonObject = Record<string, unknown>;

/** What a client has chosen of a session. */
export type SessionSettings = {
  id: string;
  createdAt: string;
  language: Language;
  persistent: boolean;
  metadata: JsonObject;
  allowInternetAccess: EgressRule;
  allowPublicAccess: boolean;
  /** Seconds; null means the server's default. */
  defaultTimeout: number | null;
  memoryMib: number | null;
  cpuCount: number | null;
  diskMib: number | null;
  /** Seconds without use after which it is deleted; null means the server's default, 0 never. */
  expiresAfter: number | null;
  /** Whether a run is answered before its state is on disk (async) or after (sync), or only sleep saves it (none). */
  durability: Durability;
  /** When its processes are kept as it goes to sleep: when it would lose something else, each time, or never. */
  imaging: Imaging;
  /** Made by a run on an unknown id, and not yet claimed by an explicit create. */
  claimable: boolean;
  /** The session and the version of which it is a copy. */
  branchedFrom?: { id: string; version: number };
};

/** What a session may choose to have; null is as the server has it. */
export type ResourceSettings = Pick<SessionSettings, "memoryMib" | "cpuCount" | "diskMib">;

/** How far a session has come: small, and written with each run's end. */
export type SessionProgress = {
  /** Empty until the first run has ended. */
  lastRunAt: string;
  /** Number of runs that have ended. */
  version: number;
  /** Files in the workspace after the last run; null when there are too many to count with every run. */
  fileCounts: { files: number; bytes: number } | null;
  saved: SavedState;
  /** Files that look like secrets, and were therefore not kept when it last slept, or not copied. */
  leftOut: readonly string[];
  /** Why the last snapshot could not be made or used, until a run has told it. */
  snapshotLost: string | null;
  /** When its files were last changed by a client. */
  touchedAt?: string;
  /** What its runs have taken together, since there has been a count. */
  totals?: RunTotals;
  /** When its sandbox was last put to sleep; null while it lives or before its first run. */
  hibernatedAt: string | null;
};

/** `peakBytes`: the most memory of any of them; null where the host does not count it. */
export type RunTotals = { runs: number; elapsedUs: number; cpuTimeUs: number; peakBytes: number | null };

/** A session as a list shows it. */
export type SessionSummary = SessionSettings & SessionProgress;

/** All that is known of a session on any host. Each part has one writer, and a method of the store. */
export type SessionRow = SessionSummary & {
  data: JsonObject;
  /** A program that runs when a request brings none. */
  code: StoredCode | null;
  /** What was to be installed before its first run. */
  setup: SetupRow | null;
};

type Imaging = "auto" | "always" | "never";

export type SetupRequest = {
  pip?: string[] | { requirements: string } | undefined;
  npm?: string[] | { packageJson: string } | undefined;
  go?: string[] | { goMod: string } | undefined;
  commands?: string[] | undefined;
  /** For the commands only. */
  envs?: Record<string, string> | undefined;
};
export type SetupStatus = "pending" | "running" | "completed" | "failed" | "cancelled";
export type SetupResult = {
  success: boolean;
  duration_ms: number;
  pip_packages: string[];
  npm_packages: string[];
  go_modules: string[];
  commands_run: string[];
  error?: string;
  stdout?: string;
  stderr?: string;
};
export type SetupRow = { request: SetupRequest; status: SetupStatus; result: SetupResult | null };

export type StoredCode = { code: string; description: string; updatedAt: string };

export type Durability = SaveMode;

/** The state of a session's variables. Versions are numbers of runs. */
export type SavedState = {
  /** The version that the variables are at: behind the session's own after a run that was rolled back. */
  content: number;
  savedVersion: number;
  bytes: number;
  /** The memory that the session might use when it went to sleep; none while it is awake. */
  sleptWithBytes?: number;
  notKept: NotKept;
  /** Why the last save failed; null when it did not. */
  failure: string | null;
  /**
   * Versions that are copies of earlier ones, since they were gone back to: [number, which one]; and, after the last of
   * these, those that can be gone forward to again.
   */
  copies?: readonly (readonly [number, number])[];
  undone?: readonly number[];
  /** To which version the variables went back, until a run has told it. */
  rolledBack: RolledBack | null;
};

type RolledBack = { version: number; reason: string };

/**
 * What came of a run, in order: its output; something displayed, as JSON; the prompt of a question, which may be empty
 * and therefore ends with a line's end; a warning of the server's.
 */
export type OutputEvent = {
  stream: "stdout" | "stderr" | "display" | "input" | "warning";
  text: string;
  /** Characters of something displayed for which its record had no room: its place among the others stays. */
  leftOut?: number;
};

type RunProgress = "queued" | "done" | "lost";

/** What a run's answer tells of the variables. */
export type RunState = {
  version: number;
  saved_version: number;
  rolled_back: RolledBack | null;
  /** Why the variables could not be saved last time. */
  save_failure?: string;
  /**
   * Why what only a snapshot of its processes has is gone: the names in not_kept, and what went on in the background.
   */
  image_lost?: string;
  not_kept: NotKept;
};

export type RunRow = {
  runId: string;
  sessionId: string;
  /** Position among the session's runs, from 1. */
  number: number;
  state: RunProgress;
  createdAt: string;
  endedAt: string | null;
  summary: RunSummary | null;
  output: OutputEvent[];
  /** Written after the run had ended, by processes that it left behind. */
  lateOutput: string;
  /** To be merged into the session's data when it has ended; afterwards of no more use. */
  updateData: JsonObject | null;
};

/** What a run has printed or shown beyond its limits: bytes of each stream, and a number of results. */
export type Dropped = {
  stdout?: number | undefined;
  stderr?: number | undefined;
  results?: number | undefined;
};

export type RunSummary = RunUsage & {
  outcome: Outcome;
  truncated: Dropped;
  filesModified: number | null;
  results: RichResult[];
  /** How many there were, where a record was too small to keep them. */
  resultsLeftOut?: number;
  state: RunState;
  /** What was asked for; not in records of before this was kept. */
  asked?: RunAsked;
  /** Paths in the workspace that were written in it; the first of many. */
  filesChanged?: readonly string[];
  /** The server ended after the run, before it had heard what the run printed. */
  output_lost?: true;
};

export type RunAsked = {
  /** The beginning of a long one. */
  code: string;
  codeChars: number;
  shell: boolean;
  env: readonly string[];
  stdinChars: number | null;
  keyId: string | null;
  waitedMs: number;
};

/** What a run has changed of its session. */
export type RunEffect = {
  progress: SessionProgress;
  /** Null when it is as it was. */
  data: JsonObject | null;
};

export type RecordedAnswer = { requestHash: string; status: number; body: string };
/** A key whose run was begun: its answer is the run's record. */
type ReservedAnswer = { requestHash: string; runId: string };
/** What is known of a key. */
export type KnownAnswer = {
  requestHash: string;
  /** The run that was begun with it. */
  runId: string | null;
  /** Null while it has not been answered. */
  status: number | null;
  /** Null also for an answer that has made room for newer ones. */
  body: string | null;
};

/** Which sessions are listed; null means all. */
export type SessionFilter = {
  keyId: string | null;
  language: Language | null;
  /** Texts at the first level of the metadata. */
  metadata: Readonly<Record<string, string>>;
  /** Only these, or all but these. */
  only: readonly string[] | null;
  not: readonly string[] | null;
};

/** What decides when a session ends by itself. */
export type SessionUse = {
  place: number;
  id: string;
  expiresAfter: number | null;
  /** The last of: made, run, its files changed by a client. */
  usedAt: string;
};

export type EgressTotals = { connections: number; refused: number; sentBytes: number; receivedBytes: number };

/** What a key of the API may do: each includes the one before. */
export type KeyScope = "read" | "run" | "admin";
/** Null: no limit. */
export type KeyLimits = {
  sessions: number | null;
  liveSessions: number | null;
  runsPerMinute: number | null;
  internet: boolean;
};
/** A key of the API; the key itself is known to its holder only. Its sessions are called `id.name` by the server. */
export type ApiKey = {
  id: string;
  name: string;
  /** SHA-256 of the key, in hexadecimal. */
  hash: string;
  scope: KeyScope;
  limits: KeyLimits;
  createdAt: string;
};

/** One act of a client, and what came of it. */
export type AuditEntry = {
  at: string;
  /** Null for the operator's own key, or where there is none. */
  keyId: string | null;
  operation: string;
  /** The session or run, as the server names it; null where there is none. */
  target: string | null;
  /** The status of the answer. */
  status: number;
  requestId: string;
};

export type Page<T> = { items: T[]; cursor: string | null };
export type PageRequest = { limit: number; cursor: string | null };

/**
 * The store cannot be reached, or not now; what was asked of it may or may not have happened. Answered as 503; nothing
 * is lost by trying again.
 */
export class StoreUnavailable extends Error {
  override readonly name = "StoreUnavailable";
}

/** Another server has taken this session over: this one ends its sandbox, and writes nothing of it any more. */
export class OwnershipLost extends Error {
  override readonly name = "OwnershipLost";
}

/** Each method may reject with StoreUnavailable; those that write of a session with OwnershipLost. */
export interface Store extends AsyncDisposable {
  /** False when the id is taken. */
  insertSession(row: SessionRow): Promise<boolean>;
  findSession(id: string): Promise<SessionRow | null>;
  saveSettings(settings: SessionSettings): Promise<void>;
  saveProgress(id: string, progress: SessionProgress): Promise<void>;
  saveData(id: string, data: JsonObject): Promise<void>;
  saveCode(id: string, code: StoredCode | null): Promise<void>;
  saveSetup(id: string, setup: SetupRow): Promise<void>;
  /** Removes the session with its runs and recorded answers, on disk when it resolves. */
  deleteSession(id: string): Promise<void>;
  /** Those of one key, or all. */
  countSessions(keyId: string | null): Promise<number>;
  /** Newest first. A page may be short, and there may be more all the same, when few of many fit the filter. */
  listSessions(page: PageRequest, filter?: SessionFilter): Promise<Page<SessionSummary>>;
  /** The next ones after a place, in the order in which they were made, to be looked at for their end. */
  listUse(after: number, limit: number): Promise<SessionUse[]>;
  /** Ids of sessions whose setup has not come to an end. */
  listOpenSetups(): Promise<string[]>;

  insertRun(run: RunRow): Promise<void>;
  /** Before a run with a key is given to its sandbox: a retry must find it from now on. */
  reserveAnswer(scope: string, key: string, answer: ReservedAnswer, durable: boolean): Promise<void>;
  /**
   * The end of a run, recorded or not yet, and what it did to its session, in one transaction; with `durable`, on disk.
   */
  finishRun(run: RunRow, effect: RunEffect | null, durable?: boolean): Promise<void>;
  /** A record that was made elsewhere, as it is. False when its id is taken. */
  insertEndedRun(run: RunRow): Promise<boolean>;
  appendLateOutput(runId: string, text: string, maxChars: number): Promise<void>;
  findRun(runId: string): Promise<RunRow | null>;
  /** Records of a session that made room for newer ones. */
  countRemovedRuns(sessionId: string): Promise<number>;
  /** The highest number of a run of this session, 0 when none is recorded. */
  lastRunNumber(sessionId: string): Promise<number>;
  /** Newest first, without output. */
  listRuns(sessionId: string, page: PageRequest): Promise<Page<RunRow>>;

  findAnswer(scope: string, key: string): Promise<KnownAnswer | null>;
  recordAnswer(scope: string, key: string, answer: RecordedAnswer): Promise<void>;

  /** A run that never began: its key, if it had one, is free again. */
  forgetRun(runId: string): Promise<void>;
  /** Runs that have neither ended nor been lost, by session: at start, those that a killed server left open. */
  listOpenRuns(): Promise<Map<string, RunRow[]>>;

  /** Adds to what a session has asked of the internet; the newest `keep` are kept one by one, and all are counted. */
  addEgress(sessionId: string, records: readonly EgressRecord[], keep: number): Promise<void>;
  /** Newest first. */
  listEgress(sessionId: string, page: PageRequest): Promise<Page<EgressRecord>>;
  egressTotals(sessionId: string): Promise<EgressTotals>;

  insertKey(key: ApiKey): Promise<void>;
  /** In the order in which they were made. */
  listKeys(): Promise<ApiKey[]>;
  /** False when there is none. */
  deleteKey(id: string): Promise<boolean>;
  /** Joins the transaction of what is written next; of the oldest, those beyond `keep` go. */
  addAudit(entry: AuditEntry, keep: number): Promise<void>;
  /** Newest first; those of one key, or all. */
  listAudit(page: PageRequest, keyId: string | null): Promise<Page<AuditEntry>>;

  /** What is saved of a session that sleeps. */
  saveListing(sessionId: string, listing: StateListing): Promise<void>;
  findListing(sessionId: string): Promise<StateListing | null>;
}
