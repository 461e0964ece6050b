/**
 * Who may use the server: holders of a key; where the operator has none, local programs and pages of this machine, too.
 * Decided by the operation that was matched, not by the address as it was written, and for whatever does not say that
 * it is public.
 */
import type { IncomingHttpHeaders } from "node:http";
import type { FastifyInstance } from "fastify";
import { isLoopback } from "../config.ts";
import { AppError } from "../protocol/errors.ts";
import type { KeyRing } from "./key-ring.ts";
import { mayDo, OPERATOR, type Tenant } from "./tenant.ts";

/** A name or address, of an origin or a Host header, with or without a port. */
const ADDRESS = /^(?:https?:\/\/)?(\[[0-9a-f:]+\]|[a-z0-9.-]+)(?::\d+)?$/i;

declare module "fastify" {
  interface FastifyContextConfig {
    /** No operation of the API, and open to everybody. */
    isPublic?: boolean;
    /** What the log and the metrics call a route that is no operation. */
    label?: string;
  }
}

/** `origins`: of pages that the operator has named. */
export type Rules = { hasOperatorKey: boolean; origins: readonly string[] };

export function requireKey(app: FastifyInstance, keys: KeyRing, rules: Rules): void {
  app.decorateRequest("tenant");
  app.addHook("onRequest", async (request) => {
    const { operation, isPublic } = request.routeOptions.config;
    if (isPublic || operation?.scope === "none") {
      request.tenant = OPERATOR; // what is public names no session of anybody's
      return;
    }
    request.tenant = tenantOf(request.headers, keys, rules);
    if (operation === undefined || mayDo(request.tenant, operation.scope)) return;
    throw new AppError(
      "scope_missing",
      `Cannot do this with a key of the scope '${request.tenant.scope}': it needs '${operation.scope}'`,
    );
  });
}

/** Whose request it is, by its headers. Throws for nobody's. */
export function tenantOf(
  headers: IncomingHttpHeaders,
  keys: KeyRing,
  { hasOperatorKey, origins }: Rules,
): Tenant {
  const given = headers.authorization?.match(/^Bearer +(\S+) *$/i)?.[1];
  const tenant = given === undefined ? null : keys.find(given);
  if (tenant !== null) return tenant;
  if (hasOperatorKey || given?.startsWith("era_k"))
    throw new AppError(
      "unauthorized",
      given === undefined ? "Cannot go on without a key" : "Cannot go on: the key is wrong",
    );
  const isNamed = headers.origin !== undefined && origins.includes(headers.origin);
  refuseForeignPage(isNamed ? undefined : headers.origin, headers.host);
  return OPERATOR;
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
