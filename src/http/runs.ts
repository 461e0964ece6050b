/** POST …/run and …/stream, POST …/interrupt, and runs as records that can be read again. */
import type { FastifyInstance, FastifyRequest } from "fastify";
import { timeoutMsOf } from "../api/fields.ts";
import * as api from "../api/runs.ts";
import { AppError } from "../protocol/errors.ts";
import { type Language, languageEntry } from "../protocol/languages.ts";
import { RUN_DEFAULTS, type RunRequest } from "../runs/request.ts";
import type { SessionRegistry } from "../session/registry.ts";
import type { Session } from "../session/session.ts";
import type { Store } from "../store/store.ts";
import { sendRun } from "./events.ts";
import type { Idempotency, IdempotencyKey } from "./idempotency.ts";
import { refuseMoreLive } from "./key-limits.ts";
import type { KeyRing } from "./key-ring.ts";
import { obtainSession } from "./obtain-session.ts";
import { serve, serveOnce } from "./serve.ts";
import { viewRecordedResult, viewRun, viewRunResult, viewRunRow } from "./views.ts";

type RunRoutes = { registry: SessionRegistry; store: Store; idempotency: Idempotency; keys: KeyRing };

const DEFAULT_LIMIT = 100;
const EVENT_ID = /^\d{1,9}$/;

export function addRuns(app: FastifyInstance, routes: RunRoutes): void {
  addStarting(app, routes);
  addInput(app, routes);
  addRecords(app, routes);
}

function addStarting(app: FastifyInstance, routes: RunRoutes): void {
  const { registry, store, idempotency } = routes;
  serveOnce(app, idempotency, api.runCode, ({ params: { id }, body, request }) => ({
    scope: id,
    work: async (key) => {
      const { run, created } = await begin(routes, { id, body, request, key });
      const result = viewRunResult(await run.result);
      return created ? { ...result, created } : result;
    },
    ofRun: (runId) => answerOf(registry, store, id, runId),
  }));

  serveOnce(app, idempotency, api.runShell, ({ params: { id }, body: { command, ...body }, request }) => ({
    scope: id,
    work: async (key) => {
      const { run, created } = await beginCommand(routes, { id, body: { command, ...body }, request, key });
      const result = viewRunResult(await run.result);
      return created ? { ...result, created } : result;
    },
    ofRun: (runId) => answerOf(registry, store, id, runId),
  }));

  serve(app, api.streamRun, async ({ params: { id }, body, request, reply }) => {
    const gone = new AbortController();
    const { session, run } =
      body.command === undefined
        ? await begin(routes, { id, body, request, gone: gone.signal })
        : await beginCommand(routes, { id, body, request, gone: gone.signal });
    if (body.cancel_on_disconnect) {
      reply.raw.once("close", () => {
        gone.abort();
        session.interrupt(run.runId); // false when it has ended
      });
    }
    return sendRun(reply, run, 0, request.tenant);
  });

  serve(app, api.interruptRun, async ({ params }) => {
    const session = await registry.get(params.id);
    const runId = session.setup.isOpen ? null : session.currentRun; // …/setup/cancel ends a setup
    return { success: true as const, interrupted: runId !== null && session.interrupt(runId) ? runId : null };
  });
}

function addRecords(app: FastifyInstance, routes: RunRoutes): void {
  const { registry, store } = routes;
  serve(app, api.listRuns, async ({ params, query: { limit, cursor } }) => {
    const session = await registry.get(params.id);
    const page = await store.listRuns(session.id, {
      limit: limit ?? DEFAULT_LIMIT,
      cursor: cursor ?? null,
    });
    const runs = page.items.map((row) => viewRunRow(row, session.currentRun === row.runId));
    const removed = await store.countRemovedRuns(session.id);
    return { runs, count: runs.length, removed_count: removed, next_cursor: page.cursor };
  });

  serve(app, api.getRun, async ({ params, request }) => {
    const { row, run, isCurrent } = await findRun(routes, request, params.run_id);
    return viewRun(row, run?.log.events ?? row.output, isCurrent);
  });

  serve(app, api.followRun, async ({ params, request, reply }) => {
    const { row, run } = await followRun(routes, request, params.run_id);
    const last = String(request.headers["last-event-id"] ?? "0");
    if (!EVENT_ID.test(last))
      throw new AppError("invalid_request", "Cannot use the header 'Last-Event-ID': it is not a number");
    return sendRun(reply, run ?? { row }, Number(last), request.tenant);
  });
}

function addInput(app: FastifyInstance, routes: RunRoutes): void {
  serve(app, api.giveInput, async ({ params: { run_id: id }, body: { text = "", end = false }, request }) => {
    const { row } = await findRun(routes, request, id);
    const session = await routes.registry.get(row.sessionId);
    if (!session.giveInput(id, text, end))
      throw new AppError("not_interactive", `Cannot give input to the run '${id}': it does not wait for any`);
    return { success: true as const, run_id: id };
  });
}

