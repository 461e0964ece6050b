/**
 * The sessions of this server by id. Each id has at most one Session object while anybody uses it; creating, claiming
 * and deleting one id take turns.
 */
import { randomBase36 } from "../lib/random-id.ts";
import { SerialQueue } from "../lib/serial-queue.ts";
import { copyFolder } from "../live/copy-folder.ts";
import { type Folder, leaveOutSecrets } from "../live/folder.ts";
import { createOwnedFolder, removeFolder } from "../live/owned-folder.ts";
import { dropImage } from "../live/snapshots.ts";
import { AppError } from "../protocol/errors.ts";
import type { Language } from "../protocol/language.ts";
import type { Cgroup } from "../sandbox/cgroup.ts";
import type {
  JsonObject,
  Page,
  PageRequest,
  ProcessImage,
  RunRow,
  SessionRow,
  SetupRequest,
} from "../store/store.ts";
import { NOTHING_SAVED } from "./saved/saved-state.ts";
import { Session, type SessionDependencies } from "./session.ts";

/** What a client may choose of a new session; without an id it gets one. */
export type CreateRequest = { id: string | null } & Pick<
  SessionRow,
  | "language"
  | "persistent"
  | "metadata"
  | "data"
  | "allowInternetAccess"
  | "allowPublicAccess"
  | "defaultTimeout"
  | "memoryMib"
  | "cpuCount"
  | "durability"
  | "imaging"
> & { setup: SetupRequest | null };

type DuplicateRequest = {
  id: string | null;
  /** Merged over the source's. */
  data: JsonObject | null;
  /** Of the variables; null means as they are. */
  version: number | null;
};

const DELETE_BATCH = 100;
const DELETE_WIDTH = 8;
/** How long runs in progress may take to end by themselves when the server stops, before they are interrupted. */
export const STOP_PATIENCE_MS = 5_000;

export class SessionRegistry {
  readonly #deps: SessionDependencies;
  readonly #sessions = new Map<string, Promise<Session | null>>();
  readonly #turns = new Map<string, SerialQueue>();
  /** Sessions that exist as objects, and so may have a sandbox. */
  readonly #known = new Set<Session>();
  #openRuns: ReadonlyMap<string, RunRow[]> = new Map();
  #stopping = false;

  constructor(deps: SessionDependencies) {
    this.#deps = deps;
  }

