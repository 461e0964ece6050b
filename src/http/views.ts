/** Sessions, runs and outcomes as clients see them: the contract's field names. */

import type { RunResultAnswer, SessionAnswer, SessionStateAnswer } from "../api/answers.ts";
import type { FileEntry } from "../files/walk.ts";
import { formatGoDuration } from "../lib/duration.ts";
import type { SnapshotSupport } from "../live/host.ts";
import type { StateListing } from "../protocol/guest.ts";
import type { Language } from "../protocol/languages.ts";
import { NO_USAGE, type RunUsage } from "../protocol/outcome.ts";
import type { OneShotResult } from "../runs/one-shot.ts";
import { DEFAULT_TIMEOUT_MS, type RunResult } from "../runs/request.ts";
import { lifeOf } from "../session/expiry.ts";
import type { SessionLimits } from "../session/life/memory.ts";
import type { SessionView } from "../session/records.ts";
import type {
  Dropped,
  EgressTotals,
  JsonObject,
  OutputEvent,
  RunAsked,
  RunRow,
  RunSummary,
  RunTotals,
  SessionSummary,
  SetupRow,
} from "../store/store.ts";

const MIB = 1 << 20;

export type FileCounts = { files: number; bytes: number };

/** What was left out, if anything was. */
export const truncation = (dropped: Dropped) =>
  Object.values(dropped).every((amount) => amount === undefined) ? {} : { truncated: dropped };
const viewWarnings = (output: readonly OutputEvent[]) => {
  const warnings = output.filter(({ stream }) => stream === "warning").map(({ text }) => text);
  return warnings.length === 0 ? {} : { warnings };
};
const textOf = (output: readonly OutputEvent[], stream: OutputEvent["stream"]) =>
  output
    .filter((event) => event.stream === stream)
    .map((event) => event.text)
    .join("");

/** What is known of a session besides its record. */
type Around = {
  state: string;
  memoryBytes: number | null;
  /** Milliseconds after which the server deletes one that does not say so itself; null for never. */
  expireMs: number | null;
};

/** The row of a list. */
export function viewSessionRow(row: Readonly<SessionSummary>, counts: FileCounts, around: Around) {
  return {
    id: row.id,
    session_id: row.id,
    created_at: row.createdAt,
    last_run_at: row.lastRunAt,
    language: row.language,
    persistent: row.persistent,
    file_count: counts.files,
    total_size_bytes: counts.bytes,
    metadata: row.metadata,
    status: statusOf(around.state),
    memory_bytes: around.memoryBytes,
    variables_bytes: row.saved.bytes,
    ...lifeOf(row, around.expireMs),
  };
}

/** Standing still is for a moment, and for nobody to see. */
const statusOf = (state: string) => (state === "frozen" ? "idle" : state) as SessionAnswer["status"];

export function viewSession(row: SessionView, counts: FileCounts, around: Around) {
  return {
    ...viewSessionRow(row, counts, around),
    data: row.data,
    allowInternetAccess: row.allowInternetAccess,
    allow_internet_access: row.allowInternetAccess,
    allowPublicAccess: row.allowPublicAccess,
    allow_public_access: row.allowPublicAccess,
    durability: row.durability,
    imaging: row.imaging,
    ...(row.setup === null ? {} : viewSetup(row.setup)),
    ...(row.defaultTimeout === null ? {} : { default_timeout: row.defaultTimeout }),
    ...(row.memoryMib === null ? {} : { memory_mib: row.memoryMib }),
    ...(row.cpuCount === null ? {} : { cpu_count: row.cpuCount }),
    ...(row.diskMib === null ? {} : { disk_mib: row.diskMib }),
    ...(row.expiresAfter === null ? {} : { expires_after: row.expiresAfter }),
    ...(row.branchedFrom === undefined ? {} : { branched_from: viewBranch(row.branchedFrom) }),
  };
}

const viewBranch = ({ id, version }: { id: string; version: number }) => ({ session_id: id, version });

