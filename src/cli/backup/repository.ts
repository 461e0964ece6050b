/**
 * A folder of backups: pieces of exports, each once, by its SHA-256, and for each backup what each session is made of.
 * docs/backups.md describes it. A backup is there when it is whole, and not before.
 */
import { createHash, randomUUID } from "node:crypto";
import { mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { zstdCompress, zstdDecompress } from "node:zlib";
import { z } from "zod";
import { ConfigError } from "../../config.ts";
import { lockFile } from "../../lib/file-lock.ts";
import { nullIfMissing } from "../../lib/missing.ts";
import { inPieces } from "./chunks.ts";

const NAME = "era-backup.json";
const FORMAT = { format: "era-backup", format_version: 1 };
const MAX_PIECE_BYTES = 8 << 20;
const compress = promisify(zstdCompress);
const decompress = promisify(zstdDecompress);

const digest = z.string().regex(/^[0-9a-f]{64}$/);
const manifest = z.strictObject({
  session_id: z.string(),
  /** What tells whether the session has changed since; null of one that was awake. */
  mark: z.string().nullable(),
  bytes: z.int().min(0),
  pieces: z.array(digest),
});
export type Manifest = z.infer<typeof manifest>;

export class Repository {
  readonly #root: string;

  private constructor(root: string) {
    this.#root = root;
  }

  /** Rejects when there is none. */
  static async open(root: string): Promise<Repository> {
    const text = await readFile(join(root, NAME), "utf8").catch(nullIfMissing);
    if (text === null) throw new ConfigError(`Cannot use '${root}': it is no folder of backups`);
    if (JSON.stringify(parse(text)) !== JSON.stringify(FORMAT))
      throw new ConfigError(`Cannot use '${root}': its backups are of another version of the format`);
    return new Repository(root);
  }

  /** Makes it when the folder is not there or empty. Rejects when it holds something else. */
  static async openOrMake(root: string): Promise<Repository> {
    const names = await readdir(root).catch(nullIfMissing);
    if (names === null || names.length === 0) {
      await mkdir(join(root, "backups"), { recursive: true, mode: 0o700 });
      await mkdir(join(root, "pieces"), { recursive: true, mode: 0o700 });
      await write(join(root, NAME), `${JSON.stringify(FORMAT)}\n`);
    }
    return Repository.open(root);
  }

  /** Names of backups, oldest first. */
  async list(): Promise<string[]> {
    const names = await readdir(join(this.#root, "backups"));
    return names.filter((name) => !name.startsWith(".")).sort();
  }

  /** Names of the sessions in a backup, as their files are named. */
  async sessionsIn(backup: string): Promise<string[]> {
    const names = await readdir(join(this.#root, "backups", backup));
    const whole = names.filter((name) => !name.startsWith("."));
    return whole.map((name) => decodeURIComponent(name.slice(0, -".json".length))).sort();
  }

  /** Null when the backup has no such session. */
  async read(backup: string, sessionId: string): Promise<Manifest | null> {
    const text = await readFile(this.#manifestPath(backup, sessionId), "utf8").catch(nullIfMissing);
    return text === null ? null : manifest.parse(parse(text));
  }

  /** Nobody else adds to the folder, or removes from it, until this is disposed of. */
  lock(signal: AbortSignal): Promise<AsyncDisposable> {
    const onWait = () => console.error("waiting for another backup to this folder");
    return lockFile(join(this.#root, ".lock"), onWait, signal);
  }

  /** A backup that is being made, which gets its name when it is whole. Removes what was left of others. */
  async begin(): Promise<string> {
    for (const left of await this.#unfinished()) await this.#removeBackup(left);
    const name = `.part-${randomUUID()}`;
    await mkdir(join(this.#root, "backups", name), { mode: 0o700 });
    return name;
  }

  async add(backup: string, made: Manifest): Promise<void> {
    await write(this.#manifestPath(backup, made.session_id), JSON.stringify(made));
  }

  async finish(backup: string, name: string): Promise<void> {
    const folder = join(this.#root, "backups");
    await sync(join(folder, backup));
    await rename(join(folder, backup), join(folder, name));
    await sync(folder);
  }

  /** Keeps the pieces of a stream. Answers which they are, how many bytes, and how many were not there before. */
  async keep(stream: AsyncIterable<Uint8Array>) {
    const kept = { pieces: [] as string[], bytes: 0, newBytes: 0 };
    for await (const piece of inPieces(stream)) {
      const name = createHash("sha256").update(piece).digest("hex");
      kept.pieces.push(name);
      kept.bytes += piece.length;
      if (await this.#keepPiece(name, piece)) kept.newBytes += piece.length;
    }
    return kept;
  }

  async #keepPiece(name: string, piece: Buffer): Promise<boolean> {
    const path = this.#piecePath(name);
    if ((await stat(path).catch(nullIfMissing)) !== null) return false;
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await write(path, await compress(piece));
    await sync(dirname(path));
    return true;
  }

  /** The stream that a session's pieces are. Rejects when one is missing or damaged. */
  async *stream({ pieces }: Manifest): AsyncGenerator<Buffer> {
    for (const name of pieces) yield await this.#readPiece(name);
  }

  async #readPiece(name: string): Promise<Buffer> {
    const stored = await readFile(this.#piecePath(name)).catch(nullIfMissing);
    if (stored === null) throw new ConfigError(`Cannot restore: the piece '${name}' is missing`);
    const piece = await decompress(stored, { maxOutputLength: MAX_PIECE_BYTES }).catch(() => Buffer.alloc(0));
    if (createHash("sha256").update(piece).digest("hex") !== name)
      throw new ConfigError(`Cannot restore: the piece '${name}' is damaged`);
    return piece;
  }

  async #unfinished(): Promise<string[]> {
    return (await readdir(join(this.#root, "backups"))).filter((name) => name.startsWith("."));
  }

  #removeBackup(name: string): Promise<void> {
    return rm(join(this.#root, "backups", name), { recursive: true });
  }

  /** Removes all but the newest backups, and pieces that none of those needs. */
  async prune(keep: number): Promise<void> {
    const names = await this.list();
    for (const name of names.slice(0, Math.max(0, names.length - keep))) await this.#removeBackup(name);
    const needed = new Set<string>();
    for (const backup of await this.list())
      for (const id of await this.sessionsIn(backup))
        for (const piece of (await this.read(backup, id))?.pieces ?? []) needed.add(piece);
    for (const folder of await readdir(join(this.#root, "pieces")))
      for (const name of await readdir(join(this.#root, "pieces", folder)))
        if (!needed.has(name)) await rm(join(this.#root, "pieces", folder, name));
  }

  #manifestPath(backup: string, sessionId: string): string {
    return join(this.#root, "backups", backup, `${encodeURIComponent(sessionId)}.json`);
  }

  #piecePath(name: string): string {
    return join(this.#root, "pieces", name.slice(0, 2), name);
  }
}

/** Whole and on disk, or not there. */
async function write(path: string, content: string | Uint8Array): Promise<void> {
  const part = join(dirname(path), `.part-${randomUUID()}`);
  await writeFile(part, content, { mode: 0o600, flush: true });
  await rename(part, path);
}

async function sync(folder: string): Promise<void> {
  await using handle = await open(folder);
  await handle.sync();
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new ConfigError("Cannot read the folder of backups: a file in it is damaged", { cause });
  }
}
