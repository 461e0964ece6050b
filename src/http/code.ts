/** …/code: a program that a session keeps, and runs when a request brings none. */
import type { FastifyInstance } from "fastify";
import * as api from "../api/code.ts";
import { AppError } from "../protocol/errors.ts";
import type { SessionRegistry } from "../session/registry.ts";
import { serve } from "./serve.ts";

export function addCode(app: FastifyInstance, registry: SessionRegistry): void {
  serve(app, api.storeCode, async ({ params, body: { code, description } }) => {
    const session = await registry.get(params.id);
    const updatedAt = new Date().toISOString();
    const known = session.row.code;
    await session.storeCode({ code, description: description ?? known?.description ?? "", updatedAt });
    return { success: true as const, code_length: code.length, updated_at: updatedAt };
  });

  serve(app, api.getCode, async ({ params }) => {
    const session = await registry.get(params.id);
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

  serve(app, api.deleteCode, async ({ params }) => {
    const session = await registry.get(params.id);
    await session.storeCode(null);
    return { success: true as const, id: session.id };
  });
}
