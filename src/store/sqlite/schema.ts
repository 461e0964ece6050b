/** Each entry brings the database from version N to N + 1; entries are never changed once released. */
export const MIGRATIONS: readonly string[] = [
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
];
