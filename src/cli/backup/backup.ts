/** `era backup` and `era restore`: all sessions of a server that goes on serving, into a folder and back. */
import { Readable } from "node:stream";
import { parseArgs } from "node:util";
import { z } from "zod";
import { sessionPath } from "../../api/addresses.ts";
import { ConfigError } from "../../config.ts";
import { type CommandContext, findServer, request, type Target } from "../target.ts";
import { type Manifest, Repository } from "./repository.ts";

const USAGE = {
  backup: "usage: era backup FOLDER [--keep COUNT] [--server URL]",
  restore: "usage: era restore FOLDER [SESSION...] [--backup NAME] [--server URL] | --list",
};
const WIDTH = 3;
const PAGE = 200;
const TRIES = 5;
const page = z.object({
  sessions: z.array(z.object({ session_id: z.string() })),
  next_cursor: z.string().nullable(),
});

/** Answers the exit status: 1 when a session could not be saved; the backup has the others. */
export async function backupCommand(args: readonly string[], context: CommandContext): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: { server: { type: "string" }, keep: { type: "string" } },
  });
  const [folder] = positionals;
  const keep = values.keep === undefined ? null : Number(values.keep);
  if (
    folder === undefined ||
    positionals.length > 1 ||
    (keep !== null && !(Number.isInteger(keep) && keep > 0))
  )
    return usage("backup");
  await using stack = new AsyncDisposableStack();
  const target = await findServer(values.server, context, stack);
  const repository = await Repository.openOrMake(folder);
  stack.use(await repository.lock(context.signal));
  const before = (await repository.list()).at(-1) ?? null;
  const backup = await repository.begin();
  const total = { sessions: 0, unchanged: 0, failed: 0, bytes: 0, newBytes: 0 };
  const save = async (id: string, known: Manifest | null) => {
    const saved = await saveSession({ target, repository, id, known, signal: context.signal });
    if (saved === null) return;
    await repository.add(backup, saved.manifest);
    total.sessions += 1;
    total.unchanged += saved.newBytes === null ? 1 : 0;
    total.bytes += saved.manifest.bytes;
    total.newBytes += saved.newBytes ?? 0;
  };
  await eachOf(sessionsOf(target, context.signal), async (id) => {
    const known = before === null ? null : await repository.read(before, id);
    try {
      await save(id, known);
    } catch (error) {
      context.signal.throwIfAborted();
      total.failed += 1;
      if (known !== null) await repository.add(backup, known); // as it was: better than nothing
      console.error(`${id}: ${(error as Error).message}`);
    }
  });
  const name = nameOf(new Date());
  await repository.finish(backup, name);
  if (keep !== null && total.failed === 0 && total.sessions > 0) await repository.prune(keep);
  console.log(
    `${name}: ${total.sessions} sessions, ${mib(total.bytes)} MiB; ${total.unchanged} unchanged, ${mib(total.newBytes)} MiB new`,
  );
  return total.failed === 0 ? 0 : 1;
}

/** Answers the exit status: 1 when a session could not be restored; the others are. */
export async function restoreCommand(args: readonly string[], context: CommandContext): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: { server: { type: "string" }, backup: { type: "string" }, list: { type: "boolean" } },
  });
  const [folder, ...wanted] = positionals;
  if (folder === undefined) return usage("restore");
  const repository = await Repository.open(folder);
  const names = await repository.list();
  if (values.list) {
    for (const name of names) console.log(`${name}  ${(await repository.sessionsIn(name)).length} sessions`);
    return 0;
  }
  const name = values.backup ?? names.at(-1);
  if (name === undefined || !names.includes(name))
    throw new ConfigError(`Cannot restore from '${folder}': there is no backup ${name ?? "in it"}`);
  await using stack = new AsyncDisposableStack();
  const target = await findServer(values.server, context, stack);
  const ids = wanted.length > 0 ? wanted : await repository.sessionsIn(name);
  let failed = 0;
  await eachOf(ids, async (id) => {
    try {
      await restoreSession({ target, repository, name, id, signal: context.signal });
      console.log(id);
    } catch (error) {
      context.signal.throwIfAborted();
      failed += 1;
      console.error(`${id}: ${(error as Error).message}`);
    }
  });
  return failed === 0 ? 0 : 1;
}

