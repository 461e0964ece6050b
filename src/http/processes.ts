/** …/processes: programs beside the runs, their output as events, and what is typed into them. */
import { constants } from "node:os";
import { PassThrough } from "node:stream";
import type { FastifyInstance, FastifyReply } from "fastify";
import * as api from "../api/processes.ts";
import { randomBase36 } from "../lib/random-id.ts";
import { WholeText } from "../lib/whole-text.ts";
import { AppError } from "../protocol/errors.ts";
import type { ProgramState } from "../protocol/guest.ts";
import { EXIT_SIGNALLED } from "../protocol/outcome.ts";
import type { SessionPrograms } from "../session/life/session-programs.ts";
import type { SessionRegistry } from "../session/registry.ts";
import type { Store } from "../store/store.ts";
import { writeEvent } from "./events.ts";
import { goneSignal } from "./gone.ts";
import { refuseMoreLive, refuseMoreRuns } from "./key-limits.ts";
import type { KeyRing } from "./key-ring.ts";
import { obtainSession } from "./obtain-session.ts";
import { serve } from "./serve.ts";
import { localText, type Tenant } from "./tenant.ts";

type ProcessRoutes = { registry: SessionRegistry; store: Store; keys: KeyRing };

const TERMINAL = { columns: 80, rows: 24 };

export function addProcesses(app: FastifyInstance, routes: ProcessRoutes): void {
  addStart(app, routes);
  addLooking(app, routes);
  addUse(app, routes);
}

function addStart(app: FastifyInstance, routes: ProcessRoutes): void {
  serve(app, api.startProcess, async ({ params: { id }, body, request }) => {
    refuseMoreRuns(request.tenant, routes, id);
    const { session } = await obtainSession(routes, request.tenant, id, body.language);
    session.setup.refuseIfOpen();
    const { command, argv = ["/bin/bash", "-c", command ?? ""], terminal = false } = body;
    const state = await session.programs.start({
      program: `proc_${randomBase36(16)}`,
      argv,
      cwd: body.cwd ?? "/workspace",
      env: { ...(terminal === false ? {} : { TERM: "xterm-256color" }), ...body.env },
      terminal: terminal === true ? TERMINAL : terminal || null,
      fileBytes: session.resources.limits.fileBytes,
    });
    return viewProcess(state);
  });
}

function addLooking(app: FastifyInstance, { registry }: ProcessRoutes): void {
  serve(app, api.listProcesses, async ({ params: { id }, request: { tenant } }) => {
    const processes = (await (await awake(registry, tenant, id)).list()).map(viewProcess);
    return { processes, count: processes.length };
  });

  serve(app, api.getProcess, async ({ params, query: { wait = 0 }, request, reply }) => {
    const { id, process_id } = params;
    const programs = await awake(registry, request.tenant, id);
    const found = await programs.find(process_id);
    if (wait === 0 || found.ended_at !== null) return viewProcess(found);
    const signal = AbortSignal.any([goneSignal(reply), AbortSignal.timeout(wait * 1000)]);
    await programs.read(process_id, AFTER_ALL, signal).catch((error: unknown) => {
      if (!signal.aborted) throw error;
    });
    return viewProcess(await programs.find(process_id));
  });

  serve(app, api.readProcess, async ({ params: { id, process_id }, query, request, reply }) => {
    const programs = await awake(registry, request.tenant, id);
    const state = await programs.find(process_id);
    const last = Number(request.headers["last-event-id"] ?? Number.NaN);
    const after = Number.isSafeInteger(last) && last >= 0 ? last : (query.after ?? 0);
    return sendOutput(reply, programs, {
      state,
      after,
      follows: query.follow !== "false",
      tenant: request.tenant,
    });
  });
}

