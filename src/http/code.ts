/** …/code: a program that a session keeps, and runs when a request brings none. */
import type { FastifyInstance } from "fastify";
import { AppError } from "../protocol/errors.ts";
import { codeBody } from "../protocol/http.ts";
import type { SessionRegistry } from "../session/registry.ts";
import { parseBody } from "./input.ts";
import { type IdParams, parseId } from "./sessions.ts";

export function addCode(app: FastifyInstance, registry: SessionRegistry): void {
  app.put<IdParams>("/api/sessions/:id/code", async (request) => {
    const session = await registry.get(parseId(request.params.id));
    const { code, description } = parseBody(codeBody, request.body);
    const updatedAt = new Date().toISOString();
    const known = session.row.code;
    await session.storeCode({ code, description: description ?? known?.description ?? "", updatedAt });
    return { success: true, code_length: code.length, updated_at: updatedAt };
  });

  app.get<IdParams>("/api/sessions/:id/code", async (request) => {
    const session = await registry.get(parseId(request.params.id));
    const { code } = session.row;
    if (code === null)
      throw new AppError("no_stored_code", `Cannot find code in the session '${session.id}'`);
    return {
      code: code.code,
      description: code.description,
      updated_at: code.updatedAt,
      code_length: code.code.length,
    };
  });

  app.delete<IdParams>("/api/sessions/:id/code", async (request) => {
    const session = await registry.get(parseId(request.params.id));
    await session.storeCode(null);
    return { success: true, id: session.id };
  });
}
