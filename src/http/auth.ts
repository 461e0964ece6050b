/**
 * Who may use the server: holders of the key; without a key, local programs and pages of this machine. Decided by the
 * route that was matched, not by the address as it was written, and for all routes but those that are named public.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import type { FastifyInstance } from "fastify";
import { isLoopback } from "../config.ts";
import { AppError } from "../protocol/errors.ts";

const PUBLIC_ROUTES = new Set(["/health"]);

export function requireKey(app: FastifyInstance, apiKey: string | undefined): void {
  app.addHook("onRequest", async (request) => {
    if (PUBLIC_ROUTES.has(request.routeOptions.url ?? "")) return;
    if (apiKey === undefined) refuseForeignPage(request.headers.origin, request.headers.host);
    else refuseWithoutKey(request.headers.authorization, apiKey);
  });
}

/**
 * A browser lets any page send requests to this machine. Their `Origin` tells them from the user's own; and a page
 * whose name was made to resolve to this machine says that name as `Host`.
 */
function refuseForeignPage(origin: string | undefined, host: string | undefined): void {
  for (const address of [origin, host === undefined ? undefined : `http://${host}`]) {
    if (address === undefined || (URL.canParse(address) && isLoopback(new URL(address).hostname))) continue;
    throw new AppError(
      "forbidden_origin",
      `Cannot take requests from or to '${address.slice(0, 200)}' without a key`,
    );
  }
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
