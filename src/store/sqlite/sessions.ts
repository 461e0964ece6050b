/** Sessions, each part in a table of its own: only what changed is written. */
import type { StateListing } from "../../protocol/guest.ts";
import { keyIn } from "../../protocol/session-names.ts";
import type { JsonObject, PageRequest, SessionFilter, SessionProgress, SessionUse, Store } from "../store.ts";
import type { Database } from "./database.ts";
import { encodeParts, page, parseSession, parseSummary } from "./rows.ts";

type SessionMethods = Pick<
  Store,
  | "insertSession"
  | "findSession"
  | "saveSettings"
  | "saveProgress"
  | "saveData"
  | "saveCode"
  | "saveSetup"
  | "deleteSession"
  | "countSessions"
  | "listSessions"
  | "listUse"
  | "listOpenSetups"
  | "saveListing"
  | "findListing"
>;

const SUMMARY = "FROM sessions s JOIN session_progress p ON p.session_id = s.id";
const WHOLE = `SELECT s.settings, p.progress, d.data, c.code, u.setup ${SUMMARY}
  LEFT JOIN session_data d ON d.session_id = s.id
  LEFT JOIN session_code c ON c.session_id = s.id
  LEFT JOIN session_setup u ON u.session_id = s.id
  WHERE s.id = ?`;
const PARTS = ["session_progress", "session_data", "session_code", "session_setup", "listings", "egress"];
const OTHERS = ["egress_totals", "runs", "removed_runs", "places"];

export function writeProgress(database: Database, id: string, text: string): void {
  database.sql("UPDATE session_progress SET progress = ? WHERE session_id = ?").run(text, id);
}

export function writeData(database: Database, id: string, text: string): void {
  // Nothing may be written of a session after its deletion.
  const sql = `INSERT INTO session_data SELECT id, ?2 FROM sessions WHERE id = ?1
    ON CONFLICT (session_id) DO UPDATE SET data = excluded.data`;
  database.sql(sql).run(id, text);
}

function writeCode(database: Database, id: string, code: object | null): void {
  if (code === null) database.sql("DELETE FROM session_code WHERE session_id = ?").run(id);
  else
    database
      .sql(`INSERT INTO session_code SELECT id, ?2 FROM sessions WHERE id = ?1
        ON CONFLICT (session_id) DO UPDATE SET code = excluded.code`)
      .run(id, JSON.stringify(code));
}

function writeSetup(database: Database, id: string, setup: { status: string }): void {
  const isOpen = setup.status === "pending" || setup.status === "running";
  database
    .sql(`INSERT INTO session_setup SELECT id, ?2, ?3 FROM sessions WHERE id = ?1
      ON CONFLICT (session_id) DO UPDATE SET setup = excluded.setup, is_open = excluded.is_open`)
    .run(id, JSON.stringify(setup), isOpen ? 1 : 0);
}

export function sessionTables(database: Database): SessionMethods {
  return {
    insertSession: async (row) => {
      const { settings, progress } = encodeParts(row);
      const data = JSON.stringify(row.data);
      let isNew = false;
      database.transaction(() => {
        const sql =
          "INSERT INTO sessions (id, key_id, settings) VALUES (?, ?, ?) ON CONFLICT (id) DO NOTHING";
        isNew = Number(database.sql(sql).run(row.id, keyIn(row.id), settings).changes) === 1;
        if (!isNew) return;
        database.sql("INSERT INTO session_progress VALUES (?, ?)").run(row.id, progress);
        if (data !== "{}") writeData(database, row.id, data);
        if (row.code !== null) writeCode(database, row.id, row.code);
        if (row.setup !== null) writeSetup(database, row.id, row.setup);
      });
      return isNew;
    },
    findSession: async (id) => {
      const row = database.sql(WHOLE).get(id);
      return row === undefined ? null : parseSession(row);
    },
    saveSettings: async (settings) => {
      database.endWaiting();
      const sql = "UPDATE sessions SET settings = ? WHERE id = ?";
      database.sql(sql).run(JSON.stringify(settings), settings.id);
    },
    saveProgress: async (id: string, progress: SessionProgress) => {
      database.endWaiting();
      writeProgress(database, id, JSON.stringify(progress));
    },
    saveData: async (id: string, data: JsonObject) => {
      database.endWaiting();
      writeData(database, id, JSON.stringify(data));
    },
    saveCode: async (id, code) => writeCode(database, id, code),
    saveSetup: async (id, setup) => writeSetup(database, id, setup),
    deleteSession: async (id) => {
      await database.durably(() => {
        for (const table of [...PARTS, ...OTHERS])
          database.sql(`DELETE FROM ${table} WHERE session_id = ?`).run(id);
        database.sql("DELETE FROM answers WHERE scope = ?").run(id);
        database.sql("DELETE FROM sessions WHERE id = ?").run(id);
      });
    },
    ...listing(database),
  };
}

