/** `era export` and `era import`: a session as a file, and a session from one. */
import { createReadStream, createWriteStream } from "node:fs";
import { access, rename, rm } from "node:fs/promises";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { parseArgs } from "node:util";
import { sessionPath } from "../api/addresses.ts";
import { refusalText } from "../api/refusal-text.ts";
import { ConfigError } from "../config.ts";
import { type CommandContext, findServer, request } from "./target.ts";

const USAGE = {
  export: "usage: era export SESSION [FILE | -]  [--server URL]",
  import: "usage: era import FILE | -  [--session ID] [--server URL]",
};

/** Answers the exit status. The file is there when it is whole, and not before. */
export async function exportCommand(args: readonly string[], context: CommandContext): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: { server: { type: "string" } },
  });
  const [id, file = `${id?.replaceAll(":", "_")}.era.tar`] = positionals;
  if (id === undefined || positionals.length > 2) return usage("export");
  await using stack = new AsyncDisposableStack();
  const target = await findServer(values.server, context, stack);
  const path = sessionPath(id, "/export");
  const response = await request(target, path, { method: "GET", signal: context.signal });
  if (!response.ok || response.body === null) return refused(response);
  const body = Readable.fromWeb(response.body as Parameters<typeof Readable.fromWeb>[0]);
  if (file === "-") {
    await pipeline(body, process.stdout);
    return 0;
  }
  const part = `${file}.part`;
  try {
    await pipeline(body, createWriteStream(part, { flags: "wx", mode: 0o600 }));
    await rename(part, file);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "EEXIST") await rm(part, { force: true });
    throw new ConfigError(`Cannot write '${file}': ${(cause as Error).message}`, { cause });
  }
  console.log(file);
  return 0;
}

export async function importCommand(args: readonly string[], context: CommandContext): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: { server: { type: "string" }, session: { type: "string", short: "s" } },
  });
  const [file] = positionals;
  if (file === undefined || positionals.length > 1) return usage("import");
  const content = file === "-" ? process.stdin : await openToRead(file);
  await using stack = new AsyncDisposableStack();
  const target = await findServer(values.server, context, stack);
  const query = values.session === undefined ? "" : `?session_id=${encodeURIComponent(values.session)}`;
  const response = await request(target, `/api/sessions/import${query}`, {
    method: "POST",
    content: Readable.toWeb(content) as ReadableStream<Uint8Array>,
    signal: context.signal,
  });
  if (!response.ok) return refused(response);
  const { session_id, left_out } = (await response.json()) as { session_id: string; left_out: string[] };
  console.log(session_id);
  for (const path of left_out) console.error(`not in the export, since it looks like a secret: ${path}`);
  return 0;
}

async function openToRead(file: string): Promise<Readable> {
  try {
    await access(file);
  } catch (cause) {
    throw new ConfigError(`Cannot read '${file}': ${(cause as NodeJS.ErrnoException).code}`, { cause });
  }
  return createReadStream(file);
}

function usage(name: keyof typeof USAGE): number {
  console.error(USAGE[name]);
  return 2;
}

async function refused(response: Response): Promise<number> {
  console.error(refusalText(await response.text()));
  return 1;
}
