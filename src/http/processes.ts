/** …/processes: programs beside the runs, their output as events, and what is typed into them. */
import { constants } from "node:os";
import type { PassThrough } from "node:stream";
import type { FastifyInstance } from "fastify";
import * as api from "../api/processes.ts";
import { randomBase36 } from "../lib/random-id.ts";
import { WholeText } from "../lib/whole-text.ts";
import { AppError } from "../protocol/errors.ts";
import type { ProgramState } from "../protocol/guest.ts";
import { EXIT_SIGNALLED } from "../protocol/outcome.ts";
import type { SessionPrograms } from "../session/life/session-programs.ts";
import type { SessionRegistry } from "../session/registry.ts";
import type { Store } from "../store/store.ts";
import { sendEvents, writeEvent } from "./events.ts";
import { goneSignal } from "./gone.ts";
import { refuseMoreLive } from "./key-limits.ts";
import type { KeyRing } from "./key-ring.ts";
import { awakeSession, obtainSession } from "./obtain-session.ts";
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
    refuseMoreLive(request.tenant, routes.registry, id);
    const { session } = await obtainSession(routes, request.tenant, { id, language: body.language });
    session.setup.refuseIfOpen();
    routes.keys.countRun(request.tenant);
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
    const processes = (await (await awakeSession(registry, tenant, id)).programs.list()).map(viewProcess);
    return { processes, count: processes.length };
  });

  serve(app, api.getProcess, async ({ params, query: { wait = 0 }, request, reply }) => {
    const { id, process_id } = params;
    const { programs } = await awakeSession(registry, request.tenant, id);
    const found = await programs.find(process_id);
    if (wait === 0 || found.ended_at !== null) return viewProcess(found);
    const signal = AbortSignal.any([goneSignal(reply), AbortSignal.timeout(wait * 1000)]);
    await programs.ended(process_id, signal).catch((error: unknown) => {
      if (!signal.aborted) throw error;
    });
    return viewProcess(await programs.find(process_id));
  });

  serve(app, api.readProcess, async ({ params: { id, process_id }, query, request, reply }) => {
    const { programs } = await awakeSession(registry, request.tenant, id);
    const state = await programs.find(process_id);
    const last = Number(request.headers["last-event-id"] ?? Number.NaN);
    const after = Number.isSafeInteger(last) && last >= 0 ? last : (query.after ?? 0);
    const reading = { state, after, follows: query.follow !== "false" };
    return sendEvents(reply, {
      tenant: request.tenant,
      write: (stream, signal) => writeOutput(stream, programs, reading, signal),
      failure: new AppError("sandbox_failed", "The sandbox has ended"),
    });
  });
}

function addUse(app: FastifyInstance, { registry }: ProcessRoutes): void {
  serve(
    app,
    api.writeProcess,
    async ({ params: { id, process_id }, body: { text, base64, end = false }, request: { tenant } }) => {
      const content = base64 === undefined ? Buffer.from(text ?? "") : Buffer.from(base64, "base64");
      await (await awakeSession(registry, tenant, id)).programs.input(process_id, content, end);
      return { success: true as const, process_id };
    },
  );

  serve(app, api.signalProcess, async ({ params: { id, process_id }, body, request: { tenant } }) => {
    await (await awakeSession(registry, tenant, id)).programs.signal(
      process_id,
      constants.signals[`SIG${body.signal}`],
    );
    return { success: true as const, process_id };
  });

  serve(app, api.resizeProcess, async ({ params: { id, process_id }, body, request: { tenant } }) => {
    await (await awakeSession(registry, tenant, id)).programs.resize(process_id, body);
    return { success: true as const, process_id };
  });

  serve(app, api.deleteProcess, async ({ params: { id, process_id }, request: { tenant } }) => {
    await (await awakeSession(registry, tenant, id)).programs.forget(process_id);
    return { success: true as const, process_id };
  });
}

type Reading = { state: ProgramState; after: number; follows: boolean };

/** What the reader has not read waits in the sandbox, as far as there is room. */
async function writeOutput(
  stream: PassThrough,
  programs: SessionPrograms,
  { state: { program, end }, after, follows }: Reading,
  signal: AbortSignal,
): Promise<void> {
  const texts = new WholeText();
  const tell = (event: { type: string } & Record<string, unknown>, place: number) =>
    writeEvent(stream, { ...event, id: place, place }, signal);
  const isThere = (place: number) => !follows && place >= end;
  for await (const { at, missed, ...part } of isThere(after) ? [] : programs.follow(program, after, signal)) {
    if (missed > 0) await tell({ type: "gap", missed_bytes: missed }, at);
    const place = at + part.content.length;
    const content = texts.take(part.stream, part.content, at);
    if (content !== "") await tell({ type: part.stream, content }, texts.placeBefore(place));
    if (isThere(place)) break;
  }
  const state = viewProcess(await programs.find(program));
  if (state.status === "running") return;
  for (const [type, content] of texts.rest()) await tell({ type, content }, state.output_to);
  await writeEvent(stream, { type: "exit", process: state }, signal);
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
