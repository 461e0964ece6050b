/** A stream that an export made, as a new session: everything in it may be a stranger's. */
import { type FileHandle, mkdir } from "node:fs/promises";
import type { Readable } from "node:stream";
import { openFile } from "../../files/change.ts";
import { diskUse } from "../../files/usage.ts";
import { removeTree } from "../../lib/remove-tree.ts";
import type { Folder } from "../../live/folder.ts";
import type { SandboxHost } from "../../live/host.ts";
import { unpackFolder } from "../../live/pack-folder.ts";
import { diskBytesOf } from "../../live/state-budget.ts";
import { AppError } from "../../protocol/errors.ts";
import { newRunId } from "../../runs/run-row.ts";
import type { RunRow, Store } from "../../store/store.ts";
import { metaDirOf } from "./export-session.ts";
import { FORMAT, FORMAT_VERSION, parseRunLine, type SessionFile, sessionFile } from "./session-file.ts";

const MIB = 1 << 20;
/** What a record has besides what its run has printed, and how much longer a character can be in it. */
const MAX_SUMMARY_BYTES = 8 * MIB;
const MAX_ESCAPED = 6;
/** What names, headers and padding of an archive take besides. */
const SLACK_BYTES = 256 * MIB;
const MEASURE_MS = 60_000;
const NEW_LINE = 0x0a;

type Unpacked = {
  file: SessionFile;
  /** Its records, oldest first, for the session that it becomes. */
  runs: (sessionId: string) => AsyncGenerator<RunRow>;
};

const refuse = (why: string, cause?: unknown) =>
  new AppError("invalid_request", `Cannot import the session: ${why}`, { cause });

/**
 * Fills a new folder from the stream. Rejects for what is not whole, not sound, or more than a session may have. What
 * is no file of the session stays beside it until `removeMeta`.
 */
export async function unpackSession(host: SandboxHost, folder: Folder, content: Readable): Promise<Unpacked> {
  const { limits, maxDiskMib, recordBytes, outputBytes, bodyBytes } = host.config;
  // Both streams of a run, and what came late. One run alone may have more than all may together.
  const lineBytes = MAX_ESCAPED * 3 * outputBytes + MAX_SUMMARY_BYTES;
  const runsBytes = MAX_ESCAPED * recordBytes + lineBytes;
  // As much as saving may take for a while: see docs/security.md.
  const stateBytes = 2 * limits.stateBytes + 64 * MIB;
  const mostBytes = maxDiskMib * MIB; // what the session may have is known when all of it is here
  const metaDir = metaDirOf(folder);
  await mkdir(metaDir, { mode: 0o700 });
  await unpackFolder({ host, folder, metaDir }, content, {
    bytes: mostBytes + stateBytes + runsBytes + SLACK_BYTES,
    entries: 2 * limits.diskFiles + 10_000,
    fileBytes: Math.max(mostBytes, stateBytes),
  });
  await using session = await openMeta(metaDir, "session.json", bodyBytes);
  const file = parseSessionFile(await session.readFile("utf8"));
  const diskBytes = Math.min(mostBytes, diskBytesOf(file.session.disk_mib ?? null, host.config));
  await refuseTooMuch([folder.workspace, folder.home], diskBytes, limits.diskFiles);
  await refuseTooMuch([folder.state], stateBytes, limits.diskFiles);
  const runs = (id: string) => readRuns(metaDir, { runsBytes, lineBytes }, id);
  for await (const _run of runs(file.session.session_id)); // each is sound, before anything is made of them
  return { file, runs };
}

export const removeMeta = (folder: Folder): Promise<void> => removeTree(metaDirOf(folder));

async function refuseTooMuch(paths: string[], maxBytes: number, maxFiles: number): Promise<void> {
  const uses = await diskUse(paths, MEASURE_MS);
  if (uses === null)
    throw new AppError("disk_full", "Cannot import the session: it has too many files to count");
  const all = [...uses.values()].filter(({ bytes }) => !Number.isNaN(bytes));
  const bytes = all.reduce((sum, use) => sum + use.bytes, 0);
  const files = all.reduce((sum, use) => sum + use.files, 0);
  if (bytes <= maxBytes && files <= maxFiles) return;
  const has = `${Math.ceil(bytes / MIB)} MiB in ${files} files`;
  throw new AppError(
    "disk_full",
    `Cannot import the session: it has ${has}, and may have ${Math.floor(maxBytes / MIB)} MiB in ${maxFiles}`,
  );
}

/** Stores a record; under another id, when this one is taken here. */
export async function storeImported(store: Store, run: RunRow): Promise<void> {
  if (!(await store.insertEndedRun(run))) await store.insertEndedRun({ ...run, runId: newRunId() });
}

/** A regular file right in a folder that the archive has filled, whatever it has put there. */
async function openMeta(folder: string, name: string, maxBytes: number): Promise<FileHandle> {
  const { file, sizeBytes } = await openFile(folder, name).catch((cause: unknown) => {
    throw refuse(`it has no file 'meta/${name}'`, cause);
  });
  if (sizeBytes <= maxBytes) return file;
  await file.close();
  throw refuse(`its file 'meta/${name}' is too large`);
}

async function* readRuns(
  metaDir: string,
  { runsBytes, lineBytes }: { runsBytes: number; lineBytes: number },
  sessionId: string,
): AsyncGenerator<RunRow> {
  await using file = await openMeta(metaDir, "runs.jsonl", runsBytes);
  let last = 0;
  for await (const line of eachLine(file, lineBytes)) {
    const run = parseRun(line, sessionId);
    if (run.number <= last) throw refuse("the records in its file 'meta/runs.jsonl' are not in their order");
    last = run.number;
    yield run;
  }
}

/** Never more than one line is held, and none that is longer than a record can be. */
async function* eachLine(file: FileHandle, maxBytes: number): AsyncGenerator<string> {
  let parts: Buffer[] = [];
  let size = 0;
  for await (const chunk of file.createReadStream({ autoClose: false }) as AsyncIterable<Buffer>) {
    let at = 0;
    for (let end = chunk.indexOf(NEW_LINE); end >= 0; end = chunk.indexOf(NEW_LINE, at)) {
      parts.push(chunk.subarray(at, end));
      yield Buffer.concat(parts).toString();
      [parts, size, at] = [[], 0, end + 1];
    }
    parts.push(chunk.subarray(at));
    size += chunk.length - at;
    if (size > maxBytes) throw refuse("a record in its file 'meta/runs.jsonl' is too long");
  }
  if (size > 0) throw refuse("its file 'meta/runs.jsonl' ends within a record");
}

function parseSessionFile(text: string): SessionFile {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw refuse("its file 'meta/session.json' is no JSON", cause);
  }
  const { format, format_version } = (json ?? {}) as { format?: unknown; format_version?: unknown };
  if (format !== FORMAT) throw refuse("it is no export of a session");
  if (format_version !== FORMAT_VERSION)
    throw refuse(
      `its format is of version ${String(format_version).slice(0, 20)}, and this server knows ${FORMAT_VERSION}`,
    );
  const parsed = sessionFile.safeParse(json);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw refuse(
    `its file 'meta/session.json' is wrong at '${issue?.path.join(".")}': ${issue?.message}`,
    parsed.error,
  );
}

function parseRun(line: string, sessionId: string): RunRow {
  try {
    return parseRunLine(line, sessionId);
  } catch (cause) {
    throw refuse("a record in its file 'meta/runs.jsonl' is not of that form", cause);
  }
}
