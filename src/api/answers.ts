/** Answers that several operations give. Handlers are typed by them, and tests compare each answer with them. */
import { z } from "zod";
import { guestError, lostItem, richResults } from "../protocol/guest.ts";
import { LANGUAGES } from "../protocol/languages.ts";
import { durability, imaging, internetAccess } from "./fields.ts";

const count = z.int().nonnegative();
const moment = z.iso.datetime();
export const json = z.unknown();
const object = z.record(z.string(), z.unknown());

const language = z.enum(LANGUAGES).meta({ id: "Language" });

/** The body of each refusal. */
export const refusal = z
  .looseObject({
    error: z.string().describe("One sentence for a person"),
    code: z.string().describe("What programs branch on: docs/errors.md lists them"),
    hint: z.string().optional().describe("What to do"),
    details: z.unknown().optional(),
  })
  .meta({ id: "Refusal" });

export const success = z.literal(true);

const usage = {
  duration: z.string().nullable().describe("As text, for instance 1.5ms"),
  execution_time_ms: z.number().nonnegative().nullable(),
  cpu_time_ms: z
    .number()
    .nonnegative()
    .nullable()
    .describe("Of all its processes; null where the host does not count"),
  memory_peak_bytes: count
    .nullable()
    .describe("Of the whole sandbox while it ran; null where the host does not count"),
};

const outcomeKind = z
  .enum([
    "ok",
    "raised",
    "exited",
    "signalled",
    "timed_out",
    "out_of_memory",
    "disk_full",
    "interrupted",
    "lost",
  ])
  .meta({ id: "Outcome" });
const truncated = z.strictObject({
  stdout: count.optional(),
  stderr: count.optional(),
  results: count.optional(),
});
const rolledBack = z.strictObject({ version: count, reason: z.string() }).nullable();

const results = richResults.meta({
  id: "Results",
  description: "Values that the run showed; png and jpeg in base64",
});

const runState = z
  .strictObject({
    version: count.describe("Number of the run that the variables are at"),
    saved_version: count,
    rolled_back: rolledBack,
    save_failure: z.string().optional(),
    image_lost: z.string().optional(),
    not_kept: z.array(lostItem).describe("Variables that will not survive, with the reason"),
  })
  .meta({ id: "RunState" });

const ended = {
  exit_code: z.int().describe("0, or as a shell reports it: 124 after a time limit, 137 for memory or disk"),
  stdout: z.string(),
  stderr: z.string(),
  ...usage,
  outcome: outcomeKind,
  error: guestError.nullable(),
  results,
  truncated: truncated
    .optional()
    .describe("What was left out: bytes of each stream, and a number of results"),
};
const warnings = z
  .array(z.string())
  .optional()
  .describe("What the server had to say of the run while it went on");

export const runResult = z
  .strictObject({
    ...ended,
    session_id: z.string(),
    run_id: z.string(),
    data: object.describe("The session's data after the run"),
    files_modified: count.nullable(),
    files_changed: z
      .array(z.string())
      .optional()
      .describe(
        "Files of the workspace that were written in it, 100 at most; those that were deleted are not told",
      ),
    warnings,
    state: runState.nullable(),
    results_left_out: count.optional(),
    output_lost: z.boolean().optional(),
    created: z.literal(true).optional().describe("The run made the session"),
  })
  .meta({ id: "RunResult" });

export const oneShotResult = z
  .strictObject({
    ...ended,
    language,
    vm_id: z.string(),
    session_id: z.string(),
    files: z
      .array(z.strictObject({ path: z.string(), size: count, content: z.string().describe("In base64") }))
      .optional()
      .describe("What `outputs` asked for"),
    files_left_out: z
      .array(z.strictObject({ path: z.string(), size: count }))
      .optional()
      .describe("What fits a pattern, and is beyond 100 files or 8 MiB"),
    files_unnamed_count: count.optional().describe("Files whose names no request, and no pattern, can say"),
    files_cut: z
      .literal(true)
      .optional()
      .describe(
        "There may be more: 20,000 entries are looked at, for a second, and 100 that are left out are named",
      ),
  })
  .meta({ id: "OneShotResult" });