/** Rows that one page looks at: a filter that fits few of many must not hold up the server. */
const LOOKED_AT = 10_000;
const ALL: SessionFilter = { keyId: null, language: null, metadata: {}, only: null, not: null };
const USE = `SELECT s.ordinal, s.id, json_extract(s.settings, '$.expiresAfter') AS expires,
  max(json_extract(s.settings, '$.createdAt'), json_extract(p.progress, '$.lastRunAt'),
    ifnull(json_extract(p.progress, '$.touchedAt'), '')) AS used ${SUMMARY} WHERE s.ordinal > ? ORDER BY s.ordinal LIMIT ?`;

const parseUse = (row: Record<string, unknown>): SessionUse => ({
  place: Number(row.ordinal),
  id: String(row.id),
  expiresAfter: row.expires === null ? null : Number(row.expires),
  usedAt: String(row.used),
});

/** What rows must be like, with the values of its places. */
function conditionsOf({ keyId, language, metadata, only, not }: SessionFilter): [string, ...string[]][] {
  return [
    ...(keyId === null ? [] : [["s.key_id = ?", keyId] as [string, string]]),
    ...(language === null
      ? []
      : [["json_extract(s.settings, '$.language') = ?", language] as [string, string]]),
    ...Object.entries(metadata).map(([name, value]): [string, ...string[]] => [
      "json_extract(s.settings, '$.metadata.' || json_quote(?)) = ?",
      name,
      value,
    ]),
    ...(only === null ? [] : [[`s.id IN (${LISTED})`, JSON.stringify(only)] as [string, string]]),
    ...(not === null ? [] : [[`s.id NOT IN (${LISTED})`, JSON.stringify(not)] as [string, string]]),
  ];
}
const LISTED = "SELECT value FROM json_each(?)";

/** One page of what fits, of so many rows; its cursor goes on after those. */
function listFiltered(database: Database, { limit, cursor }: PageRequest, filter: SessionFilter) {
  const before = cursor === null ? Number.MAX_SAFE_INTEGER : Number(cursor);
  const window = "SELECT ordinal FROM sessions WHERE ordinal < ? ORDER BY ordinal DESC LIMIT ?";
  const oldest = database
    .sql(`SELECT min(ordinal) AS oldest FROM (${window})`)
    .get(before, LOOKED_AT)?.oldest;
  const from = oldest === null ? 0 : Number(oldest);
  const conditions = conditionsOf(filter);
  const where = ["s.ordinal < ?", "s.ordinal >= ?", ...conditions.map(([sql]) => sql)].join(" AND ");
  const sql = `SELECT s.ordinal, s.settings, p.progress ${SUMMARY} WHERE ${where} ORDER BY s.ordinal DESC LIMIT ?`;
  const values = conditions.flatMap(([, ...each]) => each);
  const rows = database.sql(sql).all(before, from, ...values, limit + 1);
  const found = page(rows, limit, "ordinal", parseSummary);
  const hasMore = database.sql("SELECT 1 FROM sessions WHERE ordinal < ? LIMIT 1").get(from) !== undefined;
  return found.cursor === null && hasMore ? { ...found, cursor: String(from) } : found;
}

/** One page of a key's, or of all: there is an index for it. */
function listWhole(database: Database, { limit, cursor }: PageRequest, keyId: string | null) {
  const before = cursor === null ? Number.MAX_SAFE_INTEGER : Number(cursor);
  const owned = keyId === null ? "" : "AND s.key_id = ?";
  const sql = `SELECT s.ordinal, s.settings, p.progress ${SUMMARY} WHERE s.ordinal < ? ${owned}
    ORDER BY s.ordinal DESC LIMIT ?`;
  const rows = database.sql(sql).all(before, ...(keyId === null ? [] : [keyId]), limit + 1);
  return page(rows, limit, "ordinal", parseSummary);
}

const isWhole = ({ language, metadata, only, not }: SessionFilter) =>
  language === null && only === null && not === null && Object.keys(metadata).length === 0;

function listing(database: Database) {
  return {
    countSessions: async (keyId) => {
      const sql = `SELECT count(*) AS n FROM sessions ${keyId === null ? "" : "WHERE key_id = ?"}`;
      return Number(database.sql(sql).get(...(keyId === null ? [] : [keyId]))?.n ?? 0);
    },
    listSessions: async (asked, filter = ALL) =>
      isWhole(filter) ? listWhole(database, asked, filter.keyId) : listFiltered(database, asked, filter),
    listUse: async (after, limit) => database.sql(USE).all(after, limit).map(parseUse),
    listOpenSetups: async () =>
      database
        .sql("SELECT session_id FROM session_setup WHERE is_open = 1")
        .all()
        .map((row) => String(row.session_id)),
    saveListing: async (sessionId, listing) => {
      const sql = "INSERT OR REPLACE INTO listings (session_id, listing) VALUES (?, ?)";
      database.sql(sql).run(sessionId, JSON.stringify(listing));
    },
    findListing: async (sessionId) => {
      const row = database.sql("SELECT listing FROM listings WHERE session_id = ?").get(sessionId);
      return row === undefined ? null : (JSON.parse(String(row.listing)) as StateListing);
    },
  } satisfies Partial<SessionMethods>;
}
