/** Bodies: JSON whatever the content type says, with a message that points at the place where it is not. */
import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { type ParseError, parseTree, printParseErrorCode } from "jsonc-parser";
import { AppError } from "../protocol/errors.ts";

/** For a body to arrive that is read whole, or that nobody takes; its run may take longer. */
const ARRIVAL_MS = 120_000;

declare module "fastify" {
  interface FastifyContextConfig {
    /** Its body is passed on as it comes, for as long as that takes. */
    isStream?: boolean;
  }
  interface FastifyRequest {
    /** SHA-256 of the body's bytes as they came; null without a body, or where no `Idempotency-Key` asks for it. */
    bodyHash: string | null;
  }
}

export function acceptJsonBodies(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  app.addHook("onRequest", async ({ raw, routeOptions }, reply) => {
    if (routeOptions.config?.isStream) reply.raw.once("finish", () => limitArrival(raw));
    else limitArrival(raw);
  });
  app.decorateRequest("bodyHash", null);
  app.addContentTypeParser(
    "*",
    { parseAs: "buffer" },
    async (request: FastifyRequest, body: string | Buffer) => {
      if (request.headers["idempotency-key"] !== undefined)
        request.bodyHash = createHash("sha256").update(body).digest("hex");
      return parseJson(body);
    },
  );
}

function limitArrival(request: IncomingMessage): void {
  const timer = setTimeout(() => request.complete || request.destroy(), ARRIVAL_MS);
  timer.unref();
  for (const event of ["end", "close"]) request.once(event, () => clearTimeout(timer));
}

function parseJson(body: string | Buffer): unknown {
  let text: string;
  try {
    text = typeof body === "string" ? body : new TextDecoder("utf-8", { fatal: true }).decode(body);
  } catch (cause) {
    throw new AppError("invalid_json", "Cannot read the body: it is not UTF-8", { cause });
  }
  if (text.trim() === "") return {};
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new AppError("invalid_json", describeFault(text), { cause });
  }
}

/** Looking for the place of a fault takes longer than parsing: not done for what no person wrote. */
const MAX_LOCATED_CHARS = 256 << 10;

function describeFault(text: string): string {
  if (text.length > MAX_LOCATED_CHARS) return "Cannot read the body: it is not JSON";
  const errors: ParseError[] = [];
  try {
    parseTree(text, errors, { disallowComments: true, allowTrailingComma: false });
  } catch {
    // nested so deep that the parser gave up: what it found before still counts
  }
  const first = errors[0];
  if (first === undefined) return "Cannot read the body: it is not JSON";
  const before = text.slice(0, first.offset).split("\n");
  const found = text.slice(first.offset, first.offset + 1);
  const what = found === "" ? "the end of the text" : JSON.stringify(found);
  const name = printParseErrorCode(first.error);
  const place = `line ${before.length}, column ${(before.at(-1)?.length ?? 0) + 1}`;
  return `Cannot read the body: it is not JSON at ${place}, at ${what} (${name})`;
}
