/**
 * A session's folder as one tar stream, out and in. Whoever packs or unpacks sees nothing but the image and the parts
 * of the folder, so that no link, name or device in it leads to anything else: GNU tar does the work, exactly, in a
 * sandbox without rights, and the server only passes bytes on.
 *
 * The stream is an ordinary tar archive. After its end comes one block with the SHA-256 of all that is before it: tar
 * programs pass over it, and whoever unpacks it here can tell that nothing was changed or cut off.
 */
import { createHash, type Hash } from "node:crypto";
import { once } from "node:events";
import { type Readable, Transform, type TransformCallback } from "node:stream";
import { pipeline } from "node:stream/promises";
import { feedArchive } from "../files/feed-archive.ts";
import { TarGuard } from "../files/tar-guard.ts";
import { killGroup } from "../lib/run-command.ts";
import { shortageIn } from "../lib/shortage.ts";
import { spawnProgram, streamOf } from "../lib/spawn-program.ts";
import { AppError } from "../protocol/errors.ts";
import type { Folder } from "./folder.ts";
import { folderProgram } from "./folder-program.ts";
import type { SandboxHost } from "./host.ts";

const PARTS = ["meta", "workspace", "home", "state"] as const;
const PACK_MS = 3_600_000;
const MAX_SAID = 2_000;
/** What tar may take: names and attributes are all that it holds. */
const MAX_MEMORY_KIB = 512 << 10;
const BLOCK = 512;
const MARK = "era-sha256 ";
/**
 * Saved state only as far as it is read again: neither locks, nor marks of a copy, nor what a save has left unfinished.
 */
const PACK = `cd /mnt/folder && exec tar --create --file=- --format=pax --pax-option=delete=atime,delete=ctime \\
  --sparse --sort=name --owner=0 --group=0 --numeric-owner --anchored --exclude='state/[^v]*' --exclude='state/values/.*' --exclude='state/versions/.*' \\
  meta workspace home state`;
const UNPACK = `cd /mnt/folder && tar --extract --file=- --no-same-owner --delay-directory-restore --warning=no-timestamp || exit 3
cat >/dev/null # what comes after the end is heard to its end, too
if [ "$1" != - ]; then chown -hR "$1:$1" meta workspace home state; fi
sync --file-system state # who moves a session may remove where it was as soon as it is here`;

type Packing = {
  host: SandboxHost;
  folder: Folder;
  /** A folder of the server's own beside it, with what is no file of the session. */
  metaDir: string;
};

function argvOf({ host, folder, metaDir }: Packing, script: string, isWritten: boolean): string[] {
  const sources = { meta: metaDir, workspace: folder.workspace, home: folder.home, state: folder.state };
  const folders = PARTS.map((part) => ({ source: sources[part], target: `/mnt/folder/${part}`, isWritten }));
  return folderProgram(host, { script, folders, uid: folder.uid });
}

/** The folder as a stream, which is destroyed when it cannot be read to its end. Nobody else uses the folder. */
export async function packFolder(packing: Packing): Promise<Readable> {
  const child = await spawnProgram(argvOf(packing, PACK, false), {
    stdio: ["ignore", "pipe", "pipe"],
    detached: true, // as a group
  });
  const said = collect(streamOf(child.stderr));
  const ended = once(child, "close") as Promise<[number | null]>;
  const packed = streamOf(child.stdout);
  const sealed = new Seal(async () => {
    const [code] = await ended;
    if (code !== 0) throw new Error(`tar ended with ${code}: ${said()}`);
  });
  const overdue = setTimeout(() => killGroup(child), PACK_MS);
  pipeline(packed, sealed)
    .catch(() => undefined) // the reader sees it, or has gone
    .finally(() => {
      clearTimeout(overdue);
      killGroup(child);
    });
  return sealed;
}

type UnpackLimits = {
  /** The stream, as it is unzipped. */
  bytes: number;
  /** Entries of the archive. */
  entries: number;
  /** One file. */
  fileBytes: number;
};

