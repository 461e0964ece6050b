/**
 * Compares each answer with what its operation declares, for the project's own tests: one that differs is answered as
 * 500, so that no test that looks at it can pass. How many were compared is appended to a file when the server ends.
 */
import { appendFileSync } from "node:fs";
import type { FastifyInstance, FastifyReply } from "fastify";
import { refusal } from "../api/answers.ts";
import { COMMON_ERRORS, isSchema, type Operation } from "../api/operation.ts";
import type { ErrorCode } from "../protocol/errors.ts";

export function checkAnswers(app: FastifyInstance, path: string): void {
  const counts = new Map<string, number>();
  app.addHook("onSend", async (request, reply, payload) => {
    const { operation } = request.routeOptions.config;
    if (operation === undefined) return payload;
    const problem = problemOf(operation, reply, payload);
    if (problem === null) {
      const name = `${operation.id} ${reply.statusCode}`;
      counts.set(name, (counts.get(name) ?? 0) + 1);
      return payload;
    }
    reply.status(500).type("application/json").removeHeader("content-length");
    return JSON.stringify({
      error: `The answer of ${operation.id} is not as declared: ${problem}`,
      code: "internal",
    });
  });
  app.addHook("onClose", async () => {
    for (const [name, count] of counts) appendFileSync(path, `${name} ${count}\n`);
  });
}

/** How an answer differs from its declaration; null when it does not. */
function problemOf({ answers, errors }: Operation, reply: FastifyReply, payload: unknown): string | null {
  const declared = answers[reply.statusCode];
  if (declared === null) return payload ? "it has a body" : null;
  if (declared !== undefined && !isSchema(declared)) return null;
  if (typeof payload !== "string") return `status ${reply.statusCode} without JSON`;
  const body: unknown = JSON.parse(payload);
  const parsed = (declared ?? refusal).safeParse(body);
  if (!parsed.success) return `status ${reply.statusCode}: ${parsed.error.message}`;
  if (declared !== undefined) return null;
  const code = (body as { code: ErrorCode }).code;
  return [...COMMON_ERRORS, ...errors].includes(code) ? null : `it does not declare the refusal '${code}'`;
}
