/**
 * The sessions of this server by id. Each id has at most one Session object while anybody uses it, or while it has a
 * sandbox or work; a session that sleeps is a row of the store. Creating, claiming and deleting one id take turns.
 */
import type { Readable } from "node:stream";
import { Gate } from "../lib/gate.ts";
import { SerialQueue } from "../lib/serial-queue.ts";
import type { Folder } from "../live/folder.ts";
import { createOwnedFolder, removeFolder } from "../live/owned-folder.ts";
import { removeSnapshot } from "../live/snapshots.ts";
import { AppError } from "../protocol/errors.ts";
import type { Language } from "../protocol/languages.ts";
import type { Cgroup } from "../sandbox/cgroup.ts";
import type { SessionPlace } from "../store/places.ts";
import type {
  JsonObject,
  Page,
  PageRequest,
  ResourceSettings,
  RunRow,
  SessionFilter,
  SessionRow,
  SessionSummary,
} from "../store/store.ts";
import { copyOut, removeCopy } from "./copy-out.ts";
import { endedRuns, exportSession } from "./export/export-session.ts";
import { removeMeta, storeImported, unpackSession } from "./export/import-session.ts";
import { Moves } from "./export/moves.ts";
import { importedFrom, type SessionFile } from "./export/session-file.ts";
import { type CreateRequest, copyOf, DEFAULTS, newSessionId, rowOf, setupOf } from "./new-row.ts";
import { SessionRecords } from "./records.ts";
import { Session, type SessionDependencies } from "./session.ts";

type DuplicateRequest = {
  id: string | null;
  /** Merged over the source's. */
  data: JsonObject | null;
  /** The version of the variables; null means as they are. */
  version: number | null;
  /** Resources that it shall have; those not given are the source's. */
  resources: Partial<ResourceSettings>;
};

type ImportRequest = {
  id: string | null;
  /** What a client could have asked for. */
  read: (session: SessionFile["session"]) => CreateRequest;
};

/** Copies that are being made for exports. */
const COPIES_AT_ONCE = 2;
/** How long runs in progress may take to end by themselves when the server stops, before they are interrupted. */
export const STOP_PATIENCE_MS = 5_000;