type Saving = {
  target: Target;
  repository: Repository;
  id: string;
  /** What the backup before has of it; null when it had nothing. */
  known: Manifest | null;
  signal: AbortSignal;
};

/** Null when the session was deleted meanwhile; `newBytes` is null when nothing has changed since the backup before. */
async function saveSession({ target, repository, id, known, signal }: Saving) {
  const path = sessionPath(id, "/export");
  const headers: Record<string, string> = known?.mark == null ? {} : { "if-none-match": `"${known.mark}"` };
  const response = await insist(signal, () =>
    request({ ...target, headers: { ...target.headers, ...headers } }, path, { method: "GET", signal }),
  );
  if (response.status === 304 && known !== null) return { manifest: known, newBytes: null };
  if (response.status === 404 || response.status === 410) return null;
  if (!response.ok || response.body === null) throw await refusal(response);
  const { pieces, bytes, newBytes } = await repository.keep(response.body);
  const mark = /^"(.+)"$/.exec(response.headers.get("etag") ?? "")?.[1] ?? null;
  return { manifest: { session_id: id, mark, bytes, pieces }, newBytes };
}

type Restoring = { target: Target; repository: Repository; name: string; id: string; signal: AbortSignal };

async function restoreSession({ target, repository, name, id, signal }: Restoring): Promise<void> {
  const saved = await repository.read(name, id);
  if (saved === null) throw new ConfigError(`the backup ${name} has no such session`);
  const path = `/api/sessions/import?session_id=${encodeURIComponent(id)}`;
  let damage: unknown = null;
  const pieces = async function* () {
    try {
      yield* repository.stream(saved);
    } catch (error) {
      damage = error;
      throw error;
    }
  };
  const response = await insist(signal, () => {
    const content = Readable.toWeb(Readable.from(pieces())) as ReadableStream<Uint8Array>;
    return request(target, path, { method: "POST", content, signal });
  }).catch((error: unknown) => {
    throw damage ?? error; // the server is left where a piece is missing
  });
  if (!response.ok) throw await refusal(response);
  await response.body?.cancel();
}

/** Asks again when the server says that it is short of something now. */
async function insist(signal: AbortSignal, ask: () => Promise<Response>): Promise<Response> {
  for (let left = TRIES; ; left--) {
    const response = await ask();
    if (response.status !== 503 || left === 0) return response;
    await response.body?.cancel();
    const seconds = Number(response.headers.get("retry-after") ?? 1);
    await new Promise((resolve) => setTimeout(resolve, 1000 * Math.min(seconds || 1, 30)));
    signal.throwIfAborted();
  }
}

async function* sessionsOf(target: Target, signal: AbortSignal): AsyncGenerator<string> {
  for (let cursor: string | null = null; ; ) {
    const query: string = cursor === null ? "" : `&cursor=${encodeURIComponent(cursor)}`;
    const response = await request(target, `/api/sessions?limit=${PAGE}${query}`, { method: "GET", signal });
    if (!response.ok) throw await refusal(response);
    const { sessions, next_cursor } = page.parse(await response.json());
    yield* sessions.map(({ session_id }) => session_id);
    if (next_cursor === null) return;
    cursor = next_cursor;
  }
}

/** A few at a time. */
async function eachOf(
  items: AsyncIterable<string> | Iterable<string>,
  work: (item: string) => Promise<void>,
) {
  const source = (async function* () {
    yield* items;
  })();
  const worker = async () => {
    for (let next = await source.next(); next.done !== true; next = await source.next())
      await work(next.value);
  };
  await Promise.all(Array.from({ length: WIDTH }, worker));
}

async function refusal(response: Response): Promise<Error> {
  const text = (await response.text()).trim();
  try {
    return new Error(String((JSON.parse(text) as { error?: unknown }).error ?? text));
  } catch {
    return new Error(`${response.status} ${text.slice(0, 300)}`);
  }
}

/** Sorts by time as text. */
const nameOf = (time: Date): string => time.toISOString().replaceAll(":", "-");
const mib = (bytes: number): string => (bytes / (1 << 20)).toFixed(1);

function usage(name: keyof typeof USAGE): number {
  console.error(USAGE[name]);
  return 2;
}
