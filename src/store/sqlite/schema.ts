import type { DatabaseSync } from "node:sqlite";
import { takeApart } from "./take-apart.ts";

/** Each entry brings the database from version N to N + 1; entries are never changed once released. */
export const MIGRATIONS: readonly (string | ((database: DatabaseSync) => void))[] = [
  `
  CREATE TABLE sessions (
    ordinal INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    folder_key TEXT,
    folder_uid INTEGER,
    version INTEGER NOT NULL,
    lost_reason TEXT,
    row TEXT NOT NULL
  ) STRICT;
  CREATE TABLE runs (
    ordinal INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id TEXT NOT NULL UNIQUE,
    session_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    state TEXT NOT NULL,
    created_at TEXT NOT NULL,
    ended_at TEXT,
    summary TEXT,
    output TEXT NOT NULL,
    late_output TEXT NOT NULL
  ) STRICT;
  CREATE INDEX runs_of_session ON runs (session_id, number);
  CREATE TABLE answers (
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    request_hash TEXT NOT NULL,
    status INTEGER NOT NULL,
    body TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (scope, key)
  ) STRICT;
  CREATE INDEX answers_by_age ON answers (created_at);
  `,
  `
  ALTER TABLE sessions DROP COLUMN lost_reason;
  DROP TABLE answers;
  CREATE TABLE answers (
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    request_hash TEXT NOT NULL,
    status INTEGER,
    body TEXT,
    run_id TEXT,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (scope, key)
  ) STRICT;
  CREATE INDEX answers_by_age ON answers (created_at);
  CREATE TABLE listings (session_id TEXT PRIMARY KEY, listing TEXT NOT NULL) STRICT;
  CREATE INDEX open_runs ON runs (state) WHERE state = 'queued';
  `,
  `
  CREATE TABLE egress (
    ordinal INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id TEXT NOT NULL,
    record TEXT NOT NULL
  ) STRICT;
  CREATE INDEX egress_of_session ON egress (session_id, ordinal);
  CREATE TABLE egress_totals (
    session_id TEXT PRIMARY KEY,
    connections INTEGER NOT NULL,
    refused INTEGER NOT NULL,
    sent INTEGER NOT NULL,
    received INTEGER NOT NULL
  ) STRICT;
  `,
  "ALTER TABLE runs ADD COLUMN update_data TEXT;",
  // A run's end is written on three pages, its session's included: every page of a transaction is written out whole.
  `
  CREATE TABLE runs_by_session (
    session_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    run_id TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at TEXT NOT NULL,
    ended_at TEXT,
    update_data TEXT,
    summary TEXT,
    output TEXT NOT NULL,
    late_output TEXT NOT NULL,
    PRIMARY KEY (session_id, number, run_id)
  ) STRICT, WITHOUT ROWID;
  INSERT INTO runs_by_session
    SELECT session_id, number, run_id, state, created_at, ended_at, update_data, summary, output, late_output FROM runs;
  DROP TABLE runs;
  ALTER TABLE runs_by_session RENAME TO runs;
  CREATE UNIQUE INDEX runs_by_id ON runs (run_id);
  CREATE INDEX open_runs ON runs (state) WHERE state = 'queued';
  `,
  // What is written together lies together: the end of a run costs the same however much code and data a session has.
  `
  ALTER TABLE sessions RENAME TO old_sessions;
  CREATE TABLE sessions (
    ordinal INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    settings TEXT NOT NULL
  ) STRICT;
  CREATE TABLE session_progress (session_id TEXT PRIMARY KEY, progress TEXT NOT NULL) STRICT, WITHOUT ROWID;
  CREATE TABLE session_data (session_id TEXT PRIMARY KEY, data TEXT NOT NULL) STRICT;
  CREATE TABLE session_code (session_id TEXT PRIMARY KEY, code TEXT NOT NULL) STRICT;
  CREATE TABLE session_setup (session_id TEXT PRIMARY KEY, setup TEXT NOT NULL, is_open INTEGER NOT NULL) STRICT;
  CREATE INDEX open_setups ON session_setup (session_id) WHERE is_open = 1;
  CREATE TABLE places (
    session_id TEXT PRIMARY KEY,
    folder_key TEXT,
    folder_uid INTEGER,
    moved_from_key TEXT,
    moved_from_uid INTEGER,
    snapshot_name TEXT,
    snapshot TEXT
  ) STRICT, WITHOUT ROWID;
  `,
  takeApart,
  `
  CREATE TABLE removed_runs (session_id TEXT PRIMARY KEY, count INTEGER NOT NULL) STRICT, WITHOUT ROWID;
  CREATE INDEX large_answers ON answers (scope, created_at) WHERE octet_length(body) > 65536;
  CREATE INDEX reserved_answers ON answers (scope, run_id) WHERE status IS NULL;
  `,
  `
  ALTER TABLE sessions ADD COLUMN key_id TEXT NOT NULL DEFAULT '';
  CREATE INDEX sessions_of_key ON sessions (key_id, ordinal);
  CREATE TABLE api_keys (
    ordinal INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    hash TEXT NOT NULL,
    scope TEXT NOT NULL,
    limits TEXT NOT NULL,
    created_at TEXT NOT NULL
  ) STRICT;
  CREATE TABLE audit (
    ordinal INTEGER PRIMARY KEY AUTOINCREMENT,
    key_id TEXT NOT NULL,
    entry TEXT NOT NULL
  ) STRICT;
  CREATE INDEX audit_of_key ON audit (key_id, ordinal);
  `,
];