  /** Makes a session, or claims the one that a run on this id has made. */
  async create(request: CreateRequest): Promise<Session> {
    this.#refuseIfStopping();
    const id = request.id ?? newId();
    return this.#inTurn(id, async () => {
      const known = await this.find(id);
      const session =
        known === null ? await this.#insert(rowOf(id, request, false)) : await claim(known, request);
      session.beginSetup();
      return session;
    });
  }

  async find(id: string): Promise<Session | null> {
    let found = this.#sessions.get(id);
    if (found === undefined) {
      found = this.#load(id);
      this.#sessions.set(id, found);
      // Unknown ids are not remembered: anybody can ask for any number of them.
      found.then(
        (session) => session === null && this.#sessions.delete(id),
        () => this.#sessions.delete(id),
      );
    }
    const session = await found;
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
  known(): Iterable<Session> {
    return this.#known;
  }

  /** After a start: sessions take over the sandboxes that an earlier server left, and settle their open runs. */
  async takeOver(left: ReadonlyMap<string, Cgroup>): Promise<void> {
    this.#openRuns = await this.#deps.store.listOpenRuns();
    for (const id of new Set([...left.keys(), ...this.#openRuns.keys()])) {
      const session = await this.find(id);
      if (session !== null) void this.#takeOver(session, left.get(id) ?? null);
    }
    this.#openRuns = new Map();
    for (const { id } of await this.#deps.store.listMoves()) await this.#settleFolder(id);
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
      this.#deps.host.log[level]({ err: error, session: session.row.id }, "a session was not taken over");
    }
  }

  /** A new session that begins as another one is between two runs; from then on they share nothing. */
  async duplicate(sourceId: string, request: DuplicateRequest): Promise<Session> {
    this.#refuseIfStopping();
    const source = await this.get(sourceId);
    const id = request.id ?? `${sourceId}-copy-${Date.now()}`;
    return this.#inTurn(id, async () => {
      if ((await this.find(id)) !== null) throw exists(id);
      const session = await this.#copy(source, id, request.data);
      try {
        if (request.version !== null) await session.rollback(request.version);
        return session;
      } catch (error) {
        await session.delete();
        this.#forget(session);
        throw error;
      }
    });
  }

  async #copy(source: Session, id: string, data: JsonObject | null): Promise<Session> {
    const { host } = this.#deps;
    let folder: Folder | null = null;
    let leftOut: string[] = [];
    let image: ProcessImage | null = null;
    try {
      const row = await source.copyFolder(async (from) => {
        folder ??= await createOwnedFolder(host);
        await copyFolder(host, from, folder);
        leftOut = await leaveOutSecrets(folder);
        return folder;
      });
      image = row.image;
      return await this.#insert({ ...copyOf(row, id, folder, data), leftOut });
    } catch (error) {
      if (image !== null) await dropImage(host, image);
      if (folder !== null) await removeFolder(host, folder);
      throw error;
    }
  }

  list(page: PageRequest): Promise<Page<SessionRow>> {
    return this.#deps.store.listSessions(page);
  }

  async delete(id: string): Promise<void> {
    await this.#inTurn(id, async () => {
      const session = await this.get(id);
      await session.delete();
      this.#forget(session);
    });
  }

  /** Deletes every session there is when it begins; answers their ids. */
  async deleteAll(): Promise<string[]> {
    const ids: string[] = [];
    for (let cursor: string | null = null; ; ) {
      const page: Page<SessionRow> = await this.list({ limit: DELETE_BATCH, cursor });
      ids.push(...page.items.map((row) => row.id));
      cursor = page.cursor;
      if (cursor === null) break;
    }
    const left = [...ids];
    const worker = async () => {
      for (let id = left.pop(); id !== undefined; id = left.pop()) {
        await this.delete(id).catch((error: unknown) => {
          if (!(error instanceof AppError) || error.code !== "session_not_found") throw error;
        });
      }
    };
    await Promise.all(Array.from({ length: DELETE_WIDTH }, worker));
    return ids;
  }

  /** Lets runs in progress end within bounds, then ends every sandbox. New work is refused from now on. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping = true;
    await Promise.allSettled(this.#sessions.values());
    const ended = await Promise.allSettled([...this.#known].map((each) => each.shutDown(STOP_PATIENCE_MS)));
    for (const each of ended)
      if (each.status === "rejected")
        this.#deps.host.log.error({ err: each.reason }, "a session was not shut down");
  }

  async #load(id: string): Promise<Session | null> {
    const row = await this.#deps.store.findSession(id);
    if (row === null) return null;
    const open = this.#openRuns.get(id) ?? [];
    return this.#know(new Session(row, await this.#deps.store.lastRunNumber(id), open, this.#deps));
  }

  #know(session: Session): Session {
    this.#known.add(session);
    if (this.#stopping) session.shutDown(0).catch(() => undefined); // it comes after all others were
    return session;
  }

  #forget(session: Session): void {
    this.#known.delete(session);
    this.#sessions.delete(session.row.id);
  }

  async #insert(row: SessionRow): Promise<Session> {
    if (!(await this.#deps.store.insertSession(row))) throw exists(row.id);
    const session = this.#know(new Session(row, 0, [], this.#deps));
    this.#sessions.set(row.id, Promise.resolve(session));
    return session;
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

export const DEFAULTS: Omit<CreateRequest, "id" | "language"> = {
  persistent: true,
  metadata: {},
  data: {},
  allowInternetAccess: false,
  allowPublicAccess: true,
  defaultTimeout: null,
  memoryMib: null,
  cpuCount: null,
  durability: "async",
  imaging: "auto",
  setup: null,
};

async function claim(session: Session, request: CreateRequest): Promise<Session> {
  if (!session.row.claimable || session.row.language !== request.language) throw exists(session.row.id);
  const { id: _id, setup, ...settings } = request;
  await session.update({ ...settings, setup: setupOf(setup), claimable: false });
  return session;
}

function exists(id: string): AppError {
  return new AppError("session_exists", `Cannot create the session '${id}': the id is taken`, {
    extra: { id },
  });
}

function newId(): string {
  return `sess_${Date.now()}_${randomBase36(9)}`;
}

function rowOf(id: string, request: CreateRequest, claimable: boolean): SessionRow {
  return {
    ...request,
    id,
    createdAt: new Date().toISOString(),
    lastRunAt: "",
    claimable,
    version: 0,
    folder: null,
    fileCounts: { files: 0, bytes: 0 },
    saved: { ...NOTHING_SAVED },
    code: null,
    setup: setupOf(request.setup),
    leftOut: [],
    image: null,
    imageLost: null,
    hibernatedAt: null,
  };
}

const setupOf = (request: SetupRequest | null) =>
  request === null ? null : ({ request, status: "pending", result: null } as const);

function copyOf(row: SessionRow, id: string, folder: Folder | null, data: JsonObject | null): SessionRow {
  return {
    ...row,
    id,
    createdAt: new Date().toISOString(),
    lastRunAt: "",
    data: { ...row.data, ...data },
    claimable: false,
    folder: folder === null ? null : { key: folder.key, uid: folder.uid },
    hibernatedAt: null,
  };
}
