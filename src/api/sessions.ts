/** Sessions: create, list, look at, change, delete. */
import { z } from "zod";
import {
  count,
  file,
  moment,
  nextCursor,
  session,
  sessionRowAnswer,
  sessionUse,
  success,
} from "./answers.ts";
import {
  durability,
  expiresAfter,
  imaging,
  internetAccess,
  jsonObject,
  MAX_TIMEOUT_S,
  pageQuery,
  resources,
  timeout,
} from "./fields.ts";
import { OF_A_SANDBOX, OF_A_SESSION, operation } from "./operation.ts";
import { setup } from "./setup.ts";

export const createBody = z.object({
  language: z.string().describe("The name of a language, or one of its other names"),
  session_id: z.string().optional().describe("1 to 128 letters, digits, '-', '_', ':'; else one is made"),
  id: z.string().optional().describe("The same"),
  persistent: z.boolean().optional(),
  metadata: jsonObject("metadata").optional(),
  data: jsonObject("data").optional(),
  allowInternetAccess: internetAccess.optional(),
  allowPublicAccess: z.boolean().optional().describe("Whether /proxy leads to it; true when absent"),
  default_timeout: timeout.nullish().describe("Seconds for a run that asks for none"),
  ...resources,
  expires_after: expiresAfter,
  durability: durability.optional(),
  imaging: imaging.optional(),
  setup: setup.optional(),
});

const patchBody = z.object({
  default_timeout: z.number().positive().max(MAX_TIMEOUT_S).optional(),
  ...resources,
  expires_after: expiresAfter,
  allowInternetAccess: internetAccess.optional(),
  allowPublicAccess: z.boolean().optional(),
  metadata: jsonObject("metadata").optional(),
  durability: durability.optional(),
  imaging: imaging.optional(),
});

export const createSession = operation({
  id: "createSession",
  method: "POST",
  path: "/api/sessions",
  tag: "Sessions",
  summary: "Creates a session",
  description: "Its sandbox starts with its first run. With `setup`, packages are installed before that.",
  scope: "run",
  body: createBody,
  answers: { 201: session },
  errors: [
    "unknown_language",
    "invalid_session_id",
    "session_exists",
    "session_deleted",
    "idempotency_mismatch",
    "answer_removed",
  ],
  once: true,
  example: { body: { language: "python", session_id: "example", metadata: { user: "ada" } } },
});

export const listSessions = operation({
  id: "listSessions",
  method: "GET",
  path: "/api/sessions",
  tag: "Sessions",
  summary: "Lists sessions, the newest first",
  scope: "read",
  description:
    "A page that is filtered may be short, and there may be more all the same, while `next_cursor` is not null.",
  query: pageQuery.extend({
    state: z.enum(["live", "asleep"]).optional().describe("With a sandbox, or without"),
    language: z.string().optional(),
    metadata: z
      .string()
      .max(1_000)
      .regex(/^[^:]+:/, "it is NAME:TEXT")
      .optional()
      .describe("NAME:TEXT, for sessions whose metadata has this text under this name"),
  }),
  answers: { 200: z.strictObject({ sessions: z.array(sessionRowAnswer), count, next_cursor: nextCursor }) },
  errors: ["unknown_language"],
  example: { query: { limit: 10, state: "asleep", metadata: "user:ada" } },
});

export const deleteSessions = operation({
  id: "deleteSessions",
  method: "DELETE",
  path: "/api/sessions",
  tag: "Sessions",
  summary: "Deletes all sessions",
  scope: "run",
  answers: {
    200: z.strictObject({
      success,
      deleted_count: count,
      deleted_sessions: z.array(z.string()),
      deleted_at: moment,
    }),
  },
  errors: ["invalid_session_id"],
});

export const getSession = operation({
  id: "getSession",
  method: "GET",
  path: "/api/sessions/{id}",
  tag: "Sessions",
  summary: "Looks at a session: settings, limits, use, state of its variables, files",
  scope: "read",
  answers: { 200: session.extend({ files: z.array(file) }).meta({ id: "SessionWithFiles" }) },
  errors: OF_A_SESSION,
  example: { params: { id: "example" } },
});

export const getUsage = operation({
  id: "getUsage",
  method: "GET",
  path: "/api/sessions/{id}/usage",
  tag: "Sessions",
  summary: "What a session uses now, and what its runs have taken together",
  scope: "read",
  answers: {
    200: z.strictObject({
      id: z.string(),
      now: sessionUse,
      total: z.strictObject({
        runs: count.describe("That have ended; a copy begins with none"),
        execution_time_ms: z.number(),
        cpu_time_ms: z.number(),
        memory_peak_bytes: count
          .nullable()
          .describe("The most of any run; null where the host does not count"),
        connections: count,
        refused_connections: count,
        bytes_sent: count,
        bytes_received: count,
      }),
    }),
  },
  errors: OF_A_SESSION,
  example: { params: { id: "example" } },
});

export const updateSession = operation({
  id: "updateSession",
  method: "PATCH",
  path: "/api/sessions/{id}",
  tag: "Sessions",
  summary: "Changes a session's settings; what is not named stays as it is",
  scope: "run",
  body: patchBody,
  answers: { 200: z.strictObject({ success, id: z.string(), metadata: session, updated_at: moment }) },
  errors: [...OF_A_SESSION, "memory_in_use", "disk_full"],
  onInvalid: "message",
  example: { params: { id: "example" }, body: { default_timeout: 60 } },
});

export const deleteSession = operation({
  id: "deleteSession",
  method: "DELETE",
  path: "/api/sessions/{id}",
  tag: "Sessions",
  summary: "Deletes a session with everything of it",
  scope: "run",
  answers: { 200: z.strictObject({ success, id: z.string(), deleted: z.string(), deleted_at: moment }) },
  errors: OF_A_SESSION,
});

export const duplicateSession = operation({
  id: "duplicateSession",
  method: "POST",
  path: "/api/sessions/{id}/duplicate",
  tag: "Sessions",
  summary: "Makes an independent copy with variables, files, home and data",
  scope: "run",
  body: z.object({
    new_id: z.string().optional().describe("The copy's id; else one is made"),
    id: z.string().optional().describe("The same"),
    data: jsonObject("data").optional(),
    version: z.int().min(1).max(Number.MAX_SAFE_INTEGER).optional().describe("Variables as after this run"),
    ...resources,
  }),
  answers: { 201: session.extend({ source_session_id: z.string() }).meta({ id: "SessionCopy" }) },
  errors: [...OF_A_SANDBOX, "session_exists", "version_not_kept", "idempotency_mismatch", "answer_removed"],
  once: true,
  example: { params: { id: "example" }, body: {} },
});
