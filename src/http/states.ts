/** What becomes of a session's variables: …/hibernate, …/rollback, …/duplicate, and a look at what is saved. */
import type { FastifyInstance } from "fastify";
import { duplicateSession } from "../api/sessions.ts";
import * as api from "../api/states.ts";
import { refuseMoreSessions } from "./key-limits.ts";
import { awakeSession } from "./obtain-session.ts";
import { serve, serveOnce } from "./serve.ts";
import { nameFor, parseResources, type SessionRoutes, view } from "./sessions.ts";
import { viewState, viewVersion } from "./views.ts";

export function addStates(
  app: FastifyInstance,
  { registry, store, idempotency, config }: SessionRoutes,
): void {
  serve(app, api.hibernateSession, async ({ params }) => {
    const session = await registry.get(params.id);
    await session.hibernate();
    return {
      success: true as const,
      id: session.id,
      state: viewState(session.row, session.state, session.snapshotSupport),
    };
  });

  serveOnce(app, idempotency, api.rollbackSession, ({ params: { id }, body: { version }, request }) => ({
    scope: id,
    work: async () => {
      const session = await awakeSession(registry, request.tenant, id);
      await session.rollback(version);
      const state = viewState(session.row, session.state, session.snapshotSupport);
      return { success: true as const, id, rolled_back_to: version, state };
    },
  }));

  serveOnce(app, idempotency, duplicateSession, ({ params: { id }, body, request: { tenant } }) => {
    const newId = body.new_id ?? body.id;
    return {
      scope: id,
      work: async () => {
        await refuseMoreSessions(tenant, store);
        const copy = await registry.duplicate(id, {
          id: newId === undefined ? null : nameFor(tenant, newId),
          data: body.data ?? null,
          version: body.version ?? null,
          resources: parseResources(body, config),
        });
        return { ...(await view(copy)), source_session_id: id };
      },
    };
  });

  serve(app, api.listVersions, async ({ params }) => {
    const session = await registry.get(params.id);
    const versions = (await session.listing()).versions.map(viewVersion);
    return { versions, count: versions.length };
  });

  serve(app, api.listVariables, async ({ params }) => {
    const session = await registry.get(params.id);
    const { variables, not_kept } = await session.listing();
    const kept = variables.map((variable) => ({ ...variable, survives: true as const }));
    const lost = not_kept.map(({ name, type, reason }) => ({ name, type, survives: false as const, reason }));
    return { variables: [...kept, ...lost], count: kept.length + lost.length };
  });
}
