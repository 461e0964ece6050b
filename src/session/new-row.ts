/** How the row of a new session begins: as a client has asked for it, or as a copy of another one. Pure. */
import { randomBase36 } from "../lib/random-id.ts";
import type { JsonObject, SessionRow, SessionSettings, SetupRequest } from "../store/store.ts";
import type { SessionView } from "./records.ts";
import { NO_PROGRESS } from "./saved/progress.ts";

/**
 * What a client may choose of a new session; without an id it gets one, and what is null or not given has a default.
 */
export type CreateRequest = { id: string | null } & Pick<
  SessionSettings,
  | "language"
  | "persistent"
  | "allowInternetAccess"
  | "allowPublicAccess"
  | "defaultTimeout"
  | "expiresAfter"
  | "memoryMib"
  | "cpuCount"
  | "diskMib"
  | "durability"
  | "imaging"
> & { metadata: JsonObject | null; data: JsonObject | null; setup: SetupRequest | null };

export const DEFAULTS: Omit<CreateRequest, "id" | "language"> = {
  persistent: true,
  metadata: null,
  data: null,
  allowInternetAccess: false,
  allowPublicAccess: true,
  defaultTimeout: null,
  expiresAfter: null,
  memoryMib: null,
  cpuCount: null,
  diskMib: null,
  durability: "async",
  imaging: "auto",
  setup: null,
};

export const newSessionId = () => `sess_${Date.now()}_${randomBase36(9)}`;

export function rowOf(id: string, request: CreateRequest, claimable: boolean): SessionRow {
  const { setup, data, metadata, ...settings } = request;
  return {
    ...settings,
    id,
    metadata: metadata ?? {},
    createdAt: new Date().toISOString(),
    claimable,
    ...NO_PROGRESS,
    data: data ?? {},
    code: null,
    setup: setupOf(setup),
  };
}

export const setupOf = (request: SetupRequest | null) =>
  request === null ? null : ({ request, status: "pending", result: null } as const);

export function copyOf(
  { folder: _folder, snapshot: _snapshot, totals: _totals, ...row }: SessionView,
  id: string,
  { data, version }: { data: JsonObject | null; version: number | null },
): SessionRow {
  return {
    ...row,
    branchedFrom: { id: row.id, version: version ?? row.version },
    id,
    createdAt: new Date().toISOString(),
    lastRunAt: "",
    data: { ...row.data, ...data },
    claimable: false,
    hibernatedAt: null,
  };
}
