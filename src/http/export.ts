/** …/export and …/import: a session as one file, and a session from one. */
import type { Readable } from "node:stream";
import type { FastifyInstance } from "fastify";
import type { z } from "zod";
import { exportSession, importSession } from "../api/export.ts";
import type { createBody } from "../api/sessions.ts";
import { localName } from "../protocol/session-names.ts";
import { refuseInternet, refuseMoreSessions } from "./key-limits.ts";
import { type Asked, serve } from "./serve.ts";
import { nameFor, ownedBy, parseCreate, type SessionRoutes, view } from "./sessions.ts";
import { acceptStreams, receive, STALLED_MS, UPLOAD } from "./uploads.ts";

/** The tag of an earlier export, without its quotes. */
const markIn = (header: string | undefined): string | null =>
  /^"([0-9a-f]{64})"$/.exec(header ?? "")?.[1] ?? null;

export function addExport(app: FastifyInstance, { registry, store, config }: SessionRoutes): void {
  serve(app, exportSession, async ({ params: { id }, request, reply }) => {
    const exported = await registry.export(id, markIn(request.headers["if-none-match"]));
    if (exported === null) return reply.status(304).send();
    const { stream, mark } = exported;
    if (mark !== null) reply.header("etag", `"${mark}"`);
    const name = `${localName(id).replaceAll(":", "_")}.era.tar`;
    reply.raw.setTimeout(STALLED_MS, () => reply.raw.destroy()); // a copy is held for who reads it
    reply.header("content-disposition", `attachment; filename="${name}"`).type("application/x-tar");
    return reply.send(stream);
  });

  acceptStreams(app, (uploads) => {
    const take = async ({ query: { session_id }, request }: Asked<typeof importSession>) => {
      const { tenant } = request;
      const id = session_id === undefined ? null : nameFor(tenant, session_id);
      await refuseMoreSessions(tenant, store);
      const read = (asked: z.infer<typeof createBody>) => {
        const wanted = ownedBy(tenant, parseCreate(asked, config));
        refuseInternet(tenant, wanted);
        return wanted;
      };
      const { session, file } = await receive(request, (body: Readable) =>
        registry.import(body, { id, read }),
      );
      const imported = { session_id: file.session.session_id, exported_at: file.exported_at };
      return { ...(await view(session)), imported_from: imported, left_out: file.left_out };
    };
    serve(uploads, importSession, take, UPLOAD);
  });
}
