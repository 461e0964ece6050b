/** Tools that run programs: once, and in sessions. */

import type { ServerContext } from "@modelcontextprotocol/server";
import { z } from "zod";
import { runPath, sessionPath } from "../api/addresses.ts";
import { type Api, ask } from "./api.ts";
import { follow } from "./follow.ts";
import { contentOf, type Ran, structureOf } from "./text.ts";
import { type AnyTool, LOOKS, RUNS, tool } from "./tool.ts";

/** The API checks them: a schema of each would name each fault of thousands. */
const texts = (description: string) =>
  z
    .unknown()
    .meta({ type: "object", additionalProperties: { type: "string" }, description })
    .optional();
const timeout = z.number().positive().max(86_400).optional().describe("Seconds; 30 when absent");
const internet = z.boolean().optional().describe("Whether it reaches the internet; false when absent");
const environment = texts("Environment variables: texts by name");
export const sessionId = z.string().min(1).describe("The session's id");
const output = z.object({
  exit_code: z.number().int().nullable(),
  stdout: z.string(),
  stderr: z.string(),
  outcome: z.string().describe("ok, error, timed_out, out_of_memory and so on; running while it goes on"),
  displayed: z.string().describe("What was displayed, but for pictures"),
  result: z.string().nullable().describe("The value of the last expression"),
  run_id: z.string().nullable().describe("For era_get_run; null of a run outside of sessions"),
  notes: z.array(z.string()).describe("What was not kept of its output, and what the server noticed"),
});

const ONCE = [
  ["era_python", "python", "Python", "NumPy, pandas and Matplotlib are there"],
  ["era_node", "node", "JavaScript", "on Node.js"],
  ["era_typescript", "typescript", "TypeScript", "on Node.js, types are stripped"],
  ["era_deno", "deno", "TypeScript or JavaScript", "on Deno"],
] as const;
const NOT_KEPT = "Nothing of it is kept afterwards: to keep variables and files, use era_run_in_session.";

const said = (ran: Ran) => ({ content: contentOf(ran), structure: structureOf(ran) });

/** A program of which nothing is kept. */
const runOnce = async (api: Api, body: object, { mcpReq: { signal } }: ServerContext) =>
  said(await ask<Ran>(api, { method: "POST", path: "/api/execute", body, signal }));

/** A run in a session, which ends when its call is taken back. */
const runIn = async (
  api: Api,
  { id, ...asked }: { id: string } & Record<string, unknown>,
  context: ServerContext,
) => {
  const body = { ...asked, cancel_on_disconnect: true };
  return said(await follow(api, { method: "POST", path: sessionPath(id, "/stream"), body }, context));
};

const once = ONCE.map(([name, language, title, remark]) =>
  tool(name, {
    title: `Run ${title} once`,
    description: `Runs a ${title} program (${remark}) in a fresh sandbox, and answers what it printed. ${NOT_KEPT}`,
    input: z.strictObject({ code: z.string(), timeout, allowInternetAccess: internet }),
    output,
    annotations: RUNS,
    call: (body, api, context) => runOnce(api, { language, ...body }, context),
  }),
);

const executeCode = tool("era_execute_code", {
  title: "Run code once, with files",
  description: `Runs a program of python, node, typescript, go, deno or bash in a fresh sandbox, with files beside it. ${NOT_KEPT}`,
  input: z.strictObject({
    code: z.string(),
    language: z.string().describe("python, node, typescript, go, deno or bash"),
    files: texts("Texts by path, there before it runs"),
    envs: environment,
    timeout,
    allowInternetAccess: internet,
  }),
  output,
  annotations: RUNS,
  call: (body, api, context) => runOnce(api, body, context),
});

const shell = tool("era_shell", {
  title: "Run a shell command",
  description:
    "Runs a shell command: in the workspace of a session, of any language, where files and installed packages stay; or, without session_id, in a fresh sandbox that is not kept.",
  input: z.strictObject({ command: z.string().min(1), session_id: sessionId.optional(), timeout }),
  output,
  annotations: RUNS,
  call: ({ command, session_id: id, ...limits }, api, context) =>
    id === undefined
      ? runOnce(api, { language: "bash", code: command, ...limits }, context)
      : runIn(api, { id, command, ...limits }, context),
});

const runInSession = tool("era_run_in_session", {
  title: "Run code in a session that remembers",
  description:
    "Runs code in a session: variables, imports, functions and files of earlier runs are there, also after days. An id that is not in use makes a session, of Python unless `language` says otherwise. A program that fails is an answer with its error. One that lasts longer than 45 seconds goes on: the answer has its run_id, and era_get_run waits for it.",
  input: z.strictObject({
    session_id: sessionId,
    code: z.string(),
    language: z.string().optional().describe("Of a session that is made by this call"),
    timeout,
    env: environment,
    envs: environment,
  }),
  output,
  annotations: RUNS,
  call: ({ session_id: id, ...body }, api, context) => runIn(api, { id, ...body }, context),
});

const getRun = tool("era_get_run", {
  title: "Wait for a run that goes on",
  description:
    "Waits up to 45 seconds for the end of a run that goes on, and answers its output from the beginning. Of a run that has ended, it answers the record.",
  input: z.strictObject({ run_id: z.string().min(1).max(100) }),
  output,
  annotations: LOOKS,
  call: async ({ run_id: id }, api, context) =>
    said(await follow(api, { method: "GET", path: runPath(id, "/stream") }, context)),
});

const interrupt = tool("era_interrupt", {
  title: "End the run in progress",
  description: "Ends the run that goes on in a session, and keeps its variables.",
  input: z.strictObject({ session_id: sessionId }),
  output: z.object({
    interrupted: z.string().nullable().describe("The run's id; null when there was none"),
  }),
  annotations: RUNS,
  call: async ({ session_id: id }, api) => {
    const request = { method: "POST", path: sessionPath(id, "/interrupt") } as const;
    const { interrupted } = await ask<{ interrupted: string | null }>(api, request);
    const text = interrupted === null ? "No run was in progress" : `Interrupted the run ${interrupted}`;
    return { content: [{ type: "text", text }], structure: { interrupted } };
  },
});

export const RUN_TOOLS: readonly AnyTool[] = [...once, executeCode, shell, runInSession, getRun, interrupt];