const runRow = {
  run_id: z.string(),
  session_id: z.string(),
  number: count.describe("Position among the session's runs, from 1"),
  status: z.enum(["queued", "running", "done", "lost"]),
  created_at: moment,
  ended_at: moment.nullable(),
  exit_code: z.int().nullable(),
  outcome: outcomeKind.nullable(),
  error: guestError.nullable(),
  ...usage,
};
export const runRowAnswer = z.strictObject(runRow).meta({ id: "RunRow" });
export const runRecord = z
  .strictObject({
    ...runRow,
    stdout: z.string(),
    stderr: z.string(),
    warnings,
    files_changed: z.array(z.string()).optional(),
    code: z.string().nullable().describe("Its program, or its command; the first 64 Ki characters"),
    code_length: count.nullable(),
    is_shell: z.boolean().nullable(),
    env: z.array(z.string()).describe("Names of its own environment variables"),
    stdin_length: count.nullable().describe("Characters of the standard input that it was given before"),
    key_id: z.string().nullable().describe("Whose key; null for the operator"),
    waited_ms: z.number().nonnegative().nullable().describe("From the request to its start"),
    late_output: z.string().describe("Written after its end by processes that it left"),
    results,
    results_left_out: count.optional(),
    state: runState.nullable(),
    truncated: truncated.optional(),
  })
  .meta({ id: "RunRecord" });

const sessionRow = {
  id: z.string(),
  session_id: z.string(),
  created_at: moment,
  last_run_at: z.union([moment, z.literal("")]),
  language,
  persistent: z.boolean(),
  file_count: count,
  total_size_bytes: count,
  metadata: object,
  status: z.enum(["cold", "starting", "idle", "running", "ending", "deleted"]),
  memory_bytes: count
    .nullable()
    .describe("What its programs hold; null while it sleeps, or where nobody counts"),
  variables_bytes: count.describe("Saved variables"),
  last_used_at: moment,
  expires_at: moment.nullable().describe("When it is deleted if nobody uses it until then; null: never"),
};
export const sessionRowAnswer = z.strictObject(sessionRow).meta({ id: "SessionRow" });

const setupStatus = z.enum(["pending", "running", "completed", "failed", "cancelled"]);
export const setupFields = {
  setup: object.describe("As it was asked for; values of `envs` are masked"),
  setup_status: setupStatus,
  setup_result: z
    .strictObject({
      success: z.boolean(),
      duration_ms: z.number(),
      pip_packages: z.array(z.string()),
      npm_packages: z.array(z.string()),
      go_modules: z.array(z.string()),
      commands_run: z.array(z.string()),
      error: z.string().optional(),
      stdout: z.string().optional(),
      stderr: z.string().optional(),
    })
    .optional(),
};

export const snapshotSupport = { supported: z.boolean(), detail: z.string() };

/** What there is of a session's variables. */
export const sessionState = z
  .strictObject({
    kind: z.enum(["new", "live", "hibernated"]),
    version: count,
    saved_version: count,
    bytes: count,
    not_kept: z.array(lostItem),
    left_out: z.array(z.string()).readonly().describe("Files that look like secrets, and were not kept"),
    save_failure: z.string().nullable(),
    rolled_back: rolledBack,
    hibernated_at: moment.nullable(),
    imaging: z.strictObject({
      mode: imaging,
      ...snapshotSupport,
      image: z.strictObject({ bytes: count, took_ms: z.number(), version: count }).nullable(),
      lost: z.string().nullable(),
    }),
  })
  .meta({ id: "SessionState" });

export const sessionUse = z
  .strictObject({
    memory_bytes: count.nullable().describe("Null while it sleeps, or where the host does not count"),
    files_bytes: count,
    files: count,
    variables_bytes: count,
    snapshot_bytes: count,
  })
  .meta({ id: "SessionUse" });

export const session = z
  .strictObject({
    ...sessionRow,
    data: object,
    allowInternetAccess: internetAccess,
    allow_internet_access: internetAccess,
    allowPublicAccess: z.boolean(),
    allow_public_access: z.boolean(),
    durability,
    imaging,
    setup: setupFields.setup.optional(),
    setup_status: setupFields.setup_status.optional(),
    setup_result: setupFields.setup_result,
    default_timeout: z.number().optional(),
    memory_mib: z.number().optional(),
    cpu_count: z.number().optional(),
    disk_mib: z.number().optional(),
    limits: z.strictObject({
      timeout: z.number().describe("Seconds of a run that asks for none"),
      memory_mib: count,
      cpu_count: z.number(),
      processes: count,
      disk_mib: count,
      state_mib: count,
    }),
    usage: sessionUse,
    branched_from: z
      .strictObject({ session_id: z.string(), version: count })
      .optional()
      .describe("The session, and its version, of which it is a copy"),
    expires_after: z.number().optional(),
    state: sessionState,
  })
  .meta({ id: "Session" });

export const file = z
  .strictObject({ path: z.string(), size: count, modified_at: moment })
  .meta({ id: "File" });

export type RunResultAnswer = z.infer<typeof runResult>;
export type SessionStateAnswer = z.infer<typeof sessionState>;
export type SessionAnswer = z.infer<typeof session>;

export const nextCursor = z.string().nullable().describe("Null: there is no further page");
export { count, moment, object };
