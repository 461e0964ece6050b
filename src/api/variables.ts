/** Variables of a session, one by one, and differences between versions of them. */
import { z } from "zod";
import { isShallow, MAX_JSON_DEPTH } from "../lib/json-depth.ts";
import { count, json, sessionState, success } from "./answers.ts";
import { versionNumber } from "./fields.ts";
import { OF_A_SANDBOX, operation } from "./operation.ts";

const FORMS = ["json", "text", "html", "markdown", "latex", "svg", "png", "jpeg", "csv"] as const;
export type ValueForm = (typeof FORMS)[number];

/** JSON writes numbers from here on as decimals. */
const DECIMAL_FROM = 1e21;
const MAX_VALUE_CHARS = 4 << 20;

export const getVariable = operation({
  id: "getVariable",
  method: "GET",
  path: "/api/sessions/{id}/variables/{name}",
  tag: "State",
  summary: "The value of one variable, in a form that it offers",
  description:
    "Of Python, node, typescript and deno. JSON is exact, or refused: arrays are nested lists, frames have their columns, index, rows and dtypes, with null for what is missing, and times as text. A session that sleeps is woken. Values of more than 8 MiB are read in parts.",
  scope: "read",
  query: z.object({
    form: z.enum(FORMS).optional().describe("`json` when absent"),
    from: z.coerce.number().int().min(0).max(1e12).optional().describe("The first row or item of a part"),
    count: z.coerce.number().int().min(1).max(1e9).optional().describe("Rows or items of a part"),
  }),
  answers: {
    200: z.strictObject({
      name: z.string(),
      type: z.string(),
      form: z.enum(FORMS),
      value: json.describe("JSON as it is; other forms as text, pictures in base64"),
      length: count.nullable().describe("Rows or items of the whole"),
      shape: z.array(count).nullable(),
    }),
  },
  errors: [...OF_A_SANDBOX, "variable_not_found", "no_such_form", "setup_in_progress"],
  example: { params: { id: "example", name: "x" } },
});

/** Whether all its numbers are what was written: a larger whole number has lost digits by now. */
function isExact(value: unknown): boolean {
  if (typeof value === "number")
    return !Number.isInteger(value) || Number.isSafeInteger(value) || Math.abs(value) >= DECIMAL_FROM;
  return typeof value !== "object" || value === null || Object.values(value).every(isExact);
}

export const setVariable = operation({
  id: "setVariable",
  method: "PUT",
  path: "/api/sessions/{id}/variables/{name}",
  tag: "State",
  summary: "Gives a variable a value, as a run does: it makes a version, and a record",
  description: "Of Python, node, typescript, deno, and of bash, which has texts and numbers only.",
  scope: "run",
  body: z.object({
    value: z
      .unknown()
      .refine((value) => value !== undefined, "it is missing: it must be a value of JSON")
      .refine((value) => isShallow(value), { error: `it may be nested ${MAX_JSON_DEPTH} deep`, abort: true })
      .refine((value) => (JSON.stringify(value)?.length ?? 0) <= MAX_VALUE_CHARS, "it may have 4 MiB of JSON")
      .refine(isExact, "it has a whole number beyond 2^53, which would change: give it as text")
      .describe("Any JSON"),
  }),
  answers: { 200: z.strictObject({ success, name: z.string(), run_id: z.string(), version: count }) },
  errors: [...OF_A_SANDBOX, "setup_in_progress", "queue_full"],
  example: { params: { id: "example", name: "x" }, body: { value: { answer: 42 } } },
});

export const deleteVariable = operation({
  id: "deleteVariable",
  method: "DELETE",
  path: "/api/sessions/{id}/variables/{name}",
  tag: "State",
  summary: "Deletes a variable, as a run does; of Python and bash",
  scope: "run",
  answers: { 200: z.strictObject({ success, name: z.string(), run_id: z.string(), version: count }) },
  errors: [...OF_A_SANDBOX, "variable_not_found", "setup_in_progress", "queue_full"],
  example: { params: { id: "example", name: "x" } },
});

const described = z.strictObject({ name: z.string(), type: z.string(), repr: z.string() });

export const compareVersions = operation({
  id: "compareVersions",
  method: "GET",
  path: "/api/sessions/{id}/difference",
  tag: "State",
  summary: "What differs between two kept versions of the variables",
  description:
    "Read from what is saved: no value is loaded. Variables that share a value are saved together, and change together.",
  scope: "read",
  query: z.object({
    from: z.coerce.number().pipe(versionNumber).describe("The older version"),
    to: z.coerce.number().pipe(versionNumber).describe("The newer one"),
  }),
  answers: {
    200: z.strictObject({
      from: count,
      to: count,
      added: z.array(described),
      removed: z.array(described),
      changed: z.array(z.strictObject({ name: z.string(), before: described, after: described })),
    }),
  },
  errors: [...OF_A_SANDBOX, "version_not_kept"],
});

const step = (id: string, path: string, summary: string, error: "nothing_to_undo" | "nothing_to_redo") =>
  operation({
    id,
    method: "POST",
    path: `/api/sessions/{id}/${path}` as "/api/sessions/{id}/undo",
    tag: "State",
    summary,
    scope: "run",
    answers: {
      200: z.strictObject({ success, id: z.string(), rolled_back_to: count, state: sessionState }),
    },
    errors: [...OF_A_SANDBOX, "version_not_kept", error],
  });

export const undo = step(
  "undo",
  "undo",
  "Takes the variables back to before the last run; files stay",
  "nothing_to_undo",
);
export const redo = step(
  "redo",
  "redo",
  "Takes back the last undo, while no run has come since",
  "nothing_to_redo",
);
