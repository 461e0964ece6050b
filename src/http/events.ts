/**
 * A run as server-sent events. The id of each says how many characters of output there were with it, so that a broken
 * stream goes on from `Last-Event-ID` with GET /api/runs/{run_id}/stream, also after a restart of the server:
 *
 *     id: 21                      event: stdout | stderr          data: {"type", "content", "run_id"}
 *     id: 1800                    event: display                  data: {"type", "result", "clear", "run_id"}
 *     id: 1805                    event: input_requested          data: {"type", "prompt", "run_id"}
 *     id: 1900                    event: warning                  data: {"type", "message", "run_id"}
 *     (last)                      event: done                     data: {"type", "exit_code", "duration", ...}
 *     (instead, if it never ran)  event: error                    data: {"type", "error", "code"}
 */
import { once } from "node:events";
import { PassThrough } from "node:stream";
import type { FastifyReply } from "fastify";
import { AppError } from "../protocol/errors.ts";
import { NO_USAGE } from "../protocol/outcome.ts";
import type { Run } from "../runs/request.ts";
import type { OutputEvent, RunRow } from "../store/store.ts";
import { localText, type Tenant } from "./tenant.ts";
import { truncation, viewUsage } from "./views.ts";

/** A run in progress, or the record of one that has ended. */
type Source = Run | { row: RunRow };

type Writing = {
  tenant: Tenant;
  /** Writes events until there are no more; the signal fires when the reader is gone. */
  write: (stream: PassThrough, signal: AbortSignal) => Promise<void>;
  /** What is told when that fails, unless the failure says it itself. */
  failure: AppError;
};

/** Answers with events. The reader's pace is its own: at most one socket buffer of them waits here. */
export function sendEvents(reply: FastifyReply, writing: Writing): FastifyReply {
  const stream = new PassThrough();
  void writeAll(stream, writing);
  reply.raw.once("pipe", () => reply.raw.flushHeaders()); // there may be none for long
  return reply
    .header("content-type", "text/event-stream; charset=utf-8")
    .header("cache-control", "no-cache")
    .header("x-accel-buffering", "no")
    .send(stream);
}

/** Never rejects. */
async function writeAll(stream: PassThrough, { tenant, write, failure }: Writing): Promise<void> {
  const gone = new AbortController();
  stream.once("close", () => gone.abort());
  try {
    await write(stream, gone.signal);
  } catch (error) {
    if (gone.signal.aborted) return;
    const known = error instanceof AppError ? error : failure;
    const event = { type: "error", error: localText(tenant, known.message), code: known.code };
    await writeEvent(stream, event, gone.signal).catch(() => undefined);
  } finally {
    stream.end();
  }
}

/** A run from a place on, to its end. */
export function sendRun(reply: FastifyReply, source: Source, after: number, tenant: Tenant): FastifyReply {
  reply
    .header("x-run-id", "row" in source ? source.row.runId : source.runId)
    .header("connection", "keep-alive")
    .header("access-control-allow-origin", "*");
  return sendEvents(reply, {
    tenant,
    write: (stream, signal) =>
      "row" in source
        ? writeRecord(stream, source.row, after, signal)
        : writeLive(stream, source, after, signal),
    failure: new AppError("internal", "The run failed to begin"),
  });
}

async function writeLive(stream: PassThrough, run: Run, after: number, signal: AbortSignal): Promise<void> {
  for await (const { end, ...event } of run.log.read(after, signal))
    await writeEvent(stream, { id: end, ...viewEvent(event), run_id: run.runId }, signal);
  await writeDone(stream, (await run.result).row, signal);
}

async function writeRecord(
  stream: PassThrough,
  row: RunRow,
  after: number,
  signal: AbortSignal,
): Promise<void> {
  let end = 0;
  for (const event of row.output) {
    const start = end;
    end += event.leftOut ?? event.text.length;
    if (end <= after || event.leftOut !== undefined) continue;
    const { stream: name } = event;
    const isOutput = name === "stdout" || name === "stderr";
    const text = isOutput ? event.text.slice(Math.max(0, after - start)) : event.text;
    await writeEvent(stream, { id: end, ...viewEvent({ stream: name, text }), run_id: row.runId }, signal);
  }
  if (row.summary === null)
    throw new AppError("run_not_found", "Cannot read the run to its end: it was lost");
  await writeDone(stream, row, signal);
}

/** An event as clients see it. */
function viewEvent({ stream, text }: OutputEvent): { type: string } & Record<string, unknown> {
  if (stream === "warning") return { type: "warning", message: text };
  if (stream === "input") return { type: "input_requested", prompt: text.slice(0, -1) };
  if (stream !== "display") return { type: stream, content: text };
  const { clear = false, ...result } = JSON.parse(text) as { clear?: boolean };
  return { type: "display", clear, result: Object.keys(result).length === 0 ? null : result };
}

async function writeDone(stream: PassThrough, row: RunRow, signal: AbortSignal): Promise<void> {
  const { summary } = row;
  const end = {
    content: "",
    run_id: row.runId,
    exit_code: summary?.outcome.exitCode ?? 1,
    ...viewUsage(summary ?? NO_USAGE),
    outcome: summary?.outcome.kind ?? "lost",
    error: summary?.outcome.error ?? null,
    results: summary?.results ?? [],
    state: summary?.state ?? null,
    ...truncation(summary?.truncated ?? {}),
  };
  await writeEvent(stream, { type: "done", ...end }, signal);
}

type Event = { type: string; id?: number } & Record<string, unknown>;

/** One event; resolves when there is room for the next. Rejects when the signal fires. */
export async function writeEvent(
  stream: PassThrough,
  { id, ...fields }: Event,
  signal: AbortSignal,
): Promise<void> {
  const head = id === undefined ? "" : `id: ${id}\n`;
  const room = stream.write(`${head}event: ${fields.type}\ndata: ${JSON.stringify(fields)}\n\n`);
  if (!room) await once(stream, "drain", { signal });
}
