/** `era run`: runs a program on a server, streams what it prints, and ends with its exit status. */
import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { z } from "zod";
import { type Config, ConfigError } from "../config.ts";
import { randomBase36 } from "../lib/random-id.ts";
import type { Logger } from "../log.ts";
import { findServer, request } from "./target.ts";

const USAGE =
  "usage: era run FILE | -c CODE  [--language L] [--session ID] [--timeout SECONDS] [--server URL]";

const event = z.object({
  type: z.enum(["stdout", "stderr", "done", "error"]),
  content: z.string().optional(),
  exit_code: z.number().optional(),
  error: z.unknown().optional(),
});

export async function run(
  args: readonly string[],
  config: Config,
  log: Logger,
  signal: AbortSignal,
): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      code: { type: "string", short: "c" },
      language: { type: "string", short: "l" },
      session: { type: "string", short: "s" },
      timeout: { type: "string", short: "t" },
      server: { type: "string" },
    },
  });
  const file = positionals[0];
  if ((values.code === undefined) === (file === undefined) || positionals.length > 1) {
    console.error(USAGE);
    return 2;
  }
  const code = values.code ?? (await readProgram(String(file)));
  await using stack = new AsyncDisposableStack();
  const target = await findServer(values.server, { config, log, signal }, stack);
  const id = values.session ?? `run-${randomBase36(12)}`;
  if (values.session === undefined)
    stack.defer(async () => {
      await request(target, `/api/sessions/${id}`, { method: "DELETE" }).catch(() => undefined);
    });
  const body = {
    code,
    ...(values.language === undefined ? {} : { language: values.language }),
    ...(values.timeout === undefined ? {} : { timeout: Number(values.timeout) }),
  };
  const response = await request(target, `/api/sessions/${id}/stream`, { method: "POST", body, signal });
  if (!response.ok || response.body === null) {
    console.error((await response.text()).trim());
    return 1;
  }
  return await relay(response.body);
}

async function readProgram(file: string): Promise<string> {
  try {
    return await readFile(file === "-" ? "/dev/stdin" : file, "utf8");
  } catch (cause) {
    throw new ConfigError(`Cannot read the program '${file}': ${(cause as NodeJS.ErrnoException).code}`, {
      cause,
    });
  }
}

async function relay(body: ReadableStream<Uint8Array>): Promise<number> {
  for await (const line of linesOf(body)) {
    if (!line.startsWith("data: ")) continue;
    const { type, content, exit_code, error } = event.parse(JSON.parse(line.slice("data: ".length)));
    if (type === "stdout") process.stdout.write(content ?? "");
    else if (type === "stderr") process.stderr.write(content ?? "");
    else if (type === "done") return exit_code ?? 1;
    else console.error(String(error));
  }
  return 1;
}

async function* linesOf(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>;
  let pending = "";
  for await (const text of body.pipeThrough(decoder)) {
    const lines = (pending + text).split("\n");
    pending = lines.pop() ?? "";
    yield* lines;
  }
}
