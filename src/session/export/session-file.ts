/**
 * What an export has besides the files: `meta/session.json`, how the session is, and `meta/runs.jsonl`, its records,
 * one a line. docs/export-format.md describes them. Both are hostile on their way in.
 */
import { z } from "zod";
import { codeBody } from "../../api/code.ts";
import { createBody } from "../../api/sessions.ts";
import { guestError, lostItem, richResults } from "../../protocol/guest.ts";
import { localName } from "../../protocol/session-names.ts";
import type { RunRow } from "../../store/store.ts";
import type { SessionView } from "../records.ts";

export const FORMAT = "era-session";
export const FORMAT_VERSION = 1;
const MAX_TEXT = 64;

/** Far below what numbers can be, so that they can go on to be counted up. */
const MAX_NUMBER = 2 ** 48;
const number = z.int().min(0).max(MAX_NUMBER);
const count = z.int().min(0).max(Number.MAX_SAFE_INTEGER);
const moment = z.iso.datetime().max(MAX_TEXT);
const { id: _id, setup: _setup, ...settings } = createBody.shape;
const reason = z.string().max(2048);
const rolledBack = z.strictObject({ version: count, reason }).nullable();
const notKept = z.array(lostItem).max(200);

export const sessionFile = z.strictObject({
  format: z.literal(FORMAT),
  format_version: z.literal(FORMAT_VERSION),
  exported_at: moment,
  /** As POST /api/sessions takes it. */
  session: z.strictObject({ ...settings, session_id: z.string() }),
  created_at: moment,
  /** Empty before the first run has ended. */
  last_run_at: z.union([moment, z.literal("")]),
  code: codeBody.extend({ updated_at: moment }).nullable(),
  /** Number of runs that have ended, and what is saved of the variables. */
  version: number,
  saved: z.strictObject({
    content: number,
    saved_version: number,
    bytes: count,
    not_kept: notKept,
    failure: reason.nullable(),
    rolled_back: rolledBack,
  }),
  /** Files that look like secrets, and are not in the export. */
  left_out: z.array(z.string()).max(10_000),
});
export type SessionFile = z.infer<typeof sessionFile>;

const outcome = z.strictObject({
  kind: z.enum([
    ...(["ok", "raised", "exited", "signalled", "timed_out", "out_of_memory", "disk_full"] as const),
    ...(["interrupted", "lost"] as const),
  ]),
  exitCode: z.int().min(0).max(255),
  error: guestError.nullable(),
});
const summary = z.strictObject({
  elapsedUs: count,
  cpuTimeUs: count.nullish().transform((value) => value ?? null),
  memoryPeakBytes: count.nullish().transform((value) => value ?? null),
  outcome,
  truncated: z.strictObject({
    stdout: count.optional(),
    stderr: count.optional(),
    results: count.optional(),
  }),
  filesModified: count.nullable(),
  results: richResults,
  resultsLeftOut: count.optional(),
  state: z.strictObject({
    version: count,
    saved_version: count,
    rolled_back: rolledBack,
    save_failure: reason.optional(),
    image_lost: reason.optional(),
    not_kept: notKept,
  }),
  asked: z
    .strictObject({
      code: z.string(),
      codeChars: count,
      shell: z.boolean(),
      env: z.array(z.string()).max(100),
      stdinChars: count.nullable(),
      keyId: z.string().max(MAX_TEXT).nullable(),
      waitedMs: z.number().min(0),
    })
    .optional(),
  filesChanged: z.array(z.string()).max(100).optional(),
  output_lost: z.literal(true).optional(),
});
const runLine = z.strictObject({
  run_id: z.string().regex(/^run_[a-z0-9]{1,40}$/),
  number: number.min(1),
  state: z.enum(["done", "lost"]),
  created_at: moment,
  ended_at: moment.nullable(),
  summary: summary.nullable(),
  output: z.custom<RunRow["output"]>(isOutput, "it is a list of texts, each with its stream"),
  late_output: z.string(),
});

/** By hand: there may be a million of them, each of a character. */
function isOutput(value: unknown): boolean {
  return Array.isArray(value) && value.every(isOutputEvent);
}

const EVENTS = new Set<unknown>(["stdout", "stderr", "display", "input", "warning"]);

function isOutputEvent(event: unknown): boolean {
  if (typeof event !== "object" || event === null) return false;
  const { stream, text, ...more } = event as Record<string, unknown>;
  const { leftOut = null, ...unknown } = more;
  const isText = typeof text === "string" && (text !== "" || stream === "display") && EVENTS.has(stream);
  return isText && (leftOut === null || Number.isSafeInteger(leftOut)) && Object.keys(unknown).length === 0;
}

export const encodeSession = (view: SessionView, leftOut: readonly string[]): string =>
  JSON.stringify(sessionFileOf(view, leftOut), null, 2);

export function sessionFileOf(view: SessionView, leftOut: readonly string[]): SessionFile {
  const { saved, code } = view;
  return {
    format: FORMAT,
    format_version: FORMAT_VERSION,
    exported_at: new Date().toISOString(),
    session: {
      session_id: localName(view.id),
      language: view.language,
      persistent: view.persistent,
      metadata: view.metadata,
      data: view.data,
      allowInternetAccess: view.allowInternetAccess as SessionFile["session"]["allowInternetAccess"],
      allowPublicAccess: view.allowPublicAccess,
      default_timeout: view.defaultTimeout,
      memory_mib: view.memoryMib,
      cpu_count: view.cpuCount,
      disk_mib: view.diskMib,
      expires_after: view.expiresAfter,
      durability: view.durability,
      imaging: view.imaging,
    },
    created_at: view.createdAt,
    last_run_at: view.lastRunAt,
    code:
      code === null ? null : { code: code.code, description: code.description, updated_at: code.updatedAt },
    version: view.version,
    saved: {
      content: saved.content,
      saved_version: saved.savedVersion,
      bytes: saved.bytes,
      not_kept: saved.notKept,
      failure: saved.failure,
      rolled_back: saved.rolledBack,
    },
    left_out: [...leftOut],
  };
}

export function encodeRun(run: RunRow): string {
  const { runId: run_id, createdAt: created_at, endedAt: ended_at, lateOutput: late_output } = run;
  const { number, state, summary, output } = run;
  return `${JSON.stringify({ run_id, number, state, created_at, ended_at, summary, output, late_output })}\n`;
}

/** What of a session is not a client's to choose. Its variables are looked at when it wakes. */
export function importedFrom({ created_at, last_run_at, code, version, saved, left_out }: SessionFile) {
  return {
    createdAt: created_at,
    lastRunAt: last_run_at,
    code: code && { code: code.code, description: code.description ?? "", updatedAt: code.updated_at },
    version,
    saved: {
      content: saved.content,
      savedVersion: saved.saved_version,
      bytes: saved.bytes,
      notKept: saved.not_kept,
      failure: saved.failure,
      rolledBack: saved.rolled_back,
    },
    fileCounts: null,
    leftOut: left_out,
    hibernatedAt: version === 0 ? null : new Date().toISOString(),
  };
}

/** Throws what Zod throws. */
export function parseRunLine(line: string, sessionId: string): RunRow {
  const { run_id, created_at, ended_at, late_output, ...run } = runLine.parse(JSON.parse(line));
  if (run.summary?.asked !== undefined) run.summary.asked.keyId = null; // a key of another server, or of another holder
  const renamed = { runId: run_id, createdAt: created_at, endedAt: ended_at, lateOutput: late_output };
  return { ...run, ...renamed, sessionId, updateData: null } as RunRow;
}
