/** …/variables/{name}, …/difference, …/undo and …/redo. */
import type { FastifyInstance, FastifyRequest } from "fastify";
import { z } from "zod";
import * as api from "../api/variables.ts";
import { AppError } from "../protocol/errors.ts";
import { RUN_DEFAULTS } from "../runs/request.ts";
import { parseResults } from "../runs/rich-values.ts";
import type { SessionRegistry } from "../session/registry.ts";
import { deletingProgram, readingProgram, settingProgram } from "../session/saved/values.ts";
import type { Session } from "../session/session.ts";
import type { KeyRing } from "./key-ring.ts";
import { awakeSession } from "./obtain-session.ts";
import { serve } from "./serve.ts";
import { viewState } from "./views.ts";

export function addVariables(app: FastifyInstance, registry: SessionRegistry, keys: KeyRing): void {
  const awake = ({ tenant }: FastifyRequest, id: string) => awakeSession(registry, tenant, id);
  serve(app, api.getVariable, async ({ params: { id, name }, query, request, reply }) => {
    const session = await awake(request, id);
    const { form = "json", from = null, count = null } = query;
    const code = readingProgram(session.row.language, { name, form, from, count });
    session.setup.refuseIfOpen();
    const { frame, results } = await session.onVariables((live) => live.ask(code));
    if (frame.error !== null) throw refusalOf(frame.error, name);
    return reply.type("application/json; charset=utf-8").send(answerOf(name, form, parseResults(results)[0]));
  });

  serve(app, api.setVariable, async ({ params: { id, name }, body, request }) => {
    const session = await awake(request, id);
    keys.countRun(request.tenant);
    return change(session, name, settingProgram(session.row.language, name, body.value), request);
  });

  serve(app, api.deleteVariable, async ({ params: { id, name }, request }) => {
    const session = await awake(request, id);
    keys.countRun(request.tenant);
    return change(session, name, deletingProgram(session.row.language, name), request);
  });

  serve(app, api.compareVersions, async ({ params: { id }, query: { from, to }, request }) => {
    const session = await awake(request, id);
    return { from, to, ...(await session.onVariables((live) => live.compare(from, to))) };
  });

  for (const operation of [api.undo, api.redo])
    serve(app, operation, async ({ params: { id }, request }) => {
      const session = await awake(request, id);
      const isUndo = operation.id === "undo";
      const version = await session.onVariables((live) => (isUndo ? live.undo() : live.redo()));
      const state = viewState(session.row, session.state, session.snapshotSupport);
      return { success: true as const, id, rolled_back_to: version, state };
    });
}

const about = z.object({
  type: z.string().max(1_024),
  length: z.int().nonnegative().nullable(),
  shape: z.array(z.int().nonnegative()).max(64).nullable(),
});

/**
 * What a guest says of a value: nothing of it is taken as it is. JSON is passed on as it was written, after a look
 * whether it is any: to read and write it would change numbers.
 */
function answerOf(
  name: string,
  form: api.ValueForm,
  result: { text: string; json?: string | undefined } | undefined,
): string {
  try {
    const { text = "", json = "" } = result ?? {};
    if (form === "json") JSON.parse(text);
    const value = form === "json" ? text : JSON.stringify(text);
    return `${JSON.stringify({ name, form, ...about.parse(JSON.parse(json)) }).slice(0, -1)},"value":${value}}`;
  } catch (cause) {
    throw new AppError("no_such_form", "Cannot read the value: its program answered something else", {
      cause,
    });
  }
}

function refusalOf({ name: error, message }: { name: string; message: string }, name: string): AppError {
  if (error === "NoSuchVariable" || error === "NameError" || error === "ReferenceError")
    return new AppError("variable_not_found", `Cannot find the variable '${name}'`);
  return new AppError("no_such_form", `Cannot read the variable '${name}': ${message || error}`);
}

/** A run like any other: with its record, and a version of the variables. */
async function change(session: Session, name: string, code: string, request: FastifyRequest) {
  const run = session.start({
    ...RUN_DEFAULTS,
    code,
    waitForSetup: false,
    keyId: request.tenant.keyId,
    baseUrl: `${request.protocol}://${request.host}`,
  });
  const { row } = await run.result;
  const { summary } = row;
  if (summary?.outcome.kind !== "ok") {
    const { error = null } = summary?.outcome ?? {};
    if (error?.name === "NameError" || summary?.outcome.exitCode === 1)
      throw new AppError(
        "variable_not_found",
        `Cannot change the variable '${name}': ${error?.message ?? "there is none"}`,
      );
    throw new AppError(
      "save_failed",
      `Cannot change the variable '${name}': ${error?.message ?? "its run failed"}`,
    );
  }
  return { success: true as const, name, run_id: row.runId, version: summary.state.version };
}
