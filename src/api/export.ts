/** A session as one file, and a session from one. */
import { z } from "zod";
import { moment, session } from "./answers.ts";
import { OF_A_SANDBOX, operation } from "./operation.ts";

const TAR = "application/x-tar";

export const exportSession = operation({
  id: "exportSession",
  method: "GET",
  path: "/api/sessions/{id}/export",
  tag: "Sessions",
  summary: "The session as one file: files, variables with their versions, settings, data, code, records",
  description:
    "Of a session that sleeps with an `ETag`, and 304 for `If-None-Match` when it would be the same.",
  scope: "read",
  answers: { 200: { type: TAR, description: "As docs/export-format.md describes it" }, 304: null },
  errors: OF_A_SANDBOX,
  example: { params: { id: "example" } },
});

export const importSession = operation({
  id: "importSession",
  method: "POST",
  path: "/api/sessions/import",
  tag: "Sessions",
  summary: "A session from such a file, under its own id or another",
  scope: "run",
  query: z.object({ session_id: z.string().optional().describe("Another id than the file's") }),
  body: { type: TAR, description: "What an export gave" },
  answers: {
    201: session
      .extend({
        imported_from: z.strictObject({ session_id: z.string(), exported_at: moment }),
        left_out: z.array(z.string()),
      })
      .meta({ id: "ImportedSession" }),
  },
  errors: [...OF_A_SANDBOX, "session_exists", "unknown_language"],
});
