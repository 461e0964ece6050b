/**
 * Frames between the server and the agent in a sandbox; docs/guest-protocol.md draws the exchange. The agent ships
 * with the server, so a field that is not listed here means a forged frame, and is refused.
 */
import { z } from "zod";

export const GUEST_PROTOCOL = 1;
export const MAX_HEADER_BYTES = 256 << 10;
export const MAX_PAYLOAD_BYTES = 12 << 20;

const runId = z.string().max(64);
const stream = z.enum(["stdout", "stderr"]);
const exitCode = z.int().min(0).max(255);
const guestError = z.strictObject({
  name: z.string().max(1024),
  message: z.string().max(8192),
  traceback: z.string().max(65_536),
});
const fileCounts = z.strictObject({
  files: z.int().nonnegative(),
  bytes: z.int().nonnegative(),
  modified: z.int().nonnegative(),
});

const hello = z.strictObject({ type: z.literal("hello"), protocol: z.int(), epoch: z.int() });
const output = z.strictObject({ type: z.literal("output"), run: runId, stream });
const late = z.strictObject({ type: z.literal("late"), run: runId, stream });
const end = z.strictObject({
  type: z.literal("end"),
  run: runId,
  outcome: z.enum(["ok", "raised", "exited", "signalled", "lost"]),
  cause: z.enum(["timed_out", "interrupted"]).nullable(),
  exit_code: exitCode.nullable(),
  signal: z.int().min(1).max(64).nullable(),
  error: guestError.nullable(),
  elapsed_us: z.int().nonnegative(),
  dropped: z.strictObject({ stdout: z.int().positive().optional(), stderr: z.int().positive().optional() }),
  files: fileCounts.nullable(),
  results_bytes: z.int().nonnegative(),
  has_data: z.boolean(),
  epoch: z.int().positive(),
});
const kernel = z.strictObject({
  type: z.literal("kernel"),
  epoch: z.int().positive(),
  outcome: z.enum(["exited", "signalled", "lost"]),
  exit_code: exitCode,
  signal: z.int().min(1).max(64).nullable(),
  error: guestError.optional(),
});
const fault = z.strictObject({ type: z.literal("fault"), message: z.string().max(16_384) });

/** What an agent may say. */
export const agentFrame = z.discriminatedUnion("type", [hello, output, late, end, kernel, fault]);
export type AgentFrame = z.infer<typeof agentFrame>;
export type EndFrame = z.infer<typeof end>;
export type StreamName = z.infer<typeof stream>;

/** What the server may ask. */
export type ServerFrame =
  | { type: "seed"; path: string }
  | { type: "interrupt"; run: string }
  | {
      type: "run";
      run: string;
      /** The program's file name in tracebacks. */
      name: string;
      code_bytes: number;
      /** Whether the payload goes on with new content for .session_data.json. */
      has_data: boolean;
      keep_files: boolean;
      timeout_ms: number;
      output_bytes: number;
      env: Record<string, string>;
    };

const rich = z.string().optional();
/** As guest/python/display.py describes them. */
export const richResults = z
  .array(
    z.strictObject({
      main: z.boolean(),
      text: z.string(),
      html: rich,
      svg: rich,
      png: rich,
      jpeg: rich,
      markdown: rich,
      latex: rich,
      omitted: z.array(z.string()).optional(),
    }),
  )
  .max(1_000);
