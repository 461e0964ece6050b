/** …/setup: how the installation of a session's packages goes, and its end before time. */
import type { FastifyInstance } from "fastify";
import * as api from "../api/setup.ts";
import { AppError } from "../protocol/errors.ts";
import type { SessionRegistry } from "../session/registry.ts";
import type { Session } from "../session/session.ts";
import { serve } from "./serve.ts";
import { viewSetup } from "./views.ts";

export function addSetup(app: FastifyInstance, registry: SessionRegistry): void {
  serve(app, api.getSetup, async ({ params }) => {
    const session = await registry.get(params.id);
    return viewProgress(session);
  });

  serve(app, api.cancelSetup, async ({ params }) => {
    const session = await registry.get(params.id);
    const cancelled = session.setup.cancel();
    return { success: true as const, cancelled, ...viewProgress(session) };
  });
}

function viewProgress({ row, setup }: Session) {
  if (row.setup === null)
    throw new AppError("no_setup", `Cannot find a setup of the session '${row.id}': it was made without one`);
  return { ...viewSetup(row.setup), progress: setup.progress };
}
