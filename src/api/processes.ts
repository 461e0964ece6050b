/** Programs that run beside the runs of a session: servers, watchers, terminals. */
import { z } from "zod";
import { count, moment, success } from "./answers.ts";
import { environment, languageOfNew } from "./fields.ts";
import { OF_A_SANDBOX, operation } from "./operation.ts";

const MAX_SIDE = 1_000;
const MAX_INPUT_CHARS = 1 << 20;
const argument = z.string().max(100_000).refine(isPlain, "it must be well-formed text without NUL");
const side = z.int().min(1).max(MAX_SIDE);
export const terminalSize = z.strictObject({ columns: side, rows: side });
const SIGNALS = ["HUP", "INT", "QUIT", "KILL", "USR1", "USR2", "TERM", "CONT", "STOP", "WINCH"] as const;

function isPlain(text: string): boolean {
  return text.isWellFormed() && !text.includes("\0");
}

const process = z
  .strictObject({
    process_id: z.string(),
    command: z.array(z.string()).describe("The program and its arguments; the beginning of long ones"),
    pid: count.describe("Inside of the sandbox"),
    terminal: z.boolean(),
    status: z.enum(["running", "ended"]),
    started_at: moment,
    ended_at: moment.nullable(),
    exit_code: count.nullable().describe("As a shell would report it; null while it runs"),
    output_from: count.describe("The place of the first byte of output that is still there"),
    output_to: count.describe("How many bytes it has printed"),
  })
  .meta({ id: "Process" });
export type ProcessAnswer = z.infer<typeof process>;

const OF_A_PROCESS = [...OF_A_SANDBOX, "process_not_found", "session_asleep", "too_many_readers"] as const;
const PATH = "/api/sessions/{id}/processes/{process_id}";

export const startProcess = operation({
  id: "startProcess",
  method: "POST",
  path: "/api/sessions/{id}/processes",
  tag: "Processes",
  summary: "Starts a program that goes on beside the runs, and makes the session when the id is unknown",
  description:
    "It ends with the session's sandbox: when the session sleeps, unless its processes are kept. 32 run at the same time.",
  scope: "run",
  body: z
    .object({
      command: argument.min(1).optional().describe("A line for bash"),
      argv: z
        .array(argument)
        .min(1)
        .max(1_000)
        .optional()
        .describe("A program and its arguments, without a shell"),
      cwd: argument.startsWith("/").optional().describe("/workspace when absent"),
      env: environment.optional(),
      terminal: z
        .union([z.boolean(), terminalSize])
        .optional()
        .describe("A terminal of this size, or of 80 columns and 24 rows"),
      language: languageOfNew,
    })
    .refine(({ command, argv }) => (command === undefined) !== (argv === undefined), {
      message: "it must be there, or 'argv' in its place, and not both",
      path: ["command"],
    }),
  answers: { 201: process },
  errors: [
    ...OF_A_SANDBOX,
    "unknown_language",
    "setup_in_progress",
    "queue_full",
    "process_failed",
    "too_many_processes",
    "process_not_found",
  ],
  example: { params: { id: "example" }, body: { command: "python3 -m http.server 8000" } },
});

export const listProcesses = operation({
  id: "listProcesses",
  method: "GET",
  path: "/api/sessions/{id}/processes",
  tag: "Processes",
  summary: "Lists the programs that were started, and the last of those that have ended",
  scope: "read",
  answers: { 200: z.strictObject({ processes: z.array(process), count }) },
  errors: [...OF_A_SANDBOX],
  example: { params: { id: "example" } },
});

export const getProcess = operation({
  id: "getProcess",
  method: "GET",
  path: PATH,
  tag: "Processes",
  summary: "One program; with `wait`, as soon as it has ended",
  scope: "read",
  query: z.object({
    wait: z.coerce.number().min(0).max(600).optional().describe("Seconds at most for it to end"),
  }),
  answers: { 200: process },
  errors: OF_A_PROCESS,
});

export const readProcess = operation({
  id: "readProcess",
  method: "GET",
  path: `${PATH}/output`,
  tag: "Processes",
  summary: "What it prints, as server-sent events, from the first byte that is still there, while it goes on",
  description:
    "Events `stdout`, `stderr`, or `terminal` with `content`, `gap` with `missed_bytes`, each with the `place` after it, which is its id, then `exit` with the process. A reader that comes back goes on after `Last-Event-ID` or `after`. The last MiB is kept.",
  scope: "read",
  query: z.object({
    after: z.coerce.number().int().min(0).max(Number.MAX_SAFE_INTEGER).optional().describe("A place"),
    follow: z.enum(["true", "false"]).optional().describe("`false` ends with what is there now"),
  }),
  answers: { 200: { type: "text/event-stream", description: "Events, until it ends" } },
  errors: OF_A_PROCESS,
});

export const writeProcess = operation({
  id: "writeProcess",
  method: "POST",
  path: `${PATH}/stdin`,
  tag: "Processes",
  summary: "Gives it input; what is typed into a terminal, where it has one",
  scope: "run",
  body: z.object({
    text: z.string().max(MAX_INPUT_CHARS).optional(),
    base64: z.base64().max(MAX_INPUT_CHARS).optional().describe("Bytes that are no text"),
    end: z.boolean().optional().describe("There is no more"),
  }),
  answers: { 200: z.strictObject({ success, process_id: z.string() }) },
  errors: [...OF_A_PROCESS, "process_ended", "input_full", "process_failed"],
});

export const signalProcess = operation({
  id: "signalProcess",
  method: "POST",
  path: `${PATH}/signal`,
  tag: "Processes",
  summary: "Sends it, and what it has started in its group, a signal",
  scope: "run",
  body: z.object({ signal: z.enum(SIGNALS) }),
  answers: { 200: z.strictObject({ success, process_id: z.string() }) },
  errors: [...OF_A_PROCESS, "process_ended"],
});

export const resizeProcess = operation({
  id: "resizeProcess",
  method: "POST",
  path: `${PATH}/resize`,
  tag: "Processes",
  summary: "Gives its terminal another size",
  scope: "run",
  body: terminalSize,
  answers: { 200: z.strictObject({ success, process_id: z.string() }) },
  errors: [...OF_A_PROCESS, "no_terminal"],
});

export const deleteProcess = operation({
  id: "deleteProcess",
  method: "DELETE",
  path: PATH,
  tag: "Processes",
  summary: "Ends it with what it has started in its session of processes, and forgets what it has printed",
  scope: "run",
  answers: { 200: z.strictObject({ success, process_id: z.string() }) },
  errors: OF_A_PROCESS,
});
