/** What becomes of a session's variables: …/hibernate, …/rollback, …/duplicate, and a look at what is saved. */
import type { FastifyInstance } from "fastify";
import { duplicateBody, rollbackBody } from "../protocol/http.ts";
import { parseBody } from "./input.ts";
import { type IdParams, parseId, parseResources, type SessionRoutes, view } from "./sessions.ts";
import { viewState, viewVersion } from "./views.ts";

export function addStates(app: FastifyInstance, { registry, idempotency, config }: SessionRoutes): void {
  app.post<IdParams>("/api/sessions/:id/hibernate", async (request) => {
    const session = await registry.get(parseId(request.params.id));
    await session.hibernate();
    return {
      success: true,
      id: session.id,
      state: viewState(session.row, session.state, session.snapshotSupport),
    };
  });

  app.post<IdParams>("/api/sessions/:id/rollback", (request, reply) => {
    const id = parseId(request.params.id);
    const { version } = parseBody(rollbackBody, request.body);
    return idempotency.reply(request, reply, {
      scope: id,
      work: async () => {
        const session = await registry.get(id);
        await session.rollback(version);
        const state = viewState(session.row, session.state, session.snapshotSupport);
        return { status: 200, body: { success: true, id, rolled_back_to: version, state } };
      },
    });
  });

  app.post<IdParams>("/api/sessions/:id/duplicate", (request, reply) => {
    const id = parseId(request.params.id);
    const body = parseBody(duplicateBody, request.body ?? {});
    const newId = body.new_id ?? body.id;
    return idempotency.reply(request, reply, {
      scope: id,
      work: async () => {
        const copy = await registry.duplicate(id, {
          id: newId === undefined ? null : parseId(newId),
          data: body.data ?? null,
          version: body.version ?? null,
          resources: parseResources(body, config),
        });
        return { status: 201, body: { ...(await view(copy)), source_session_id: id } };
      },
    });
  });

  app.get<IdParams>("/api/sessions/:id/versions", async (request) => {
    const session = await registry.get(parseId(request.params.id));
    const versions = (await session.listing()).versions.map(viewVersion);
    return { versions, count: versions.length };
  });

  app.get<IdParams>("/api/sessions/:id/variables", async (request) => {
    const session = await registry.get(parseId(request.params.id));
    const { variables, not_kept } = await session.listing();
    const kept = variables.map((variable) => ({ ...variable, survives: true }));
    const lost = not_kept.map(({ name, type, reason }) => ({ name, type, survives: false, reason }));
    return { variables: [...kept, ...lost], count: kept.length + lost.length };
  });
}
