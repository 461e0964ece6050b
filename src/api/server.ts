/** Operations of the server itself. */
import { z } from "zod";
import { count, json, moment, snapshotSupport } from "./answers.ts";
import { operation } from "./operation.ts";

const milliseconds = z.number().nonnegative();

export const health = operation({
  id: "health",
  method: "GET",
  path: "/health",
  tag: "Server",
  summary: "Whether it answers, what it is short of, and which isolation is in force",
  scope: "none",
  answers: {
    200: z.strictObject({
      status: z.enum(["healthy", "degraded"]),
      problems: z.array(z.string()).optional().describe("Sentences for a person"),
      version: z.string(),
      time: moment,
      timestamp: moment,
      image: z.string(),
      sandboxes: z.strictObject({ live: count, warm: count, max: count }),
      event_loop: z.strictObject({ longest_delay_ms: milliseconds, p99_delay_ms: milliseconds }),
      isolation: z.record(z.string(), z.strictObject({ state: z.string(), detail: z.string() })),
      imaging: z.strictObject(snapshotSupport),
    }),
  },
  errors: [],
  example: {},
});

export const openapi = operation({
  id: "openapi",
  method: "GET",
  path: "/openapi.json",
  tag: "Server",
  summary: "This API as an OpenAPI 3.1 document",
  scope: "none",
  answers: { 200: json },
  errors: [],
  example: {},
});

export const reference = operation({
  id: "reference",
  method: "GET",
  path: "/reference",
  tag: "Server",
  summary: "This API as a page to read",
  scope: "none",
  answers: { 200: { type: "text/html; charset=utf-8", description: "A page that loads nothing else" } },
  errors: [],
  example: {},
});

export const metrics = operation({
  id: "metrics",
  method: "GET",
  path: "/metrics",
  tag: "Server",
  summary: "What the server counts and measures, for Prometheus",
  scope: "admin",
  answers: {
    200: {
      type: "text/plain; version=0.0.4",
      description: "Prometheus' text format; no label is chosen by a client",
    },
  },
  errors: [],
  example: {},
});
