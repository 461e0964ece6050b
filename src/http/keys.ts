/** /api/keys and /api/audit. */
import type { FastifyInstance, FastifyRequest } from "fastify";
import * as api from "../api/keys.ts";
import type { ApiKey, Store } from "../store/store.ts";
import type { KeyRing } from "./key-ring.ts";
import { serve } from "./serve.ts";

/** Entries of the log; the oldest go. */
const KEEP_AUDIT = 1_000_000;
const DEFAULT_LIMIT = 100;

export function addKeys(app: FastifyInstance, keys: KeyRing, store: Store): void {
  serve(app, api.createKey, async ({ body }) => {
    const limits = {
      sessions: body.sessions ?? null,
      liveSessions: body.live_sessions ?? null,
      runsPerMinute: body.runs_per_minute ?? null,
      internet: body.internet ?? true,
    };
    const { key, text } = await keys.create(body.name, body.scope ?? "run", limits);
    return { ...viewKey(key), key: text };
  });

  serve(app, api.listKeys, async () => {
    const all = keys.all.map(viewKey);
    return { keys: all, count: all.length };
  });

  serve(app, api.deleteKey, async ({ params: { key_id: id } }) => {
    await keys.revoke(id);
    return { success: true as const, id };
  });

  serve(app, api.listAudit, async ({ query: { limit, cursor }, request }) => {
    const { keyId, scope } = request.tenant;
    const asked = { limit: limit ?? DEFAULT_LIMIT, cursor: cursor ?? null };
    const page = await store.listAudit(asked, scope === "admin" ? null : keyId);
    const entries = page.items.map(({ at, keyId: key_id, operation, target, status, requestId }) => ({
      at,
      key_id,
      operation,
      target: target?.startsWith(request.tenant.prefix) ? target.slice(request.tenant.prefix.length) : target,
      status,
      request_id: requestId,
    }));
    return { entries, count: entries.length, next_cursor: page.cursor };
  });
}

/** Nobody has found out who asks: it may have been anybody, as often as they like. */
const isStranger = ({ tenant }: FastifyRequest) =>
  (tenant as FastifyRequest["tenant"] | undefined) === undefined;

/** Each act of a client is in the log before it hears the answer. */
export function audit(app: FastifyInstance, store: Store): void {
  app.addHook("onSend", async (request, reply, payload) => {
    const { operation } = request.routeOptions.config;
    if (operation === undefined || operation.method === "GET" || isStranger(request)) return payload;
    await store.addAudit(
      {
        at: new Date().toISOString(),
        keyId: request.tenant.keyId,
        operation: operation.id,
        target: targetOf(request),
        status: reply.statusCode,
        requestId: request.id,
      },
      KEEP_AUDIT,
    );
    return payload;
  });
}

const MAX_TARGET_CHARS = 200;

function targetOf({ params, query, body, tenant }: FastifyRequest): string | null {
  const { id, run_id, key_id } = (params ?? {}) as Record<string, string | undefined>;
  const named = (body ?? {}) as { session_id?: unknown; id?: unknown };
  const { session_id: imported } = (query ?? {}) as { session_id?: unknown };
  const made = [named.session_id, named.id, imported].find((each) => typeof each === "string");
  const session = id ?? (typeof made === "string" ? made : undefined);
  if (session !== undefined) return `${tenant.prefix}${session}`.slice(0, MAX_TARGET_CHARS);
  return (run_id ?? key_id ?? null)?.slice(0, MAX_TARGET_CHARS) ?? null;
}

const viewKey = ({ id, name, scope, limits, createdAt }: ApiKey) => ({
  id,
  name,
  scope,
  limits: {
    sessions: limits.sessions,
    live_sessions: limits.liveSessions,
    runs_per_minute: limits.runsPerMinute,
    internet: limits.internet,
  },
  created_at: createdAt,
});
