/** What becomes of a session's variables. */
import { z } from "zod";
import { count, moment, sessionState, success } from "./answers.ts";
import { versionNumber } from "./fields.ts";
import { OF_A_SANDBOX, operation } from "./operation.ts";

export const hibernateSession = operation({
  id: "hibernateSession",
  method: "POST",
  path: "/api/sessions/{id}/hibernate",
  tag: "State",
  summary: "Saves everything and ends the sandbox; the next run wakes it",
  scope: "run",
  answers: { 200: z.strictObject({ success, id: z.string(), state: sessionState }) },
  errors: OF_A_SANDBOX,
  example: { params: { id: "example" } },
});

export const rollbackSession = operation({
  id: "rollbackSession",
  method: "POST",
  path: "/api/sessions/{id}/rollback",
  tag: "State",
  summary: "Takes the variables back to what they were after a run; files stay",
  scope: "run",
  body: z.object({ version: versionNumber }),
  answers: {
    200: z.strictObject({ success, id: z.string(), rolled_back_to: count, state: sessionState }),
  },
  errors: [...OF_A_SANDBOX, "version_not_kept", "idempotency_mismatch", "answer_removed"],
  once: true,
});

export const listVersions = operation({
  id: "listVersions",
  method: "GET",
  path: "/api/sessions/{id}/versions",
  tag: "State",
  summary: "Versions of the variables that are kept, the oldest first",
  scope: "read",
  answers: {
    200: z.strictObject({
      versions: z.array(
        z.strictObject({
          version: count,
          run_id: z.string().nullable(),
          saved_at: moment,
          changed: z.array(z.string()),
          bytes_written: count,
          bytes: count,
        }),
      ),
      count,
    }),
  },
  errors: OF_A_SANDBOX,
  example: { params: { id: "example" } },
});

export const listVariables = operation({
  id: "listVariables",
  method: "GET",
  path: "/api/sessions/{id}/variables",
  tag: "State",
  summary: "The saved variables, and what will not survive, with the reason",
  scope: "read",
  answers: {
    200: z.strictObject({
      variables: z.array(
        z.union([
          z.strictObject({
            name: z.string(),
            type: z.string(),
            repr: z.string(),
            bytes: count,
            shared_with: count,
            survives: z.literal(true),
          }),
          z.strictObject({
            name: z.string(),
            type: z.string(),
            survives: z.literal(false),
            reason: z.string(),
          }),
        ]),
      ),
      count,
    }),
  },
  errors: OF_A_SANDBOX,
  example: { params: { id: "example" } },
});