export class SessionRegistry {
  readonly #deps: SessionDependencies;
  /** Each session that somebody uses: gone from here when nobody does. */
  readonly #sessions = new Map<string, WeakRef<Session>>();
  readonly #loading = new Map<string, Promise<Session | null>>();
  readonly #turns = new Map<string, SerialQueue>();
  /** Sessions with a sandbox or work: they stay, whoever uses them. */
  readonly #residents = new Set<Session>();
  readonly #forgotten = new FinalizationRegistry<string>((id) => {
    if (this.#sessions.get(id)?.deref() === undefined) this.#sessions.delete(id);
  });
  readonly #moves = new Moves();
  readonly #copies = new Gate(COPIES_AT_ONCE);
  #openRuns: ReadonlyMap<string, RunRow[]> = new Map();
  #stopping = false;

  constructor(deps: SessionDependencies) {
    this.#deps = deps;
  }

  /** Makes a session, or claims the one that a run on this id has made. */
  async create(request: CreateRequest): Promise<Session> {
    this.#refuseIfStopping();
    const id = request.id ?? newSessionId();
    return this.#inTurn(id, async () => {
      const known = await this.find(id);
      const session =
        known === null ? await this.#insert(rowOf(id, request, false)) : await claim(known, request);
      session.beginSetup();
      return session;
    });
  }

  async find(id: string): Promise<Session | null> {
    const known = this.#sessions.get(id)?.deref();
    if (known !== undefined) return known.isDeleted ? null : known;
    let loading = this.#loading.get(id);
    if (loading === undefined) {
      loading = this.#load(id).finally(() => this.#loading.delete(id));
      this.#loading.set(id, loading);
    }
    const session = await loading;
    return session === null || session.isDeleted ? null : session;
  }

  async get(id: string): Promise<Session> {
    const session = await this.find(id);
    if (session === null)
      throw new AppError("session_not_found", `Cannot find the session '${id}'`, { extra: { id } });
    return session;
  }

  /** The session that a run is for: made now if the id is free and the server allows it. */
  async getOrCreate(id: string, language: Language): Promise<{ session: Session; created: boolean }> {
    this.#refuseIfStopping();
    const known = await this.find(id);
    if (known !== null) return { session: known, created: false };
    if (!this.#deps.host.config.autoCreate) return { session: await this.get(id), created: false };
    return this.#inTurn(id, async () => {
      const meanwhile = await this.find(id);
      if (meanwhile !== null) return { session: meanwhile, created: false };
      const request = { ...DEFAULTS, id, language };
      return { session: await this.#insert(rowOf(id, request, true)), created: true };
    });
  }

  /** Sessions that may be live. */
  residents(): Iterable<Session> {
    return this.#residents;
  }

  /** After a start: sessions take over the sandboxes that an earlier server left, and settle their open runs. */
  async takeOver(left: ReadonlyMap<string, Cgroup>): Promise<void> {
    this.#openRuns = await this.#deps.store.listOpenRuns();
    for (const id of new Set([...left.keys(), ...this.#openRuns.keys()])) {
      const session = await this.find(id);
      if (session !== null) void this.#takeOver(session, left.get(id) ?? null);
    }
    this.#openRuns = new Map();
    for (const { id } of await this.#deps.places.listMoves()) await this.#settleFolder(id);
    for (const id of await this.#deps.store.listOpenSetups()) (await this.find(id))?.beginSetup();
  }

  /** What cannot be moved now is when the session is used next. */
  async #settleFolder(id: string): Promise<void> {
    try {
      await (await this.find(id))?.settleFolder();
    } catch (error) {
      this.#deps.host.log.error({ err: error, session: id }, "a session's folder could not be moved");
    }
  }

  /** What cannot be settled now, for want of a slot, is when the session is used next. */
  async #takeOver(session: Session, cgroup: Cgroup | null): Promise<void> {
    try {
      await session.takeOver(cgroup);
      await session.settled();
    } catch (error) {
      const level = error instanceof AppError && error.retryable ? "info" : "error";
      this.#deps.host.log[level]({ err: error, session: session.id }, "a session was not taken over");
    }
  }

  /** A new session that begins as another one is between two runs; from then on they share nothing. */
  async duplicate(sourceId: string, request: DuplicateRequest): Promise<Session> {
    this.#refuseIfStopping();
    const source = await this.get(sourceId);
    const id = request.id ?? `${sourceId}-copy-${Date.now()}`;
    return this.#inTurn(id, async () => {
      if ((await this.find(id)) !== null) throw exists(id);
      const session = await this.#copy(source, id, request);
      try {
        if (request.version !== null) await session.rollback(request.version);
        return session;
      } catch (error) {
        await session.delete();
        throw error;
      }
    });
  }

  async #copy(source: Session, id: string, { data, version, resources }: DuplicateRequest): Promise<Session> {
    const { row, snapshot, leftOut, folder } = await copyOut(this.#deps.host, source);
    try {
      const place = { folder: folder === null ? null : placeOf(folder), snapshot };
      const saved = { sleptWithBytes: source.resources.limits.memoryBytes, ...row.saved };
      return await this.#insert(
        { ...copyOf(row, id, { data, version }), ...resources, saved, leftOut },
        place,
      );
    } catch (error) {
      await removeCopy(this.#deps.host, { snapshot, folder });
      throw error;
    }
  }

  /**
   * The session as it is between two runs, as one stream: see docs/export-format.md. Of one that sleeps, `mark` tells
   * whether it is the same another time: null when it is `unless`.
   */
  async export(id: string, unless: string | null): Promise<{ stream: Readable; mark: string | null } | null> {
    this.#refuseIfStopping();
    const source = await this.get(id);
    source.setup.refuseIfOpen();
    const mark = await source.markAsleep();
    if (mark !== null && mark === unless) return null;
    return { stream: await this.#exportNow(source), mark };
  }

  async #exportNow(source: Session): Promise<Readable> {
    const { host, store } = this.#deps;
    const leave = this.#moves.take();
    let runIds: string[] = [];
    const noteRuns = async () => {
      runIds = await endedRuns(store, source.id);
    };
    try {
      const copy = await this.#copies.run(() => copyOut(host, source, noteRuns));
      const folder = copy.folder ?? (await createOwnedFolder(host));
      try {
        if (copy.snapshot !== null) await removeSnapshot(host, copy.snapshot);
        const { row: view, leftOut } = copy;
        const stream = await exportSession(this.#deps, { folder, view, leftOut, runIds });
        return stream.once("close", leave);
      } catch (error) {
        await removeCopy(host, { snapshot: null, folder });
        throw error;
      }
    } catch (error) {
      leave();
      throw error;
    }
  }

  /** A new session from such a stream; without an id it has that of the one that it was. */
  async import(
    content: Readable,
    { id, read }: ImportRequest,
  ): Promise<{ session: Session; file: SessionFile }> {
    this.#refuseIfStopping();
    const { host } = this.#deps;
    const leave = this.#moves.take();
    try {
      const folder = await createOwnedFolder(host);
      try {
        const { file, runs } = await unpackSession(host, folder, content);
        const request = read(file.session);
        const wanted = id ?? request.id ?? newSessionId();
        const session = await this.#inTurn(wanted, async () => {
          if ((await this.find(wanted)) !== null) throw exists(wanted);
          const row = { ...rowOf(wanted, request, false), ...importedFrom(file) };
          return this.#insert(row, { folder: placeOf(folder), snapshot: null }, runs(wanted));
        });
        await removeMeta(folder).catch((error: unknown) =>
          host.log.warn(
            { err: error, session: session.id },
            "what an import brought besides files was not removed",
          ),
        );
        return { session, file };
      } catch (error) {
        await removeFolder(host, folder);
        throw error;
      }
    } finally {
      leave();
    }
  }

  list(page: PageRequest, filter?: SessionFilter): Promise<Page<SessionSummary>> {
    return this.#deps.store.listSessions(page, filter);
  }

  /** What is known of a session without looking for it. */
  peek(id: string): { state: string; memoryBytes: number | null } {
    const known = this.#sessions.get(id)?.deref();
    return { state: known?.state ?? "cold", memoryBytes: known?.resources.memoryBytes ?? null };
  }

  /** Those that have a sandbox. */
  liveIds(): string[] {
    return [...this.#residents]
      .filter(({ state }) => state !== "cold" && state !== "deleted")
      .map(({ id }) => id);
  }

  /** Whether something goes on in a session, or was asked of it within a time. */
  isInUse(id: string, withinMs: number): boolean {
    const known = this.#sessions.get(id)?.deref();
    if (known === undefined || known.isDeleted) return false;
    return known.state === "running" || known.state === "starting" || known.runs.idleMs < withinMs;
  }

  async delete(id: string): Promise<void> {
    await this.#inTurn(id, async () => {
      const session = await this.get(id);
      await session.delete();
    });
  }

  /** Lets runs in progress end within bounds, then ends every sandbox. New work is refused from now on. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping = true;
    await Promise.allSettled(this.#loading.values());
    const inUse = [...this.#sessions.values()].flatMap((session) => session.deref() ?? []);
    const all = new Set([...this.#residents, ...inUse]);
    const ended = await Promise.allSettled([...all].map((each) => each.shutDown(STOP_PATIENCE_MS)));
    for (const each of ended)
      if (each.status === "rejected")
        this.#deps.host.log.error({ err: each.reason }, "a session was not shut down");
  }

  async #load(id: string): Promise<Session | null> {
    const row = await this.#deps.store.findSession(id);
    if (row === null) return null;
    const place = await this.#deps.places.findPlace(id);
    const open = this.#openRuns.get(id) ?? [];
    const lastNumber = await this.#deps.store.lastRunNumber(id);
    return this.#know(row, place, { lastNumber, open });
  }

  #know(row: SessionRow, place: SessionPlace, runs: { lastNumber: number; open: RunRow[] }): Session {
    const known = this.#sessions.get(row.id)?.deref();
    if (known !== undefined && !known.isDeleted) return known; // somebody was quicker
    const records = new SessionRecords(row, place, this.#deps);
    const session = new Session(records, runs, this.#deps, this.#residents);
    this.#sessions.set(row.id, new WeakRef(session));
    this.#forgotten.register(session, row.id);
    if (this.#stopping) session.shutDown(0).catch(() => undefined); // it comes after all others were
    return session;
  }

  /** Whoever looks for it meanwhile waits until it is there whole. */
  async #insert(
    row: SessionRow,
    place: SessionPlace = NOWHERE,
    runs: AsyncIterable<RunRow> | null = null,
  ): Promise<Session> {
    const inserting = this.#insertNow(row, place, runs);
    const shared = inserting.catch(() => null).finally(() => this.#loading.delete(row.id));
    this.#loading.set(row.id, shared);
    return inserting;
  }

  async #insertNow(
    row: SessionRow,
    place: SessionPlace,
    runs: AsyncIterable<RunRow> | null,
  ): Promise<Session> {
    const { store, places } = this.#deps;
    if (!(await store.insertSession(row))) throw exists(row.id);
    try {
      if (place !== NOWHERE) await places.savePlace(row.id, place);
      for await (const run of runs ?? []) await storeImported(store, run);
      if (runs !== null) await places.savePlace(row.id, place, true); // with it all that came before it
    } catch (error) {
      await store.deleteSession(row.id);
      throw error;
    }
    const lastNumber = runs === null ? 0 : await store.lastRunNumber(row.id);
    return this.#know(row, place, { lastNumber, open: [] });
  }

  async #inTurn<T>(id: string, task: () => Promise<T>): Promise<T> {
    const queue = this.#turns.get(id) ?? new SerialQueue();
    this.#turns.set(id, queue);
    try {
      return await queue.add(task);
    } finally {
      if (queue.length === 0) this.#turns.delete(id);
    }
  }

  #refuseIfStopping(): void {
    if (this.#stopping)
      throw new AppError("shutting_down", "Cannot begin anything new: the server is stopping");
  }
}

async function claim(session: Session, request: CreateRequest): Promise<Session> {
  const { claimable, language } = session.row;
  if (!claimable || language !== request.language) throw exists(session.id);
  const { id: _id, setup, data, metadata, ...settings } = request;
  await session.claim(
    { ...settings, ...(metadata === null ? {} : { metadata }) },
    { setup: setupOf(setup), ...(data === null ? {} : { data }) },
  );
  return session;
}

function exists(id: string): AppError {
  return new AppError("session_exists", `Cannot create the session '${id}': the id is taken`, {
    extra: { id },
  });
}

const NOWHERE: SessionPlace = { folder: null, snapshot: null };
const placeOf = ({ key, uid }: Folder) => ({ key, uid });