/** The answer of a run that was begun with a key: when it has ended, also if another server had begun it. */
async function answerOf(registry: SessionRegistry, store: Store, id: string, runId: string) {
  const session = await registry.get(id);
  await session.settled();
  await session.runs.find(runId)?.result.catch(() => undefined);
  const row = await store.findRun(runId);
  if (row === null) return null;
  if (row.state !== "done")
    throw new AppError(
      "run_lost",
      `Cannot tell how the run '${runId}' ended: the server ended before it did`,
    );
  return viewRecordedResult(row, session.row.data);
}

type Begin = {
  id: string;
  body: api.RunBody & { command?: string | undefined };
  request: FastifyRequest;
  key?: IdempotencyKey | null;
  gone?: AbortSignal | null;
};

async function begin(routes: RunRoutes, { id, body, request, key = null, gone = null }: Begin) {
  refuseMoreLive(request.tenant, routes.registry, id);
  const refuse = (language: Language) => refuseOptions(body, language);
  const wanted = { id, language: body.language, refuse, mayBeNew: body.code !== undefined };
  const { session, created } = await obtainSession(routes, request.tenant, wanted);
  const asked = { ...askedOf(body, request, key), gone, code: body.code ?? storedCode(session) };
  routes.keys.countRun(request.tenant);
  return { session, run: session.start(asked), created };
}

async function beginCommand(routes: RunRoutes, { id, body, request, key = null, gone = null }: Begin) {
  const { command = "", code, language, check } = body;
  if (code !== undefined || check !== undefined)
    throw new AppError("invalid_request", "Cannot run a program and a command: 'command' stands alone");
  refuseMoreLive(request.tenant, routes.registry, id);
  const { session, created } = await obtainSession(routes, request.tenant, { id, language });
  routes.keys.countRun(request.tenant);
  const run = session.start({ ...askedOf(body, request, key), gone, code: command, shell: true });
  return { session, run, created };
}

function askedOf(
  body: Omit<api.RunBody, "code" | "language">,
  request: FastifyRequest,
  idempotency: IdempotencyKey | null,
): Omit<RunRequest, "code"> {
  return {
    ...RUN_DEFAULTS,
    ...(body.check === undefined ? {} : { check: body.check }),
    timeoutMs: timeoutMsOf(body),
    env: { ...body.envs, ...body.env },
    ...(body.stdin === undefined ? {} : { stdin: body.stdin }),
    ...(body.interactive === undefined ? {} : { isInteractive: body.interactive }),
    ...(body.update_data === undefined ? {} : { updateData: body.update_data }),
    ...(body.wait_setup === undefined ? {} : { waitForSetup: body.wait_setup }),
    ...(body.durability === undefined ? {} : { durability: body.durability }),
    idempotency,
    keyId: request.tenant.keyId,
    baseUrl: `${request.protocol}://${request.host}`,
  };
}

function refuseOptions({ check, interactive }: api.RunBody, language: Language): void {
  refuseWrongCheck(check, language);
  refuseInteraction(interactive, language);
}

export function refuseWrongCheck(check: boolean | undefined, language: Language): void {
  if (!check || languageEntry(language).hasTypes) return;
  throw new AppError("invalid_request", `Cannot check types of '${language}': it has none`);
}

function refuseInteraction(isInteractive: boolean | undefined, language: Language): void {
  if (!isInteractive || languageEntry(language).isInteractive) return;
  throw new AppError(
    "invalid_request",
    `Cannot use 'interactive': programs of '${language}' take no input while they run`,
    { hint: "Send all of it before, in the field 'stdin'" },
  );
}

function storedCode({ row }: Session): string {
  if (row.code !== null) return row.code.code;
  throw new AppError("no_code", "Cannot run: code is required, in the request or stored in the session");
}

/** Runs of others are not there for a key. */
async function findRun({ registry, store }: RunRoutes, { tenant }: FastifyRequest, runId: string) {
  const row = await store.findRun(runId);
  if (row === null || !row.sessionId.startsWith(tenant.prefix))
    throw new AppError("run_not_found", `Cannot find the run ${JSON.stringify(runId.slice(0, 80))}`, {
      hint: "A session keeps its newest records only: ERA_KEEP_RUNS and ERA_RECORDS_MIB say how many",
    });
  const session = await registry.find(row.sessionId);
  return { row, run: session?.runs.find(runId) ?? null, isCurrent: session?.currentRun === runId };
}

/** Also one that goes on since before this server: its sandbox may not have been taken over yet. */
async function followRun(routes: RunRoutes, request: FastifyRequest, runId: string) {
  const found = await findRun(routes, request, runId);
  if (found.run !== null || found.row.state !== "queued") return found;
  const session = await routes.registry.get(found.row.sessionId);
  const run = await session.runs.heard(runId, session.settled());
  return run === null ? await findRun(routes, request, runId) : { ...found, run };
}
