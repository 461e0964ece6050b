/** What a session asks of the internet, and where others reach it. */
import { z } from "zod";
import { count, moment, nextCursor } from "./answers.ts";
import { pageQuery, portNumber } from "./fields.ts";
import { OF_A_SESSION, operation } from "./operation.ts";

export const listConnections = operation({
  id: "listConnections",
  method: "GET",
  path: "/api/sessions/{id}/connections",
  tag: "Packages and network",
  summary: "What a session has asked of the internet, and what became of it, the newest first",
  scope: "read",
  query: pageQuery,
  answers: {
    200: z.strictObject({
      connections: z.array(
        z.strictObject({
          at: moment,
          host: z.string(),
          port: count,
          refused: z.string().nullable().describe("Why it was refused"),
          bytes_sent: count,
          bytes_received: count,
          duration_ms: z.number(),
        }),
      ),
      totals: z.strictObject({
        connections: count,
        refused: count,
        bytes_sent: count,
        bytes_received: count,
      }),
      next_cursor: nextCursor,
    }),
  },
  errors: OF_A_SESSION,
  example: { params: { id: "example" } },
});

export const getHost = operation({
  id: "getHost",
  method: "GET",
  path: "/api/sessions/{id}/host",
  tag: "Packages and network",
  summary: "The public address of a port inside",
  description:
    "What listens there is reached at `/proxy/{id}/{port}/{path}` with any method, streaming bodies and WebSockets, without a key. Where nothing listens, the stored code runs once and prints the answer.",
  scope: "read",
  query: z.object({ port: z.coerce.number().pipe(portNumber) }),
  answers: {
    200: z.strictObject({ url: z.string(), base_url: z.string(), session_id: z.string(), port: count }),
  },
  errors: OF_A_SESSION,
  onInvalid: { usage: "?port=8000" },
  example: { params: { id: "example" }, query: { port: 8000 } },
});
