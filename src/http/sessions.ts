/** /api/sessions and /api/sessions/{id}: create, list, look at, change, delete. */
import type { FastifyInstance } from "fastify";
import type { z } from "zod";
import type { SessionAnswer } from "../api/answers.ts";
import { PARAMS } from "../api/params.ts";
import * as api from "../api/sessions.ts";
import type { Config } from "../config.ts";
import { countFiles, type ListOptions, listFiles } from "../files/list.ts";
import { AppError } from "../protocol/errors.ts";
import { parseLanguage } from "../protocol/languages.ts";
import { isServerName } from "../protocol/session-names.ts";
import { deleteAllSessions } from "../session/delete-all.ts";
import { type CreateRequest, DEFAULTS, newSessionId } from "../session/new-row.ts";
import type { SessionRegistry } from "../session/registry.ts";
import { NO_RUNS } from "../session/saved/progress.ts";
import type { Session } from "../session/session.ts";
import type { ResourceSettings, SessionFilter, SessionSummary, Store } from "../store/store.ts";
import { goneSignal } from "./gone.ts";
import type { Idempotency } from "./idempotency.ts";
import { refuseInternet, refuseMoreLive, refuseMoreSessions } from "./key-limits.ts";
import { type Asked, serve, serveOnce } from "./serve.ts";
import { forTenant, type Tenant } from "./tenant.ts";
import {
  type FileCounts,
  viewFile,
  viewLimits,
  viewSession,
  viewSessionRow,
  viewState,
  viewTotals,
  viewUse,
} from "./views.ts";

const DEFAULT_LIMIT = 1000;
const MAX_LISTED_FILES = 1000;

export type SessionRoutes = {
  registry: SessionRegistry;
  store: Store;
  idempotency: Idempotency;
  config: Config;
};

export function addSessions(app: FastifyInstance, routes: SessionRoutes): void {
  addCollection(app, routes);
  addOne(app, routes);
}

function addCollection(app: FastifyInstance, { registry, store, idempotency, config }: SessionRoutes): void {
  serveOnce(app, idempotency, api.createSession, ({ body, request: { tenant } }) => {
    const wanted = ownedBy(tenant, parseCreate(body, config));
    refuseInternet(tenant, wanted);
    return {
      scope: "/api/sessions",
      work: async () => {
        await refuseMoreSessions(tenant, store);
        if (wanted.setup !== null) refuseMoreLive(tenant, registry, wanted.id); // which begins at once
        const session = await registry.create(wanted);
        // As it was when the session was made, whatever has begun since.
        const status = wanted.setup === null ? {} : { setup_status: "pending" as const };
        return { ...(await view(session)), ...status };
      },
    };
  });

  serve(app, api.listSessions, async ({ query, request: { tenant } }) => {
    const asked = { limit: query.limit ?? DEFAULT_LIMIT, cursor: query.cursor ?? null };
    const page = await registry.list(asked, filterOf(query, ownerOf(tenant), registry));
    const sessions = [];
    for (const row of page.items) {
      const counts = await countsOf(row, row.fileCounts === null ? await registry.find(row.id) : null);
      sessions.push(viewSessionRow(row, counts, { ...registry.peek(row.id), expireMs: config.expireMs }));
    }
    return { sessions, count: sessions.length, next_cursor: page.cursor };
  });

  const deleteAll = async ({ request: { tenant } }: Asked<typeof api.deleteSessions>) => {
    const ids = await deleteAllSessions(registry, ownerOf(tenant));
    return {
      success: true as const,
      deleted_count: ids.length,
      deleted_sessions: ids,
      deleted_at: new Date().toISOString(),
    };
  };
  serve(app, api.deleteSessions, deleteAll, { preHandler: async ({ url }) => refuseEmptyId(url) });
}

function addOne(app: FastifyInstance, { registry, store, config }: SessionRoutes): void {
  serve(app, api.getSession, async ({ params, reply }) =>
    viewWithFiles(await registry.get(params.id), goneSignal(reply)),
  );

  serve(app, api.getUsage, async ({ params }) => {
    const session = await registry.get(params.id);
    const counts = await countsOf(session.row, session);
    const egress = await store.egressTotals(session.id);
    return {
      id: session.id,
      now: viewUse(session.row, counts, session.resources.memoryBytes),
      total: viewTotals(session.row.totals ?? NO_RUNS, egress),
    };
  });

  serve(app, api.updateSession, async ({ params, body: change, request: { tenant } }) => {
    refuseInternet(tenant, change);
    const session = await registry.get(params.id);
    await session.update({
      ...parseResources(change, config),
      ...(change.default_timeout === undefined ? {} : { defaultTimeout: change.default_timeout }),
      ...(change.expires_after === undefined ? {} : { expiresAfter: change.expires_after }),
      ...(change.allowInternetAccess === undefined
        ? {}
        : { allowInternetAccess: change.allowInternetAccess }),
      ...(change.allowPublicAccess === undefined ? {} : { allowPublicAccess: change.allowPublicAccess }),
      ...(change.metadata === undefined ? {} : { metadata: change.metadata }),
      ...(change.durability === undefined ? {} : { durability: change.durability }),
      ...(change.imaging === undefined ? {} : { imaging: change.imaging }),
    });
    return {
      success: true as const,
      id: session.id,
      metadata: forTenant(tenant, await view(session)),
      updated_at: new Date().toISOString(),
    };
  });

  serve(app, api.deleteSession, async ({ params: { id } }) => {
    await registry.delete(id);
    return { success: true as const, id, deleted: id, deleted_at: new Date().toISOString() };
  });
}