function addUse(app: FastifyInstance, { registry }: ProcessRoutes): void {
  serve(
    app,
    api.writeProcess,
    async ({ params: { id, process_id }, body: { text, base64, end = false }, request: { tenant } }) => {
      const content = base64 === undefined ? Buffer.from(text ?? "") : Buffer.from(base64, "base64");
      await (await awake(registry, tenant, id)).input(process_id, content, end);
      return { success: true as const, process_id };
    },
  );

  serve(app, api.signalProcess, async ({ params: { id, process_id }, body, request: { tenant } }) => {
    await (await awake(registry, tenant, id)).signal(process_id, constants.signals[`SIG${body.signal}`]);
    return { success: true as const, process_id };
  });

  serve(app, api.resizeProcess, async ({ params: { id, process_id }, body, request: { tenant } }) => {
    await (await awake(registry, tenant, id)).resize(process_id, body);
    return { success: true as const, process_id };
  });

  serve(app, api.deleteProcess, async ({ params: { id, process_id }, request: { tenant } }) => {
    await (await awake(registry, tenant, id)).forget(process_id);
    return { success: true as const, process_id };
  });
}

/** What runs in a session; one that sleeps may be woken by the question. */
async function awake(registry: SessionRegistry, tenant: Tenant, id: string): Promise<SessionPrograms> {
  const session = await registry.get(id);
  refuseMoreLive(tenant, registry, id);
  return session.programs;
}

/** What comes after all that there may be: its end. */
const AFTER_ALL = Number.MAX_SAFE_INTEGER;

type Reading = { state: ProgramState; after: number; follows: boolean; tenant: Tenant };

/** The reader's pace is its own: what it has not read waits in the sandbox, as far as there is room. */
function sendOutput(reply: FastifyReply, programs: SessionPrograms, reading: Reading): FastifyReply {
  const stream = new PassThrough();
  const gone = new AbortController();
  stream.once("close", () => gone.abort());
  writeOutput(stream, programs, reading, gone.signal)
    .catch((error: unknown) => {
      if (gone.signal.aborted) return undefined;
      const known =
        error instanceof AppError ? error : new AppError("sandbox_failed", "The sandbox has ended");
      const message = localText(reading.tenant, known.message);
      return writeEvent(stream, { type: "error", error: message, code: known.code }, gone.signal);
    })
    .catch(() => undefined)
    .finally(() => stream.end());
  reply.raw.once("pipe", () => reply.raw.flushHeaders()); // a program may be silent for long
  return reply
    .header("content-type", "text/event-stream; charset=utf-8")
    .header("cache-control", "no-cache")
    .header("x-accel-buffering", "no")
    .send(stream);
}

async function writeOutput(
  stream: PassThrough,
  programs: SessionPrograms,
  { state: { program, end }, after, follows }: Reading,
  signal: AbortSignal,
): Promise<void> {
  const texts = new WholeText();
  for (let place = after; follows || place < end; ) {
    const part = await programs.read(program, place, signal);
    if (part.hasEnded) break;
    if (part.at > place && part.stream !== null)
      await writeEvent(
        stream,
        { type: "gap", id: part.at, missed_bytes: part.at - place, place: part.at },
        signal,
      );
    place = part.at + part.content.length;
    if (part.stream === null) continue;
    const content = texts.take(part.stream, part.content, part.at);
    const told = texts.placeBefore(place);
    if (content !== "")
      await writeEvent(stream, { type: part.stream, id: told, content, place: told }, signal);
  }
  for (const [type, content] of texts.rest()) await writeEvent(stream, { type, content, place: end }, signal);
  const state = viewProcess(await programs.find(program));
  if (state.status === "ended") await writeEvent(stream, { type: "exit", process: state }, signal);
}

export function viewProcess(state: ProgramState): api.ProcessAnswer {
  const moment = (seconds: number) => new Date(seconds * 1000).toISOString();
  return {
    process_id: state.program,
    command: state.argv,
    pid: state.pid,
    terminal: state.terminal,
    status: state.ended_at === null ? "running" : "ended",
    started_at: moment(state.started_at),
    ended_at: state.ended_at === null ? null : moment(state.ended_at),
    exit_code: state.signal === null ? state.exit_code : EXIT_SIGNALLED + state.signal,
    output_from: state.first,
    output_to: state.end,
  };
}