/** Unpacks a stream into a new folder of nobody's yet. Rejects for one that is not whole, with anything of it there. */
export async function unpackFolder(packing: Packing, content: Readable, limits: UnpackLimits): Promise<void> {
  const blocks = Math.ceil(limits.fileBytes / BLOCK);
  const script = `ulimit -f ${blocks}; ulimit -v ${MAX_MEMORY_KIB}; ${UNPACK}`;
  const child = await spawnProgram(argvOf(packing, script, true), {
    stdio: ["pipe", "ignore", "pipe"],
    detached: true,
  });
  const said = collect(streamOf(child.stderr));
  const ended = once(child, "close") as Promise<[number | null]>;
  const unsealed = new Unseal(limits.bytes);
  const guard = new TarGuard(3 * limits.entries, refuse);
  const overdue = setTimeout(() => killGroup(child), PACK_MS);
  try {
    const failure = await feedArchive(content, [unsealed, guard], streamOf(child.stdin)).then(
      () => null,
      (error: unknown) => error,
    );
    if (failure !== null) killGroup(child);
    const [code] = await ended;
    if (failure instanceof AppError) throw failure;
    if (code !== 0) throw refusalOf(said(), failure);
    if (failure !== null)
      throw shortageIn(failure) === null ? refuse("it cannot be read to its end", failure) : failure;
    unsealed.check();
  } finally {
    clearTimeout(overdue);
    killGroup(child);
  }
}

const refuse = (why: string, cause?: unknown) =>
  new AppError("invalid_request", `Cannot import the session: ${why}`, { cause });

function refusalOf(said: string, cause: unknown): AppError {
  if (said.includes("No space left on device"))
    return new AppError("host_disk_full", "Cannot import the session: the disk of this host is full", {
      cause,
    });
  if (said.includes("File too large")) return refuse("a file of it is larger than a session may have", cause);
  const why =
    said.split("\n").find((line) => line !== "" && !line.includes("Skipping")) ?? "it ends too early";
  return refuse(`its archive is damaged, or holds what no session has (${why.slice(0, 300)})`, cause);
}

function collect(stream: NodeJS.ReadableStream): () => string {
  let text = "";
  stream.setEncoding("utf8").on("data", (chunk: string) => {
    if (text.length < MAX_SAID) text += chunk;
  });
  return () => text.slice(0, MAX_SAID);
}

/** Passes bytes on, and at their end the block with their sum. */
class Seal extends Transform {
  readonly #hash: Hash = createHash("sha256");
  readonly #isWhole: () => Promise<void>;

  constructor(isWhole: () => Promise<void>) {
    super();
    this.#isWhole = isWhole;
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    this.#hash.update(chunk);
    done(null, chunk);
  }

  override _flush(done: TransformCallback): void {
    this.#isWhole().then(
      () => done(null, sealOf(this.#hash)),
      (error: Error) => done(error),
    );
  }
}

/** Passes on all but the last block, which is the sum of what is before it. */
class Unseal extends Transform {
  readonly #hash: Hash = createHash("sha256");
  #left: number;
  #last: Buffer = Buffer.alloc(0);

  constructor(maxBytes: number) {
    super();
    this.#left = maxBytes;
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    this.#left -= chunk.length;
    if (this.#left < 0) {
      done(new AppError("disk_full", "Cannot import the session: it is larger than a session may be here"));
      return;
    }
    const held = this.#last.length === 0 ? chunk : Buffer.concat([this.#last, chunk]);
    const passed = held.subarray(0, Math.max(0, held.length - BLOCK));
    this.#last = Buffer.from(held.subarray(passed.length));
    this.#hash.update(passed);
    done(null, passed);
  }

  /** Throws unless the last block was that of what came before it. */
  check(): void {
    if (!this.#last.equals(sealOf(this.#hash)))
      throw refuse("it is not whole: something of it was changed, or its end is missing");
  }
}

function sealOf(hash: Hash): Buffer {
  const block = Buffer.alloc(BLOCK);
  block.write(`${MARK}${hash.digest("hex")}\n`, "latin1");
  return block;
}
