/** …/setup: how the installation of a session's packages goes, and its end before time. */
import type { FastifyInstance } from "fastify";
import { AppError } from "../protocol/errors.ts";
import type { SessionRegistry } from "../session/registry.ts";
import type { Session } from "../session/session.ts";
import { type IdParams, parseId } from "./sessions.ts";
import { viewSetup } from "./views.ts";

export function addSetup(app: FastifyInstance, registry: SessionRegistry): void {
  app.get<IdParams>("/api/sessions/:id/setup", async (request) => {
    const session = await registry.get(parseId(request.params.id));
    return viewProgress(session);
  });

  app.post<IdParams>("/api/sessions/:id/setup/cancel", async (request) => {
    const session = await registry.get(parseId(request.params.id));
    const cancelled = session.setup.cancel();
    return { success: true, cancelled, ...viewProgress(session) };
  });
}

function viewProgress({ row, setup }: Session) {
  if (row.setup === null)
    throw new AppError("no_setup", `Cannot find a setup of the session '${row.id}': it was made without one`);
  return { ...viewSetup(row.setup), progress: setup.progress };
}
