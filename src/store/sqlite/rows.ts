/** Rows of the database, and what they stand for. Pure. */
import type { FolderPlace, SessionPlace, Snapshot } from "../places.ts";
import { partsOf } from "../session-parts.ts";
import type {
  JsonObject,
  OutputEvent,
  Page,
  RunRow,
  RunSummary,
  SessionProgress,
  SessionRow,
  SessionSettings,
  SessionSummary,
  SetupRow,
  StoredCode,
} from "../store.ts";

type Row = Record<string, unknown>;

const MAX_SUMMARY_CHARS = 1 << 20;

/** Large results are for who ran the program: a record keeps them only while they are small. */
export function encodeSummary(summary: RunSummary): string {
  const whole = JSON.stringify(summary);
  if (whole.length <= MAX_SUMMARY_CHARS) return whole;
  return JSON.stringify({ ...summary, results: [], resultsLeftOut: summary.results.length });
}

const withoutDisplayed = (event: OutputEvent): OutputEvent =>
  event.stream === "display" ? { stream: "display", text: "", leftOut: event.text.length } : event;

/** What was displayed goes as its results do: see encodeSummary(). */
export function encodeOutput(output: readonly OutputEvent[]): string {
  const chars = output.reduce((sum, { stream, text }) => sum + (stream === "display" ? text.length : 0), 0);
  return JSON.stringify(chars <= MAX_SUMMARY_CHARS ? output : output.map(withoutDisplayed));
}

export function page<T>(rows: Row[], limit: number, key: string, parse: (row: Row) => T): Page<T> {
  const shown = rows.slice(0, limit);
  const last = shown.at(-1);
  return {
    items: shown.map(parse),
    cursor: rows.length > limit && last !== undefined ? String(last[key]) : null,
  };
}

const parse = <T>(text: unknown): T => JSON.parse(String(text)) as T;
const parseOr = <T>(text: unknown, none: T): T => (text === null ? none : parse<T>(text));

/** What the settings of a session that an older version has stored do not have. */
const LATER_SETTINGS = { diskMib: null, expiresAfter: null };

export const parseSummary = (row: Row): SessionSummary => ({
  ...LATER_SETTINGS,
  ...parse<SessionSettings>(row.settings),
  ...parse<SessionProgress>(row.progress),
});

export const parseSession = (row: Row): SessionRow => ({
  ...parseSummary(row),
  data: parseOr<JsonObject>(row.data, {}),
  code: parseOr<StoredCode | null>(row.code, null),
  setup: parseOr<SetupRow | null>(row.setup, null),
});

/** The parts of a session as they are stored. */
export function encodeParts(row: SessionRow): { settings: string; progress: string } {
  const { settings, progress } = partsOf(row);
  return { settings: JSON.stringify(settings), progress: JSON.stringify(progress) };
}

export function parsePlace(row: Row): SessionPlace {
  const folder = parseFolder(row);
  return { folder, snapshot: parseOr<Snapshot | null>(row.snapshot, null) };
}

export function parseFolder(row: Row): FolderPlace | null {
  if (row.folder_key === null) return null;
  const place = { key: String(row.folder_key), uid: Number(row.folder_uid) };
  if (row.moved_from_key === null) return place;
  return { ...place, movedFrom: { key: String(row.moved_from_key), uid: Number(row.moved_from_uid) } };
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
