/** `era run`: runs a program on a server as if it ran here: output, questions, pictures, Ctrl-C, exit status. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";
import { parseArgs } from "node:util";
import { z } from "zod";
import { sessionPath } from "../api/addresses.ts";
import { refusalText } from "../api/refusal-text.ts";
import { type Config, ConfigError } from "../config.ts";
import { eventsOf } from "../lib/event-stream.ts";
import { randomBase36 } from "../lib/random-id.ts";
import type { Logger } from "../log.ts";
import { languageEntry, languageOfFile, parseLanguage } from "../protocol/languages.ts";
import { findServer, request, type Target } from "./target.ts";

const USAGE =
  "usage: era run FILE | -c CODE  [--language L] [--session ID] [--timeout SECONDS] [--pictures FOLDER] [--server URL]";

const result = z.object({ main: z.boolean(), text: z.string(), png: z.string().optional() });
const event = z.object({
  type: z.string(),
  run_id: z.string().optional(),
  content: z.string().optional(),
  message: z.string().optional(),
  result: result.nullish(),
  results: z.array(result).optional(),
  exit_code: z.number().optional(),
  error: z.unknown().optional(),
});
type RunEvent = z.infer<typeof event>;

/** Where a run goes on, and what is done with what it shows. */
type Shown = { target: Target; session: string; pictures: string | undefined; signal: AbortSignal };

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
      pictures: { type: "string" },
      server: { type: "string" },
    },
  });
  const file = positionals[0];
  if ((values.code === undefined) === (file === undefined) || positionals.length > 1) {
    console.error(USAGE);
    return 2;
  }
  const code = values.code ?? (await readProgram(String(file)));
  const language = values.language ?? (file === undefined ? null : languageOfFile(file));
  await using stack = new AsyncDisposableStack();
  const target = await findServer(values.server, { config, log, signal }, stack);
  const session = values.session ?? `run-${randomBase36(12)}`;
  if (values.session === undefined)
    stack.defer(async () => {
      await request(target, sessionPath(session), { method: "DELETE" }).catch(() => undefined);
    });
  const asks = file !== "-" && languageEntry(parseLanguage(language ?? "python")).isInteractive;
  const body = {
    code,
    ...(language === null ? {} : { language }),
    ...(values.timeout === undefined ? {} : { timeout: secondsIn(values.timeout) }),
    ...(asks ? { interactive: true } : {}),
  };
  const response = await request(target, sessionPath(session, "/stream"), { method: "POST", body });
  if (!response.ok || response.body === null) return refused(response);
  return await follow(response.body, { target, session, pictures: values.pictures, signal });
}

async function refused(response: Response): Promise<number> {
  console.error(refusalText(await response.text()));
  return 1;
}

function secondsIn(text: string): number {
  const seconds = Number(text);
  if (text.trim() !== "" && Number.isFinite(seconds)) return seconds;
  throw new ConfigError(`Cannot use --timeout '${text}': it must be a number of seconds`);
}

async function readProgram(file: string): Promise<string> {
  try {
    return file === "-" ? await text(process.stdin) : await readFile(file, "utf8");
  } catch (cause) {
    throw new ConfigError(`Cannot read the program '${file}': ${(cause as NodeJS.ErrnoException).code}`, {
      cause,
    });
  }
}

/** Until the program has ended; Ctrl-C interrupts it, and its end is waited for all the same. */
async function follow(body: ReadableStream<Uint8Array>, shown: Shown): Promise<number> {
  const interrupt = () =>
    void request(shown.target, sessionPath(shown.session, "/interrupt"), { method: "POST" }).catch(
      () => undefined,
    );
  shown.signal.addEventListener("abort", interrupt, { once: true });
  const answers = new Answers(shown.target);
  const pictures = { folder: shown.pictures, count: 0 };
  try {
    for await (const data of eventsOf(body)) {
      const told = event.parse(data);
      await tell(told, answers, pictures);
      if (told.type === "done") return told.exit_code ?? 1;
    }
    return 1;
  } finally {
    shown.signal.removeEventListener("abort", interrupt);
    answers.close();
  }
}

async function tell(told: RunEvent, answers: Answers, pictures: Pictures): Promise<void> {
  const { type, content = "", run_id = "", results = [] } = told;
  if (type === "stdout") process.stdout.write(content);
  else if (type === "stderr") process.stderr.write(content);
  else if (type === "input_requested") void answers.give(run_id);
  else if (type === "display") await show(told.result ?? null, pictures);
  else if (type === "done") await show(results.find((each) => each.main) ?? null, pictures);
  else if (type === "warning") console.error(`[${told.message}]`);
  else if (type === "error") console.error(String(told.error));
}

/** Where pictures go, and how many there were. */
type Pictures = { folder: string | undefined; count: number };

/** Prints a value, or writes a picture into a file. */
async function show(value: z.infer<typeof result> | null, pictures: Pictures): Promise<void> {
  if (value === null) return;
  if (value.png === undefined) return console.log(value.text);
  const content = Buffer.from(value.png, "base64");
  pictures.count += 1;
  if (pictures.folder === undefined)
    return console.error(`[a picture of ${content.length} bytes: --pictures FOLDER keeps it]`);
  const path = join(pictures.folder, `picture-${pictures.count}.png`);
  await writeFile(path, content);
  console.error(`[${path}]`);
}

/** Lines of this command's own standard input, each read when the program asks for one, and not before. */
class Answers {
  readonly #target: Target;
  #lines: AsyncIterator<string> | null = null;
  #close: () => void = () => undefined;

  constructor(target: Target) {
    this.#target = target;
  }

  async give(runId: string): Promise<void> {
    if (this.#lines === null) {
      const reader = createInterface({ input: process.stdin });
      this.#lines = reader[Symbol.asyncIterator]();
      this.#close = () => {
        reader.close();
        process.stdin.destroy(); // what is not read any more must not keep this command
      };
    }
    const { value, done } = await this.#lines.next();
    const body = done ? { end: true } : { text: `${value}\n` };
    await request(this.#target, `/api/runs/${runId}/stdin`, { method: "POST", body }).catch(() => undefined);
  }

  close(): void {
    this.#close();
  }
}
