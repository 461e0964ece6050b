/** …/processes: programs beside the runs, their output as events, and what is typed into them. */
import { constants } from "node:os";
import { PassThrough } from "node:stream";
import type { FastifyInstance, FastifyReply } from "fastify";
import * as api from "../api/processes.ts";
import { randomBase36 } from "../lib/random-id.ts";
import type { ProgramState } from "../protocol/guest.ts";
import { EXIT_SIGNALLED } from "../protocol/outcome.ts";
import type { SessionPrograms } from "../session/life/session-programs.ts";
import type { SessionRegistry } from "../session/registry.ts";
import type { Store } from "../store/store.ts";
import { writeEvent } from "./events.ts";
import { goneSignal } from "./gone.ts";
import { refuseMoreRuns } from "./key-limits.ts";
import type { KeyRing } from "./key-ring.ts";
import { obtainSession } from "./obtain-session.ts";
import { serve } from "./serve.ts";

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
  serve(app, api.listProcesses, async ({ params: { id } }) => {
    const processes = (await (await registry.get(id)).programs.list()).map(viewProcess);
    return { processes, count: processes.length };
  });

  serve(app, api.getProcess, async ({ params: { id, process_id }, query: { wait = 0 }, reply }) => {
    const { programs } = await registry.get(id);
    const found = await programs.find(process_id);
    if (wait === 0 || found.ended_at !== null) return viewProcess(found);
    const signal = AbortSignal.any([goneSignal(reply), AbortSignal.timeout(wait * 1000)]);
    await ended(programs, found, signal).catch((error: unknown) => {
      if (!signal.aborted) throw error;
    });
    return viewProcess(await programs.find(process_id));
  });

  serve(app, api.readProcess, async ({ params: { id, process_id }, query, request, reply }) => {
    const { programs } = await registry.get(id);
    const state = await programs.find(process_id);
    const last = Number(request.headers["last-event-id"] ?? Number.NaN);
    const after = Number.isSafeInteger(last) && last >= 0 ? last : (query.after ?? 0);
    return sendOutput(reply, programs, { state, after, follows: query.follow !== "false" });
  });
}

function addUse(app: FastifyInstance, { registry }: ProcessRoutes): void {
  serve(
    app,
    api.writeProcess,
    async ({ params: { id, process_id }, body: { text, base64, end = false } }) => {
      const content = base64 === undefined ? Buffer.from(text ?? "") : Buffer.from(base64, "base64");
      await (await registry.get(id)).programs.input(process_id, content, end);
      return { success: true as const, process_id };
    },
  );

  serve(app, api.signalProcess, async ({ params: { id, process_id }, body }) => {
    await (await registry.get(id)).programs.signal(process_id, constants.signals[`SIG${body.signal}`]);
    return { success: true as const, process_id };
  });

  serve(app, api.resizeProcess, async ({ params: { id, process_id }, body }) => {
    await (await registry.get(id)).programs.resize(process_id, body);
    return { success: true as const, process_id };
  });

  serve(app, api.deleteProcess, async ({ params: { id, process_id } }) => {
    await (await registry.get(id)).programs.forget(process_id);
    return { success: true as const, process_id };
  });
}

/** Resolves when it has ended: what it prints until then is passed over. */
async function ended(programs: SessionPrograms, { program, end }: ProgramState, signal: AbortSignal) {
  for (let place = end; ; ) {
    const { at, content, hasEnded } = await programs.read(program, place, signal);
    if (hasEnded) return;
    place = at + content.length;
  }
}

type Reading = { state: ProgramState; after: number; follows: boolean };

/** The reader's pace is its own: what it has not read waits in the sandbox, as far as there is room. */
function sendOutput(reply: FastifyReply, programs: SessionPrograms, reading: Reading): FastifyReply {
  const stream = new PassThrough();
  const gone = new AbortController();
  stream.once("close", () => gone.abort());
  writeOutput(stream, programs, reading, gone.signal)
    .catch((error: unknown) => {
      if (gone.signal.aborted) return undefined;
      const message = error instanceof Error ? error.message : String(error);
      return writeEvent(stream, { type: "error", error: message }, gone.signal);
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
  const decoders = new Map<string, InstanceType<typeof TextDecoder>>();
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
    const decoder = decoders.get(part.stream) ?? new TextDecoder();
    decoders.set(part.stream, decoder);
    const content = decoder.decode(part.content, { stream: true });
    if (content !== "") await writeEvent(stream, { type: part.stream, id: place, content, place }, signal);
  }
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
