/** Who may use the API: holders of the key; without a key, local programs and pages, but no page of another origin. */
import { createHash, timingSafeEqual } from "node:crypto";
import type { FastifyInstance } from "fastify";
import { AppError } from "../protocol/errors.ts";

const PROTECTED = /^\/(api|mcp)(\/|$)/;
const LOCAL_HOSTS = new Set(["localhost", "127.0.0.1", "[::1]"]);

export function requireKey(app: FastifyInstance, apiKey: string | undefined): void {
  app.addHook("onRequest", async (request) => {
    if (!PROTECTED.test(request.url)) return;
    if (apiKey === undefined) refuseForeignPage(request.headers.origin, request.headers.host);
    else refuseWithoutKey(request.headers.authorization, apiKey);
  });
}

/** A browser lets any page send requests to this machine; only their `origin` tells them from the user's own. */
function refuseForeignPage(origin: string | undefined, host: string | undefined): void {
  if (origin === undefined) return;
  const from = URL.canParse(origin) ? new URL(origin) : null;
  if (from !== null && (from.host === host || LOCAL_HOSTS.has(from.hostname))) return;
  throw new AppError("forbidden_origin", `Cannot take requests of pages from '${origin.slice(0, 200)}'`);
}

function refuseWithoutKey(header: string | undefined, apiKey: string): void {
  const given = header?.match(/^Bearer +(\S+) *$/i)?.[1];
  if (given === undefined || !equal(given, apiKey)) {
    throw new AppError(
      "unauthorized",
      given === undefined ? "Cannot go on without a key" : "Cannot go on: the key is wrong",
    );
  }
}

function equal(a: string, b: string): boolean {
  const digest = (text: string) => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(a), digest(b));
}
