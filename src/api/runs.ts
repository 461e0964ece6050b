/** Runs of a session, and their records. */
import { z } from "zod";
import { count, nextCursor, runRecord, runResult, runRowAnswer, success } from "./answers.ts";
import { durability, environment, jsonObject, languageOfNew, limits, pageQuery, stdin } from "./fields.ts";
import { OF_A_SANDBOX, OF_A_SESSION, operation } from "./operation.ts";

const of_a_run = {
  ...limits,
  stdin: stdin.optional(),
  interactive: z
    .boolean()
    .optional()
    .describe("It may wait for more input: an event `input_requested` tells of it, and POST …/stdin answers"),
  env: environment.optional(),
  envs: environment.optional(),
  durability: durability.optional().describe("sync: answered when its effects are on disk"),
  wait_setup: z.boolean().optional().describe("false refuses the run while packages are installed"),
};

const runBody = z.object({
  code: z.string().optional().describe("The program; else the one that the session stores"),
  language: languageOfNew,
  check: z.boolean().optional().describe("TypeScript: refuse a program with type errors"),
  ...of_a_run,
  update_data: jsonObject("update_data").optional(),
});
export type RunBody = z.infer<typeof runBody>;

const RUN_ERRORS = [
  ...OF_A_SANDBOX,
  "unknown_language",
  "no_code",
  "setup_in_progress",
  "queue_full",
  "run_cancelled",
  "run_lost",
  "idempotency_mismatch",
  "answer_removed",
] as const;

const events = {
  type: "text/event-stream",
  description:
    "Events `stdout` and `stderr` with `content`, `display` with `result`, `input_requested` with `prompt`, `warning` with `message`, then `done` with the exit code, outcome, times, results and state; `error` when it never ran",
};

export const runCode = operation({
  id: "runCode",
  method: "POST",
  path: "/api/sessions/{id}/run",
  tag: "Runs",
  summary: "Runs code in a session, and makes the session when the id is unknown",
  description: "A program that fails is an answer with status 200, its exit code and its error.",
  scope: "run",
  body: runBody,
  answers: { 200: runResult },
  errors: RUN_ERRORS,
  once: true,
  example: { params: { id: "example" }, body: { code: "x = 41\nx + 1" } },
});

export const streamRun = operation({
  id: "streamRun",
  method: "POST",
  path: "/api/sessions/{id}/stream",
  tag: "Runs",
  summary: "The same as server-sent events, while the run goes on",
  description: "The header `x-run-id` says the run's id before there is an event.",
  scope: "run",
  body: runBody.extend({
    command: z.string().min(1).optional().describe("A command of the shell, instead of a program"),
    cancel_on_disconnect: z.boolean().optional().describe("End the run when its reader hangs up"),
  }),
  answers: { 200: events },
  errors: RUN_ERRORS,
  example: { params: { id: "example" }, body: { code: "print(x)" } },
});

export const runShell = operation({
  id: "runShell",
  method: "POST",
  path: "/api/sessions/{id}/shell",
  tag: "Runs",
  summary:
    "Runs one command in the workspace of a session of any language, beside its variables; an unknown id makes one",
  scope: "run",
  body: z.object({ command: z.string().min(1), language: languageOfNew, ...of_a_run }),
  answers: { 200: runResult },
  errors: RUN_ERRORS,
  once: true,
  example: { params: { id: "example" }, body: { command: "ls -l" } },
});

export const interruptRun = operation({
  id: "interruptRun",
  method: "POST",
  path: "/api/sessions/{id}/interrupt",
  tag: "Runs",
  summary: "Ends the run in progress, and keeps the variables",
  scope: "run",
  answers: { 200: z.strictObject({ success, interrupted: z.string().nullable() }) },
  errors: OF_A_SESSION,
  example: { params: { id: "example" } },
});

export const listRuns = operation({
  id: "listRuns",
  method: "GET",
  path: "/api/sessions/{id}/runs",
  tag: "Runs",
  summary: "Lists a session's runs, the newest first",
  scope: "read",
  query: pageQuery,
  answers: {
    200: z.strictObject({
      runs: z.array(runRowAnswer),
      count,
      removed_count: count.describe("Records that made room for newer ones"),
      next_cursor: nextCursor,
    }),
  },
  errors: OF_A_SESSION,
  example: { params: { id: "example" } },
});

export const getRun = operation({
  id: "getRun",
  method: "GET",
  path: "/api/runs/{run_id}",
  tag: "Runs",
  summary: "A run as a record, with its output so far",
  scope: "read",
  answers: { 200: runRecord },
  errors: ["run_not_found", ...OF_A_SESSION],
});

export const followRun = operation({
  id: "followRun",
  method: "GET",
  path: "/api/runs/{run_id}/stream",
  tag: "Runs",
  summary: "A run's events again, from the one after `Last-Event-ID`, also after a restart of the server",
  scope: "read",
  answers: { 200: events },
  errors: ["run_not_found", ...OF_A_SESSION],
});

export const giveInput = operation({
  id: "giveInput",
  method: "POST",
  path: "/api/runs/{run_id}/stdin",
  tag: "Runs",
  summary: "Gives a run in progress that was begun with `interactive` more of its standard input",
  scope: "run",
  body: z.object({
    text: z
      .string()
      .max(1 << 20)
      .optional()
      .describe("A line ends with a line's end"),
    end: z.boolean().optional().describe("There is no more"),
  }),
  answers: { 200: z.strictObject({ success, run_id: z.string() }) },
  errors: ["run_not_found", "not_interactive", ...OF_A_SESSION],
});