type ListQuery = z.infer<typeof api.listSessions.query>;

function filterOf(query: ListQuery, keyId: string | null, registry: SessionRegistry): SessionFilter {
  const { state, language, metadata } = query;
  const [name, text] = metadata === undefined ? [] : metadata.split(/:(.*)/s, 2);
  const live = state === undefined ? null : registry.liveIds();
  return {
    keyId,
    language: language === undefined ? null : parseLanguage(language),
    metadata: name === undefined || text === undefined ? {} : { [name]: text },
    only: state === "live" ? live : null,
    not: state === "asleep" ? live : null,
  };
}

/** Null: the operator sees all. */
const ownerOf = ({ keyId, prefix }: Tenant) => (prefix === "" ? null : keyId);

/** The server's name of a session that a client names; the operator may use those of others. */
export const nameFor = ({ prefix }: Tenant, text: string): string =>
  prefix === "" && isServerName(text) ? text : `${prefix}${parseId(text)}`;

/** With the server's name of it; one that the client does not name gets a name. */
export const ownedBy = <T extends { id: string | null }>(
  { prefix }: Tenant,
  request: T,
): T & { id: string } => ({
  ...request,
  id: `${prefix}${request.id ?? newSessionId()}`,
});

/** An id that is empty in somebody's script must not delete all. */
function refuseEmptyId(url: string): void {
  if (!/^[^?]*\/(?:\?|$)/.test(url)) return;
  throw new AppError("invalid_session_id", "Cannot delete a session with an empty id", {
    hint: "DELETE /api/sessions, without a slash at its end, deletes all sessions",
  });
}

export function parseId(text: string): string {
  const parsed = PARAMS.id.safeParse(text);
  if (parsed.success) return parsed.data;
  throw new AppError(
    "invalid_session_id",
    `Cannot use ${JSON.stringify(text.slice(0, 140))} as a session's id`,
  );
}

type Amount = number | null | undefined;
type ResourceBody = { memory_mib?: Amount; cpu_count?: Amount; disk_mib?: Amount };

/** Those that are given; null is as the server has it. */
export function parseResources(
  { memory_mib: memoryMib, cpu_count: cpuCount, disk_mib: diskMib }: ResourceBody,
  { maxMemoryMib, maxCpus, maxDiskMib }: Config,
): Partial<Pick<CreateRequest, keyof ResourceSettings>> {
  refuseOverHost("memory_mib", memoryMib, maxMemoryMib);
  refuseOverHost("cpu_count", cpuCount, maxCpus);
  refuseOverHost("disk_mib", diskMib, maxDiskMib);
  return {
    ...(memoryMib === undefined ? {} : { memoryMib }),
    ...(cpuCount === undefined ? {} : { cpuCount }),
    ...(diskMib === undefined ? {} : { diskMib }),
  };
}

function refuseOverHost(name: string, value: Amount, most: number): void {
  if ((value ?? 0) > most)
    throw new AppError("invalid_request", `Cannot use '${name}' ${value}: at most ${most} on this host`);
}

export function parseCreate(body: z.infer<typeof api.createBody>, config: Config): CreateRequest {
  const id = body.session_id ?? body.id;
  return {
    memoryMib: null,
    cpuCount: null,
    diskMib: null,
    ...parseResources(body, config),
    id: id === undefined ? null : parseId(id),
    language: parseLanguage(body.language),
    persistent: body.persistent ?? DEFAULTS.persistent,
    metadata: body.metadata ?? null,
    data: body.data ?? null,
    allowInternetAccess: body.allowInternetAccess ?? DEFAULTS.allowInternetAccess,
    allowPublicAccess: body.allowPublicAccess ?? DEFAULTS.allowPublicAccess,
    defaultTimeout: body.default_timeout || null,
    expiresAfter: body.expires_after ?? null,
    durability: body.durability ?? DEFAULTS.durability,
    imaging: body.imaging ?? DEFAULTS.imaging,
    setup: body.setup ?? null,
  };
}

/** As it is answered when it was made or changed: its files as the last run or change left them. */
export async function view(session: Session): Promise<SessionAnswer> {
  return viewCounted(session, await countsOf(session.row, session));
}

/** The same with its files as they are now, some of them listed. */
async function viewWithFiles(session: Session, signal: AbortSignal) {
  const { files, count, totalBytes } = await filesOf(session, { maxListed: MAX_LISTED_FILES, signal });
  return { ...viewCounted(session, { files: count, bytes: totalBytes }), files: files.map(viewFile) };
}

const viewCounted = (
  { row, state, snapshotSupport, resources }: Session,
  counts: FileCounts,
): SessionAnswer => ({
  ...viewSession(row, counts, { state, ...resources }),
  limits: viewLimits(row, resources.limits),
  usage: viewUse(row, counts, resources.memoryBytes),
  state: viewState(row, state, snapshotSupport),
});

/** All its files counted, and some of them listed. */
export async function filesOf(session: Session, options: ListOptions) {
  using held = await session.holdFolder();
  return held.folder === null ? EMPTY : await listFiles(held.folder.workspace, options);
}

const EMPTY = { files: [], count: 0, totalBytes: 0, unnamed: 0 };

/** As the last run left them; counted now where a run leaves too many to count. */
async function countsOf(row: Readonly<SessionSummary>, session: Session | null): Promise<FileCounts> {
  if (row.fileCounts !== null) return row.fileCounts;
  if (session === null) return { files: 0, bytes: 0 };
  using held = await session.holdFolder();
  return held.folder === null ? { files: 0, bytes: 0 } : await countFiles(held.folder.workspace);
}
