/**
 * Whose request it is. A key names its own sessions: what its holder calls `a` is `kXXXX.a` for the server, so that
 * names of different keys never meet, and no name leads to another's session. The operator, and keys of `admin`, use
 * the server's own names.
 */
import type { ApiKey, KeyLimits, KeyScope } from "../store/store.ts";

export type Tenant = {
  /** Null: the operator. */
  keyId: string | null;
  scope: KeyScope;
  limits: KeyLimits | null;
  /** What the server's names of its sessions begin with. */
  prefix: string;
};

declare module "fastify" {
  interface FastifyRequest {
    tenant: Tenant;
  }
}

export const OPERATOR: Tenant = { keyId: null, scope: "admin", limits: null, prefix: "" };

export const tenantOf = ({ id, scope, limits }: ApiKey): Tenant => ({
  keyId: id,
  scope,
  limits,
  prefix: scope === "admin" ? "" : `${id}.`,
});

const SCOPES: readonly string[] = ["none", "read", "run", "admin"];

export const mayDo = ({ scope }: Tenant, needed: string): boolean =>
  SCOPES.indexOf(scope) >= SCOPES.indexOf(needed);

/** Fields of an answer that name a session, and lists of such answers. */
const NAMES = ["id", "session_id", "source_session_id", "deleted"];
const LISTS = ["sessions", "runs"];

/** An answer with the names that its reader has for sessions. */
export function forTenant<T>(tenant: Tenant, answer: T): T {
  if (tenant.prefix === "" || typeof answer !== "object" || answer === null) return answer;
  const shown = { ...answer } as Record<string, unknown>;
  for (const name of NAMES)
    if (typeof shown[name] === "string") shown[name] = withoutPrefix(tenant, shown[name]);
  for (const name of LISTS)
    if (Array.isArray(shown[name])) shown[name] = shown[name].map((item) => forTenant(tenant, item));
  if (shown.branched_from !== undefined) shown.branched_from = forTenant(tenant, shown.branched_from);
  if (Array.isArray(shown.deleted_sessions))
    shown.deleted_sessions = shown.deleted_sessions.map((id) => withoutPrefix(tenant, String(id)));
  return shown as T;
}

/** A sentence with the names that its reader has for sessions. */
export const localText = ({ prefix }: Tenant, text: string): string =>
  prefix === "" ? text : text.replaceAll(prefix, "");

const withoutPrefix = ({ prefix }: Tenant, id: string) =>
  id.startsWith(prefix) ? id.slice(prefix.length) : id;
