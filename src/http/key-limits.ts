/** What a key may have: looked at before a session is made, woken, or opened to the internet. */
import type { EgressRule } from "../protocol/egress.ts";
import { AppError } from "../protocol/errors.ts";
import type { SessionRegistry } from "../session/registry.ts";
import type { Store } from "../store/store.ts";
import { type KeyRing, overLimit } from "./key-ring.ts";
import type { Tenant } from "./tenant.ts";

/** A setup has its way to the internet, whatever the session may. */
export function refuseInternet(
  { limits }: Tenant,
  {
    allowInternetAccess: rule = false,
    setup = null,
  }: { allowInternetAccess?: EgressRule | undefined; setup?: unknown },
): void {
  if (limits === null || limits.internet || (rule === false && setup === null)) return;
  throw new AppError("key_forbids", "Cannot allow the internet: the sessions of this key may not reach it");
}

/** Two requests at the same moment may both be let in. */
export async function refuseMoreSessions({ keyId, limits }: Tenant, store: Store): Promise<void> {
  const most = limits?.sessions ?? null;
  if (keyId === null || most === null) return;
  if ((await store.countSessions(keyId)) >= most)
    throw overLimit("sessions", most, "Delete sessions that are no longer needed");
}

/** A session that has a sandbox already may run. */
export function refuseMoreLive({ limits, prefix }: Tenant, registry: SessionRegistry, id: string): void {
  const most = limits?.liveSessions ?? null;
  if (most === null || prefix === "") return;
  const live = [...registry.residents()].filter(
    (each) => each.id.startsWith(prefix) && each.state !== "cold",
  );
  if (live.length >= most && !live.some((each) => each.id === id))
    throw overLimit("live_sessions", most, "Let a session go to sleep: POST /api/sessions/{id}/hibernate");
}

/** What a key may have: one run more in this minute, and in a session that may not be awake yet. */
export function refuseMoreRuns(
  tenant: Tenant,
  { registry, keys }: { registry: SessionRegistry; keys: KeyRing },
  id: string,
) {
  refuseMoreLive(tenant, registry, id);
  keys.countRun(tenant);
}
