/** What outlives the server, besides the session folders. One implementation in sqlite/; a second one can be a server. */
import type { Language } from "../protocol/language.ts";
import type { Outcome, RichResult } from "../protocol/outcome.ts";

export type JsonObject = Record<string, unknown>;

export type SessionRow = {
  id: string;
  createdAt: string;
  /** Empty until the first run has ended. */
  lastRunAt: string;
  language: Language;
  persistent: boolean;
  metadata: JsonObject;
  data: JsonObject;
  allowInternetAccess: boolean;
  allowPublicAccess: boolean;
  /** Seconds; null means the server's default. */
  defaultTimeout: number | null;
  memoryMib: number | null;
  cpuCount: number | null;
  /** Made by a run on an unknown id, and not yet claimed by an explicit create. */
  claimable: boolean;
  /** Number of runs that have ended. */
  version: number;
  folder: { key: string; uid: number } | null;
  /** Files in the workspace after the last run; null when there are too many to count with every run. */
  fileCounts: { files: number; bytes: number } | null;
  /** Why the variables of the last run are gone, until a run has told it. */
  lostReason: string | null;
};

/** The output of a run as it came: sequence numbers are positions from 1 on. */
export type OutputEvent = { stream: "stdout" | "stderr"; text: string };

type RunState = "queued" | "done" | "lost";

export type RunRow = {
  runId: string;
  sessionId: string;
  /** Position among the session's runs, from 1. */
  number: number;
  state: RunState;
  createdAt: string;
  endedAt: string | null;
  summary: RunSummary | null;
  output: OutputEvent[];
  /** Written after the run had ended, by processes that it left behind. */
  lateOutput: string;
};

/** Bytes left out of each stream because the run printed more than its limit. */
export type Dropped = { stdout?: number | undefined; stderr?: number | undefined };

export type RunSummary = {
  outcome: Outcome;
  elapsedUs: number;
  truncated: Dropped;
  filesModified: number | null;
  results: RichResult[];
  state: { version: number; variables_lost: string | null };
};

export type RecordedAnswer = { requestHash: string; status: number; body: string };

export type Page<T> = { items: T[]; cursor: string | null };
export type PageRequest = { limit: number; cursor: string | null };

export interface Store extends AsyncDisposable {
  /** False when the id is taken. */
  insertSession(row: SessionRow): Promise<boolean>;
  findSession(id: string): Promise<SessionRow | null>;
  updateSession(row: SessionRow): Promise<void>;
  /** Removes the session with its runs and recorded answers. */
  deleteSession(id: string): Promise<void>;
  /** Newest first. */
  listSessions(page: PageRequest): Promise<Page<SessionRow>>;
  countSessions(): Promise<number>;
  listFolders(): Promise<{ key: string; uid: number }[]>;

  insertRun(run: RunRow): Promise<void>;
  /** The end of a run and what it did to its session, in one transaction. */
  finishRun(run: RunRow, session: SessionRow): Promise<void>;
  appendLateOutput(runId: string, text: string, maxChars: number): Promise<void>;
  findRun(runId: string): Promise<RunRow | null>;
  /** The highest number of a run of this session, 0 when none is recorded. */
  lastRunNumber(sessionId: string): Promise<number>;
  /** Newest first, without output. */
  listRuns(sessionId: string, page: PageRequest): Promise<Page<RunRow>>;

  findAnswer(scope: string, key: string): Promise<RecordedAnswer | null>;
  recordAnswer(scope: string, key: string, answer: RecordedAnswer): Promise<void>;

  /** At start: runs and variables that a killed server left open are lost. Answers how many sessions lost something. */
  markInterrupted(reason: string): Promise<number>;
}