/** What a session may use: its own where it has some, else the server's. */
export function viewLimits({ defaultTimeout }: SessionView, limits: SessionLimits) {
  const mib = (bytes: number) => Math.floor(bytes / MIB);
  return {
    timeout: defaultTimeout ?? DEFAULT_TIMEOUT_MS / 1000,
    memory_mib: mib(limits.memoryBytes),
    cpu_count: limits.cpus,
    processes: limits.pids,
    disk_mib: mib(limits.fileBytes),
    state_mib: mib(limits.stateBytes),
  };
}

/** What it uses. Memory is what its programs hold now: null while it sleeps, or where the host does not count it. */
export function viewUse({ saved, snapshot }: SessionView, files: FileCounts, memoryBytes: number | null) {
  return {
    memory_bytes: memoryBytes,
    files_bytes: files.bytes,
    files: files.files,
    variables_bytes: saved.bytes,
    snapshot_bytes: snapshot?.bytes ?? 0,
  };
}

/** What its runs have taken together, and what it has asked of the internet. */
export function viewTotals({ runs, elapsedUs, cpuTimeUs, peakBytes }: RunTotals, egress: EgressTotals) {
  return {
    runs,
    execution_time_ms: elapsedUs / 1000,
    cpu_time_ms: cpuTimeUs / 1000,
    memory_peak_bytes: peakBytes,
    connections: egress.connections,
    refused_connections: egress.refused,
    bytes_sent: egress.sentBytes,
    bytes_received: egress.receivedBytes,
  };
}

/** Values of the variables that only its commands get are not shown to anybody. */
export function viewSetup({ request, status, result }: SetupRow) {
  const names = Object.keys(request.envs ?? {});
  const envs =
    request.envs === undefined ? {} : { envs: Object.fromEntries(names.map((name) => [name, "***"])) };
  return {
    setup: { ...request, ...envs },
    setup_status: status,
    ...(result === null ? {} : { setup_result: result }),
  };
}

/** What there is of a session's variables; `state` of the session says whether its sandbox lives. */
export function viewState(row: SessionView, state: string, support: SnapshotSupport): SessionStateAnswer {
  const { version, saved, leftOut, imaging, snapshot, snapshotLost, hibernatedAt } = row;
  const asleep = version === 0 ? "new" : "hibernated";
  return {
    kind: state === "cold" || state === "ending" ? asleep : "live",
    version,
    saved_version: saved.savedVersion,
    bytes: saved.bytes,
    not_kept: saved.notKept,
    left_out: leftOut,
    save_failure: saved.failure,
    rolled_back: saved.rolledBack,
    hibernated_at: hibernatedAt,
    imaging: {
      mode: imaging,
      ...support,
      /** The processes as they went to sleep. */
      image:
        snapshot === null
          ? null
          : { bytes: snapshot.bytes, took_ms: snapshot.tookMs, version: snapshot.version },
      lost: snapshotLost,
    },
  };
}

export function viewVersion(saved: StateListing["versions"][number]) {
  return {
    version: saved.version,
    run_id: saved.run === "" ? null : saved.run,
    saved_at: new Date(saved.at).toISOString(),
    changed: saved.changed,
    bytes_written: saved.written,
    bytes: saved.bytes,
  };
}

export const viewFile = (file: FileEntry) => ({
  path: file.path,
  size: file.sizeBytes,
  modified_at: file.modifiedAt.toISOString(),
});

export function viewRunResult({
  row,
  log,
  data,
}: Pick<RunResult, "row" | "data"> & { log: RunTexts }): RunResultAnswer {
  const summary = row.summary;
  return {
    exit_code: summary?.outcome.exitCode ?? 1,
    stdout: log.text("stdout"),
    stderr: log.text("stderr"),
    ...viewUsage(summary ?? NO_USAGE),
    session_id: row.sessionId,
    run_id: row.runId,
    data,
    files_modified: summary?.filesModified ?? null,
    ...(summary?.filesChanged === undefined ? {} : { files_changed: [...summary.filesChanged] }),
    ...viewWarnings(log.events),
    outcome: summary?.outcome.kind ?? "lost",
    error: summary?.outcome.error ?? null,
    results: summary?.results ?? [],
    state: summary?.state ?? null,
    ...viewLeftOut(summary),
    ...(summary?.output_lost ? { output_lost: true as const } : {}),
    ...truncation(summary?.truncated ?? {}),
  };
}

