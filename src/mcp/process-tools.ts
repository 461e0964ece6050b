/** Tools for programs that go on beside the runs: servers, watchers, what is to be asked something. */
import { z } from "zod";
import { processPath, sessionPath } from "../api/addresses.ts";
import { eventsOf } from "../lib/event-stream.ts";
import { type Api, accepted, ask, RefusedError } from "./api.ts";
import { sessionId } from "./run-tools.ts";
import { cut } from "./text.ts";
import { type AnyTool, DELETES, LOOKS, RUNS, say, tool } from "./tool.ts";

const BEGIN_SECONDS = 2;
const MAX_WAIT_SECONDS = 45;

const state = z.looseObject({
  process_id: z.string(),
  command: z.array(z.string()),
  status: z.enum(["running", "ended"]),
  exit_code: z.number().int().nullable(),
});
const outputEvent = z.looseObject({
  content: z.string().optional(),
  missed_bytes: z.number().optional(),
  place: z.number().optional(),
  process: state.optional(),
  error: z.string().optional(),
});
type State = z.infer<typeof state>;
type Output = { text: string; missed: number; next: number; process?: State };

const output = z.object({
  process_id: z.string(),
  status: z.enum(["running", "ended"]),
  exit_code: z.number().int().nullable().describe("Null while it runs"),
  output: z.string().describe("What it has printed since `after`"),
  next: z.number().int().describe("For `after` in the next call"),
  missed_bytes: z.number().int().describe("Of its output, what is not kept any more"),
});
const processId = z.string().min(1).max(64).describe("The process's id");
const wait = z
  .number()
  .min(0)
  .max(MAX_WAIT_SECONDS)
  .optional()
  .describe(`Seconds to wait for its end before its output is read; ${BEGIN_SECONDS} when absent`);

const start = tool("era_start_process", {
  title: "Start a process that goes on",
  description:
    "Starts a command in a session that goes on beside its runs: a server, a watcher, a long job. Answers what it prints in the first seconds. Read on with era_process; what listens on a port is reached at the session's public address.",
  input: z.strictObject({
    session_id: sessionId,
    command: z.string().min(1).describe("A line for bash"),
    wait_seconds: wait,
  }),
  output,
  annotations: RUNS,
  call: async ({ session_id: id, command, wait_seconds }, api) => {
    const body = { command };
    const { process_id } = await ask<State>(api, {
      method: "POST",
      path: sessionPath(id, "/processes"),
      body,
    });
    return await look(api, processPath(id, process_id), { waitSeconds: wait_seconds, after: 0 });
  },
});

const read = tool("era_process", {
  title: "Read a process, or give it input",
  description:
    "Gives a process input, if there is any, waits, and answers what it has printed since `after`, and whether it has ended.",
  input: z.strictObject({
    session_id: sessionId,
    process_id: processId,
    input: z.string().optional().describe("With its line's end"),
    end_input: z.boolean().optional().describe("There is no more input"),
    after: z.number().int().min(0).optional().describe("`next` of the call before; all of it when absent"),
    wait_seconds: wait,
  }),
  output,
  annotations: RUNS,
  call: async ({ session_id: id, process_id, input, end_input: end, after = 0, wait_seconds }, api) => {
    const path = processPath(id, process_id);
    if (input !== undefined || end !== undefined)
      await ask(api, {
        method: "POST",
        path: `${path}/stdin`,
        body: { text: input ?? "", end: end ?? false },
      });
    return await look(api, path, { waitSeconds: wait_seconds, after });
  },
});

const list = tool("era_list_processes", {
  title: "List processes",
  description: "Lists the processes that were started in a session, and how those that have ended did.",
  input: z.strictObject({ session_id: sessionId }),
  output: z.object({
    processes: z.array(
      z.object({
        process_id: z.string(),
        command: z.string(),
        status: z.enum(["running", "ended"]),
        exit_code: z.number().int().nullable(),
      }),
    ),
  }),
  annotations: LOOKS,
  call: async ({ session_id: id }, api) => {
    const path = sessionPath(id, "/processes");
    const { processes } = await ask<{ processes: State[] }>(api, { method: "GET", path });
    const rows = processes.map(({ process_id, command, status, exit_code }) => ({
      process_id,
      command: command.join(" "),
      status,
      exit_code,
    }));
    const lines = rows.map((row) => `${row.process_id}  ${row.exit_code ?? row.status}  ${row.command}`);
    return { content: say(lines.join("\n") || "There are none."), structure: { processes: rows } };
  },
});

const stop = tool("era_stop_process", {
  title: "End a process",
  description: "Ends a process with all that it has started, and forgets what it has printed.",
  input: z.strictObject({ session_id: sessionId, process_id: processId }),
  output: z.object({ process_id: z.string() }),
  annotations: DELETES,
  call: async ({ session_id: id, process_id }, api) => {
    await ask(api, { method: "DELETE", path: processPath(id, process_id) });
    return { content: say(`${process_id} is ended.`), structure: { process_id } };
  },
});

type Look = { waitSeconds: number | undefined; after: number };

async function look(api: Api, path: string, { waitSeconds = BEGIN_SECONDS, after }: Look) {
  const waited = await ask<State>(api, { method: "GET", path: `${path}?wait=${waitSeconds}` });
  const { text, missed, next, process = waited } = await outputOf(api, path, after);
  const { process_id, status, exit_code } = process;
  const output = cut(text);
  const end = status === "running" ? "It goes on." : `It has ended with ${exit_code}.`;
  const gap = missed === 0 ? "" : `[${missed} bytes of its output are not kept any more]\n`;
  const heading = `${process_id}: ${end} Read on after ${next}.`;
  return {
    content: say(`${heading}\n${gap}${output}`),
    structure: { process_id, status, exit_code, output, next, missed_bytes: missed },
  };
}

async function outputOf(api: Api, path: string, after: number): Promise<Output> {
  const response = await accepted(api, { method: "GET", path: `${path}/output?follow=false&after=${after}` });
  const said: Output = { text: "", missed: 0, next: after };
  for await (const event of eventsOf(
    response.body ?? (ReadableStream.from([]) as ReadableStream<Uint8Array>),
  )) {
    const { content = "", missed_bytes = 0, place = said.next, process, error } = outputEvent.parse(event);
    if (error !== undefined) throw new RefusedError(error);
    if (process !== undefined) said.process = process;
    said.text += content;
    said.missed += missed_bytes;
    said.next = place;
  }
  return said;
}

export const PROCESS_TOOLS: readonly AnyTool[] = [start, read, list, stop];
