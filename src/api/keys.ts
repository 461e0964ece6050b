/** Keys of the API, and the log of what was done with them. */
import { z } from "zod";
import { count, moment, nextCursor, success } from "./answers.ts";
import { pageQuery } from "./fields.ts";
import { operation } from "./operation.ts";

const scope = z.enum(["read", "run", "admin"]);
const limit = z.int().min(0).max(1_000_000_000).nullable();
const limits = {
  sessions: limit.describe("Sessions at the same time; null: no limit"),
  live_sessions: limit.describe("Of these, those that have a sandbox"),
  runs_per_minute: limit.describe("Programs that are begun in a minute"),
  internet: z.boolean().describe("Whether its sessions may be allowed to reach the internet"),
};
const key = {
  id: z.string(),
  name: z.string(),
  scope,
  limits: z.strictObject(limits),
  created_at: moment,
};
const keyAnswer = z.strictObject(key).meta({ id: "Key" });

export const createKey = operation({
  id: "createKey",
  method: "POST",
  path: "/api/keys",
  tag: "Keys",
  summary: "Makes a key; it is told in this answer only",
  description:
    "A key sees and names its own sessions, and no others; those of `admin` see all. `read` looks, `run` also runs and changes, `admin` also makes keys.",
  scope: "admin",
  body: z.object({
    name: z.string().min(1).max(100).describe("Whose it is, for people"),
    scope: scope.optional().describe("`run` when absent"),
    sessions: limits.sessions.optional(),
    live_sessions: limits.live_sessions.optional(),
    runs_per_minute: limits.runs_per_minute.optional(),
    internet: limits.internet.optional().describe("`true` when absent"),
  }),
  answers: { 201: z.strictObject({ ...key, key: z.string() }) },
  errors: [],
  example: { body: { name: "example", runs_per_minute: 600 } },
});

export const listKeys = operation({
  id: "listKeys",
  method: "GET",
  path: "/api/keys",
  tag: "Keys",
  summary: "Lists the keys, without what is secret of them",
  scope: "admin",
  answers: { 200: z.strictObject({ keys: z.array(keyAnswer), count }) },
  errors: [],
  example: {},
});

export const deleteKey = operation({
  id: "deleteKey",
  method: "DELETE",
  path: "/api/keys/{key_id}",
  tag: "Keys",
  summary: "Revokes a key, at once; its sessions stay, for keys of `admin`",
  scope: "admin",
  answers: { 200: z.strictObject({ success, id: z.string() }) },
  errors: ["key_not_found"],
});

export const listAudit = operation({
  id: "listAudit",
  method: "GET",
  path: "/api/audit",
  tag: "Keys",
  summary:
    "What was done, by whom, and what came of it, the newest first; of one's own key, or of all for `admin`",
  scope: "read",
  query: pageQuery,
  answers: {
    200: z.strictObject({
      entries: z.array(
        z.strictObject({
          at: moment,
          key_id: z.string().nullable().describe("Null for the operator's own key"),
          operation: z.string(),
          target: z.string().nullable().describe("A session or run"),
          status: z.int(),
          request_id: z.string(),
        }),
      ),
      count,
      next_cursor: nextCursor,
    }),
  },
  errors: [],
  example: {},
});
