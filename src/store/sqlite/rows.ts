/** Rows of the database, and what they stand for. Pure. */
import type { JsonObject, Page, RunRow, RunSummary, SessionRow } from "../store.ts";

type Row = Record<string, unknown>;

const MAX_SUMMARY_CHARS = 1 << 20;

/** Large results are for who ran the program: a record keeps them only while they are small. */
export function encodeSummary(summary: RunSummary): string {
  const whole = JSON.stringify(summary);
  return whole.length <= MAX_SUMMARY_CHARS ? whole : JSON.stringify({ ...summary, results: [] });
}

export function page<T>(rows: Row[], limit: number, key: string, parse: (row: Row) => T): Page<T> {
  const shown = rows.slice(0, limit);
  const last = shown.at(-1);
  return {
    items: shown.map(parse),
    cursor: rows.length > limit && last !== undefined ? String(last[key]) : null,
  };
}

export function parseSession(row: Row): SessionRow {
  return { ...ADDED_SETTINGS, ...(JSON.parse(String(row.row)) as SessionRow) };
}

/** What rows of an earlier version of the server do not have. */
const ADDED_SETTINGS: Pick<
  SessionRow,
  "durability" | "saved" | "code" | "setup" | "leftOut" | "imaging" | "image" | "imageLost" | "hibernatedAt"
> = {
  imaging: "auto",
  image: null,
  imageLost: null,
  durability: "async",
  saved: { content: 0, savedVersion: 0, bytes: 0, notKept: [], failure: null, rolledBack: null },
  code: null,
  setup: null,
  leftOut: [],
  hibernatedAt: null,
};

export type SessionColumns = [string | null, number | null, number, string, string];

export function columnsOf(row: SessionRow): SessionColumns {
  return [row.folder?.key ?? null, row.folder?.uid ?? null, row.version, JSON.stringify(row), row.id];
}

export function parseRun(row: Row): RunRow {
  return {
    runId: String(row.run_id),
    sessionId: String(row.session_id),
    number: Number(row.number),
    state: String(row.state) as RunRow["state"],
    createdAt: String(row.created_at),
    endedAt: row.ended_at === null ? null : String(row.ended_at),
    summary: row.summary === null ? null : (JSON.parse(String(row.summary)) as RunRow["summary"]),
    output: JSON.parse(String(row.output)) as RunRow["output"],
    lateOutput: String(row.late_output),
    updateData: row.update_data === null ? null : (JSON.parse(String(row.update_data)) as JsonObject),
  };
}
