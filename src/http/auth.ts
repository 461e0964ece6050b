/**
 * Who may use the server: holders of the key; without a key, local programs and pages of this machine. Decided by the
 * operation that was matched, not by the address as it was written, and for whatever does not say that it is public.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import type { FastifyInstance } from "fastify";
import { isLoopback } from "../config.ts";
import { AppError } from "../protocol/errors.ts";

/** A name or address, of an origin or a Host header, with or without a port. */
const ADDRESS = /^(?:https?:\/\/)?(\[[0-9a-f:]+\]|[a-z0-9.-]+)(?::\d+)?$/i;

declare module "fastify" {
  interface FastifyContextConfig {
    /** No operation of the API, and open to everybody. */
    isPublic?: boolean;
  }
}

export function requireKey(app: FastifyInstance, apiKey: string | undefined): void {
  app.addHook("onRequest", async (request) => {
    const { operation, isPublic } = request.routeOptions.config;
    if (isPublic || operation?.scope === "none") return;
    if (apiKey === undefined) refuseForeignPage(request.headers.origin, request.headers.host);
    else refuseWithoutKey(request.headers.authorization, apiKey);
  });
}

/**
 * A browser lets any page send requests to this machine. Their `Origin` tells them from the user's own; and a page
 * whose name was made to resolve to this machine says that name as `Host`.
 */
function refuseForeignPage(origin: string | undefined, host: string | undefined): void {
  for (const address of [origin, host]) {
    const name = address === undefined ? undefined : ADDRESS.exec(address)?.[1];
    if (address === undefined || (name !== undefined && isLoopback(name.toLowerCase()))) continue;
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