/** Results that were too large to be kept in the record. */
const viewLeftOut = (summary: RunSummary | null) =>
  summary?.resultsLeftOut === undefined ? {} : { results_left_out: summary.resultsLeftOut };

/** Null: it has not ended. */
export function viewUsage(usage: RunUsage | null) {
  return {
    duration: usage === null ? null : formatGoDuration(usage.elapsedUs),
    execution_time_ms: usage === null ? null : usage.elapsedUs / 1000,
    // Not in records of before these were counted.
    cpu_time_ms: usage?.cpuTimeUs == null ? null : usage.cpuTimeUs / 1000,
    memory_peak_bytes: usage?.memoryPeakBytes ?? null,
  };
}

/** Both streams of a run, whole. */
type RunTexts = { text: (stream: OutputEvent["stream"]) => string; events: readonly OutputEvent[] };

/** The same answer from the record of a run. */
export function viewRecordedResult(row: RunRow, data: JsonObject) {
  return viewRunResult({
    row,
    data,
    log: { text: (stream) => textOf(row.output, stream), events: row.output },
  });
}

/** A run as lists show it. */
export function viewRunRow(row: RunRow, isCurrent: boolean) {
  return {
    run_id: row.runId,
    session_id: row.sessionId,
    number: row.number,
    status: isCurrent ? ("running" as const) : row.state,
    created_at: row.createdAt,
    ended_at: row.endedAt,
    exit_code: row.summary?.outcome.exitCode ?? null,
    outcome: row.summary?.outcome.kind ?? null,
    error: row.summary?.outcome.error ?? null,
    ...viewUsage(row.summary),
  };
}

const viewAsked = (asked: RunAsked | undefined) => ({
  code: asked?.code ?? null,
  code_length: asked?.codeChars ?? null,
  is_shell: asked?.shell ?? null,
  env: [...(asked?.env ?? [])],
  stdin_length: asked?.stdinChars ?? null,
  key_id: asked?.keyId ?? null,
  waited_ms: asked?.waitedMs ?? null,
});

/** The record of a run, with its output. */
export function viewRun(row: RunRow, output: readonly OutputEvent[], isCurrent: boolean) {
  return {
    ...viewRunRow(row, isCurrent),
    stdout: textOf(output, "stdout"),
    stderr: textOf(output, "stderr"),
    ...viewWarnings(output),
    ...(row.summary?.filesChanged === undefined ? {} : { files_changed: [...row.summary.filesChanged] }),
    ...viewAsked(row.summary?.asked),
    late_output: row.lateOutput,
    results: row.summary?.results ?? [],
    ...viewLeftOut(row.summary),
    state: row.summary?.state ?? null,
    ...truncation(row.summary?.truncated ?? {}),
  };
}

export function viewOneShot(result: OneShotResult, language: Language) {
  return {
    exit_code: result.outcome.exitCode,
    stdout: result.stdout,
    stderr: result.stderr,
    ...viewUsage(result.usage),
    language,
    vm_id: result.id,
    session_id: result.id,
    outcome: result.outcome.kind,
    error: result.outcome.error,
    results: result.results,
    ...(result.outputs === null ? {} : viewOutputs(result.outputs)),
    ...truncation(result.truncated),
  };
}

const viewOutputs = ({ files, leftOut, unnamed, isCut }: NonNullable<OneShotResult["outputs"]>) => ({
  files: files.map(({ path, sizeBytes, content }) => ({
    path,
    size: sizeBytes,
    content: content.toString("base64"),
  })),
  files_left_out: leftOut.map(({ path, sizeBytes }) => ({ path, size: sizeBytes })),
  ...(unnamed === 0 ? {} : { files_unnamed_count: unnamed }),
  ...(isCut ? { files_cut: true as const } : {}),
});
