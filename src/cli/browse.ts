/**
 * `era sessions`, `runs`, `files`, `keys`, `logs`: what a server has, as tables for people, and with `--json` as the
 * API answers it.
 */
import { createReadStream, createWriteStream } from "node:fs";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { parseArgs } from "node:util";
import { filePath, runPath, sessionPath } from "../api/addresses.ts";
import { refusalText } from "../api/refusal-text.ts";
import { ConfigError } from "../config.ts";
import { byteSize } from "../lib/byte-size.ts";
import { type CommandContext, findServer, request, type Target } from "./target.ts";

type Row = Record<string, unknown>;
/** A column's heading, and what stands in it. */
type Column = [string, (row: Row) => unknown];
type Asked = { target: Target; words: readonly string[]; json: boolean; values: Row };

type Action = {
  usage: string;
  words: number;
  /** With those that may be left out. */
  most?: number;
  run: (asked: Asked) => Promise<number>;
};

const size = (bytes: unknown) => (bytes == null ? "-" : byteSize(Number(bytes)));
const moment = (text: unknown) =>
  String(text || "-")
    .replace("T", " ")
    .replace(/\.\d+Z$/, "Z");

const SESSIONS: readonly Column[] = [
  ["SESSION", ({ id }) => id],
  ["LANGUAGE", ({ language }) => language],
  ["STATE", ({ status }) => (status === "cold" ? "asleep" : status)],
  ["MEMORY", ({ memory_bytes }) => size(memory_bytes)],
  ["FILES", ({ total_size_bytes }) => size(total_size_bytes)],
  ["VARIABLES", ({ variables_bytes }) => size(variables_bytes)],
  ["LAST USED", ({ last_used_at }) => moment(last_used_at)],
];
const RUNS: readonly Column[] = [
  ["RUN", ({ run_id }) => run_id],
  ["NUMBER", ({ number }) => number],
  ["STATUS", ({ status }) => status],
  ["OUTCOME", ({ outcome }) => outcome ?? "-"],
  ["EXIT", ({ exit_code }) => exit_code ?? "-"],
  ["TIME", ({ duration }) => duration ?? "-"],
  ["BEGUN", ({ created_at }) => moment(created_at)],
];
const FILES: readonly Column[] = [
  ["SIZE", ({ size: bytes }) => size(bytes)],
  ["MODIFIED", ({ modified_at }) => moment(modified_at)],
  ["PATH", ({ path }) => path],
];
const KEYS: readonly Column[] = [
  ["KEY", ({ id }) => id],
  ["NAME", ({ name }) => name],
  ["SCOPE", ({ scope }) => scope],
  ["MADE", ({ created_at }) => moment(created_at)],
];

/** A GET whose answer has a list, which may have further pages. */
const list =
  (path: (words: readonly string[], values: Row) => string, field: string, columns: readonly Column[]) =>
  async ({ target, words, json, values }: Asked): Promise<number> => {
    const rows = await everyRow(target, path(words, values), field);
    if (json) console.log(JSON.stringify(rows, null, 2));
    else printTable(rows, columns);
    return 0;
  };

async function everyRow(target: Target, path: string, field: string): Promise<Row[]> {
  const rows: Row[] = [];
  for (let more = ""; ; ) {
    const answer = (await ask(target, "GET", path + more)) as Row;
    for (const row of answer[field] as Row[]) rows.push(row); // more than a call takes as arguments
    if (answer.next_cursor == null) return rows;
    more = `${path.includes("?") ? "&" : "?"}cursor=${answer.next_cursor}`;
  }
}

/** A request whose answer is printed as it is, or as one line. */
const act =
  (
    method: string,
    path: (words: readonly string[]) => string,
    say: (words: readonly string[], answer: Row) => string,
  ) =>
  async ({ target, words, json, values }: Asked): Promise<number> => {
    const answer = (await ask(target, method, path(words), bodyOf(method, values))) as Row;
    console.log(json ? JSON.stringify(answer, null, 2) : say(words, answer));
    return 0;
  };

const bodyOf = (method: string, values: Row) =>
  method === "POST" && Object.keys(values).length > 0 ? values : undefined;

const filter = (values: Row) => {
  const query = new URLSearchParams();
  for (const name of ["state", "language", "metadata"])
    if (values[name]) query.set(name, String(values[name]));
  return String(query) === "" ? "" : `?${query}`;
};

const ACTIONS: Readonly<Record<string, Readonly<Record<string, Action>>>> = {
  sessions: {
    list: {
      usage: "[--state live|asleep] [--language L] [--metadata NAME:TEXT]",
      words: 0,
      run: list((_words, values) => `/api/sessions${filter(values)}`, "sessions", SESSIONS),
    },
    show: {
      usage: "SESSION",
      words: 1,
      run: act(
        "GET",
        ([id = ""]) => sessionPath(id),
        (_words, answer) => JSON.stringify(answer, null, 2),
      ),
    },
    sleep: {
      usage: "SESSION",
      words: 1,
      run: act(
        "POST",
        ([id = ""]) => sessionPath(id, "/hibernate"),
        ([id]) => `${id} sleeps`,
      ),
    },
    delete: {
      usage: "SESSION",
      words: 1,
      run: act(
        "DELETE",
        ([id = ""]) => sessionPath(id),
        ([id]) => `${id} is deleted`,
      ),
    },
  },
  runs: {
    list: { usage: "SESSION", words: 1, run: list(([id = ""]) => sessionPath(id, "/runs"), "runs", RUNS) },
    show: {
      usage: "RUN",
      words: 1,
      run: act(
        "GET",
        ([id = ""]) => runPath(id),
        (_words, answer) => `${answer.stdout}${answer.stderr}`,
      ),
    },
  },
  files: {
    list: { usage: "SESSION", words: 1, run: list(([id = ""]) => sessionPath(id, "/files"), "files", FILES) },
    get: { usage: "SESSION PATH [FILE]", words: 2, most: 3, run: getFile },
    put: { usage: "SESSION PATH FILE", words: 3, run: putFile },
    delete: {
      usage: "SESSION PATH",
      words: 2,
      run: act(
        "DELETE",
        ([id = "", path = ""]) => filePath(id, path),
        ([, path]) => `${path} is deleted`,
      ),
    },
  },
  keys: {
    list: { usage: "", words: 0, run: list(() => "/api/keys", "keys", KEYS) },
    create: {
      usage: "--name NAME [--scope read|run|admin]",
      words: 0,
      run: act(
        "POST",
        () => "/api/keys",
        (_words, { key }) => String(key),
      ),
    },
    revoke: {
      usage: "KEY",
      words: 1,
      run: act(
        "DELETE",
        ([id = ""]) => `/api/keys/${encodeURIComponent(id)}`,
        ([id]) => `${id} is revoked`,
      ),
    },
  },
  logs: {
    list: {
      usage: "",
      words: 0,
      run: list(() => "/api/audit?limit=1000", "entries", [
        ["AT", ({ at: when }) => moment(when)],
        ["KEY", ({ key_id }) => key_id ?? "operator"],
        ["OPERATION", ({ operation }) => operation],
        ["TARGET", ({ target }) => target ?? "-"],
        ["STATUS", ({ status }) => status],
      ]),
    },
  },
};

/** `name` is one of the commands above; without an action it lists. Answers the exit status. */
export async function browse(
  name: string,
  args: readonly string[],
  context: CommandContext,
): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      json: { type: "boolean" },
      server: { type: "string" },
      state: { type: "string" },
      language: { type: "string" },
      metadata: { type: "string" },
      name: { type: "string" },
      scope: { type: "string" },
    },
  });
  const known = ACTIONS[name] ?? {};
  const [first = ""] = positionals;
  const isNamed = Object.hasOwn(known, first);
  const [action, words] = isNamed ? [known[first], positionals.slice(1)] : [known.list, positionals];
  if (action === undefined || words.length < action.words || words.length > (action.most ?? action.words))
    return usage(name, known);
  const { json = false, server, ...others } = values;
  await using stack = new AsyncDisposableStack();
  const target = await findServer(server, context, stack);
  return await action.run({ target, words, json, values: others });
}

function usage(name: string, known: Readonly<Record<string, Action>>): number {
  for (const [action, { usage: rest }] of Object.entries(known))
    console.error(`usage: era ${name} ${action} ${rest}  [--json] [--server URL]`);
  return 2;
}

/** The answer of the server; throws ConfigError with what it says when it refuses. */
async function ask(target: Target, method: string, path: string, body?: object): Promise<unknown> {
  const response = await request(target, path, { method, ...(body === undefined ? {} : { body }) });
  const text = await response.text();
  if (response.ok) return JSON.parse(text);
  throw new ConfigError(refusalText(text));
}

async function getFile({ target, words: [id = "", path = "", file] }: Asked): Promise<number> {
  const response = await request(target, filePath(id, path), { method: "GET" });
  if (!response.ok || response.body === null) throw new ConfigError(refusalText(await response.text()));
  const body = Readable.fromWeb(response.body as Parameters<typeof Readable.fromWeb>[0]);
  await pipeline(body, file === undefined ? process.stdout : createWriteStream(file));
  return 0;
}

async function putFile({ target, words: [id = "", path = "", file = ""] }: Asked): Promise<number> {
  const content = Readable.toWeb(createReadStream(file)) as ReadableStream<Uint8Array>;
  const response = await request(target, filePath(id, path), {
    method: "PUT",
    content,
  }).catch((cause: unknown) => {
    throw new ConfigError(`Cannot send '${file}': ${(cause as Error).message}`, { cause });
  });
  if (!response.ok) throw new ConfigError(refusalText(await response.text()));
  console.log(path);
  return 0;
}

function printTable(rows: readonly Row[], columns: readonly Column[]): void {
  const cells = [
    columns.map(([title]) => title),
    ...rows.map((row) => columns.map(([, of]) => printable(of(row)))),
  ];
  const widths = columns.map((_column, at) =>
    cells.reduce((most, line) => Math.max(most, line[at]?.length ?? 0), 0),
  );
  for (const line of cells)
    console.log(
      line
        .map((cell, at) => cell.padEnd(widths[at] ?? 0))
        .join("  ")
        .trimEnd(),
    );
}

/** A guest names its files: nothing of them may move the cursor. */
const printable = (value: unknown) => String(value).replace(/\p{Cc}/gu, "?");
