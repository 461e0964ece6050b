/**
 * Frames between the server and the agent in a sandbox; docs/guest-protocol.md draws the exchange. The agent ships
 * with the server, so a field that is not listed here means a forged frame, and is refused.
 */
import { z } from "zod";

export const GUEST_PROTOCOL = 7;
export const MAX_HEADER_BYTES = 256 << 10;
export const MAX_PAYLOAD_BYTES = 12 << 20;

const runId = z.string().max(64);
const stream = z.enum(["stdout", "stderr"]);
const exitCode = z.int().min(0).max(255);
export const guestError = z.strictObject({
  name: z.string().max(1024),
  message: z.string().max(8192),
  traceback: z.string().max(65_536),
});
const fileCounts = z.strictObject({
  files: z.int().nonnegative(),
  bytes: z.int().nonnegative(),
  modified: z.int().nonnegative(),
  /** Paths of those, relative to the workspace; the first of many. */
  changed: z.array(z.string().max(1024)).max(100),
});

const version = z.int().min(0).max(Number.MAX_SAFE_INTEGER);
export const lostItem = z.strictObject({
  name: z.string(),
  type: z.string().max(1024),
  reason: z.string().max(2048),
});
const notKept = z.array(lostItem).max(200);
/** What a new kernel found saved. */
const restored = z.strictObject({
  version,
  run: z.string().max(64),
  result: z
    .strictObject({
      outcome: z.enum(["ok", "raised", "exited"]),
      exit_code: exitCode,
      error: guestError.nullable(),
    })
    .nullable(),
  not_kept: notKept,
  /** Why newer versions cannot be read. */
  damage: z.array(z.string().max(2048)).max(100),
});
/** How a save went; `failed` says why it did not. */
const saved = z.strictObject({
  type: z.literal("saved"),
  version,
  written: version,
  bytes: version,
  not_kept: notKept,
  failed: z.string().max(2048).nullable(),
  staged: z.boolean(),
  /** The answer to a request to save everything. */
  complete: z.boolean(),
  /** What of the program goes on between runs: threads, timers, servers. */
  background: z.int().nonnegative(),
});
/** What the session's folders hold, and the variables that the kernel has of it. */
const held = {
  epoch: z.int(),
  restored: restored.nullable(),
  /** Runs that have ended and that no server has said to have recorded. */
  unrecorded: z.array(runId).max(10_000),
  /** The version of the last run. */
  version,
  /** Whether its agent knows of programs beside the runs; those of earlier servers do not. */
  programs: z.boolean().optional(),
};
const hello = z.strictObject({
  type: z.literal("hello"),
  protocol: z.int(),
  /** What the first server of this sandbox has told it; null on the first line. */
  token: z.string().max(64).nullable(),
  running: runId.nullable(),
  ...held,
});
/** A session that has moved in is there. */
const movedIn = z.strictObject({ type: z.literal("moved_in"), ...held });
const unknown = z.strictObject({ type: z.literal("unknown"), run: runId });
const inspected = z.strictObject({ type: z.literal("inspected") });
/** What differs between two versions, in the payload; or why one of them cannot be read. */
const compared = z.strictObject({ type: z.literal("compared"), error: z.string().max(2048).nullable() });
const rolledBack = z.strictObject({
  type: z.literal("rolled_back"),
  error: z.string().max(2048).nullable(),
  epoch: z.int().positive(),
  restored: restored.nullable(),
});
/** All its other processes stand still and the line ends; or why not. */
const frozen = z.strictObject({ type: z.literal("frozen"), error: z.string().max(2048).nullable() });
/** Nobody listens on the port that a connection was asked to. */
const refused = z.strictObject({ type: z.literal("refused"), ticket: z.string().max(64) });
const output = z.strictObject({ type: z.literal("output"), run: runId, stream });
/** Something that the run displays, as one of `richResults`; with `clear`, in the place of all before it. */
const display = z.strictObject({ type: z.literal("display"), run: runId });
/** The run waits for input, and has printed a prompt. */
const asks = z.strictObject({ type: z.literal("asks"), run: runId });
const late = z.strictObject({ type: z.literal("late"), run: runId, stream });
const dropped = z.int().positive().optional();
const end = z.strictObject({
  type: z.literal("end"),
  run: runId,
  /** The version of the variables afterwards: a shell command leaves them at the version before. */
  version,
  outcome: z.enum(["ok", "raised", "exited", "signalled", "lost"]),
  cause: z.enum(["timed_out", "interrupted"]).nullable(),
  exit_code: exitCode.nullable(),
  signal: z.int().min(1).max(64).nullable(),
  error: guestError.nullable(),
  elapsed_us: z.int().nonnegative(),
  /** Bytes of each stream, and the number of results, that are not in the answer. */
  dropped: z.strictObject({ stdout: dropped, stderr: dropped, results: dropped }),
  files: fileCounts.nullable(),
  results_bytes: z.int().nonnegative(),
  has_data: z.boolean(),
  epoch: z.int().positive(),
  saved: saved.nullable(),
  restored: restored.nullable(),
});
const kernel = z.strictObject({
  type: z.literal("kernel"),
  epoch: z.int().positive(),
  outcome: z.enum(["exited", "signalled", "lost"]),
  exit_code: exitCode,
  signal: z.int().min(1).max(64).nullable(),
  error: guestError.optional(),
});
const ticket = z.int().nonnegative();
/** What came of a question about programs; in the payload what it asked for, as JSON. */
const told = z.strictObject({
  type: z.literal("told"),
  ticket,
  error: z.strictObject({ code: z.string().max(32), message: z.string().max(1024) }).nullable(),
});
/** Output of a program from a place on, in the payload; `stream` is null when there is no more, and it has ended. */
const read = z.strictObject({
  type: z.literal("read"),
  ticket,
  stream: z.enum(["stdout", "stderr", "terminal"]).nullable(),
  at: version,
});
/** As guest/agent/programs.py describes it. */
export const programState = z.strictObject({
  program: z.string().max(64),
  argv: z.array(z.string().max(4096)).max(1_000),
  pid: z.int().positive(),
  terminal: z.boolean(),
  started_at: z.number(),
  ended_at: z.number().nullable(),
  exit_code: exitCode.nullable(),
  signal: z.int().min(1).max(64).nullable(),
  first: version,
  end: version,
});
export const programStates = z.array(programState).max(256);
const fault = z.strictObject({ type: z.literal("fault"), message: z.string().max(16_384) });

/** What an agent may say. */
export const agentFrame = z.discriminatedUnion("type", [
  hello,
  output,
  display,
  asks,
  late,
  end,
  kernel,
  saved,
  unknown,
  inspected,
  compared,
  rolledBack,
  movedIn,
  frozen,
  refused,
  told,
  read,
  fault,
]);
export type AgentFrame = z.infer<typeof agentFrame>;
export type EndFrame = z.infer<typeof end>;
export type HelloFrame = z.infer<typeof hello>;
export type SavedFrame = z.infer<typeof saved>;

export type ProgramTold = z.infer<typeof told>;
export type ProgramRead = z.infer<typeof read>;
export type ProgramState = z.infer<typeof programState>;
export type RolledBackFrame = z.infer<typeof rolledBack>;
export type RestoredState = z.infer<typeof restored>;
export type NotKept = z.infer<typeof notKept>;
export type StreamName = z.infer<typeof stream>;
/** What comes of a run before its end: output, something displayed as JSON, a prompt. */
export type RunEventName = StreamName | "display" | "asks";

/** A program to be run: its code, its standard input, then new content for .session_data.json, are the payload. */
export type RunFrame = {
  type: "run";
  run: string;
  /** The program's file name in tracebacks. */
  name: string;
  code_bytes: number;
  /** What its programs read: nothing, a text that is in the payload after the code, or that and what comes later. */
  stdin: "none" | "text" | "asked";
  stdin_bytes: number;
  /** Whether the payload goes on with new content for .session_data.json. */
  has_data: boolean;
  keep_files: boolean;
  timeout_ms: number;
  output_bytes: number;
  env: Readonly<Record<string, string>>;
  /** Number of the state after this run. */
  version: number;
  save: SaveMode;
  keep: Keep;
  /** The largest file that its programs may write; 0 leaves it as it is. */
  file_bytes: number;
  /** A program that runs alone: it ends when nothing of it is left to happen, as its process would. */
  whole: boolean;
  /** TypeScript: it is run only when it has no type errors. */
  check: boolean;
  /** The code is a command for a shell beside the kernel. */
  shell: boolean;
  /** Earlier runs that the store has: their results need not be kept any more. */
  recorded: readonly string[];
};

/** What the server may ask. */
export type ServerFrame =
  | { type: "seed"; path: string }
  | { type: "interrupt"; run: string }
  /** More for a run that asks for input; after its end there is no more. */
  | { type: "stdin"; run: string; end: boolean }
  /** `preload`: modules that a sandbox of which nobody has used anything may import meanwhile. */
  | { type: "welcome"; token: string; orphan_ms: number; preload: readonly string[] }
  | { type: "replay"; run: string }
  | { type: "save"; version: number; keep: Keep }
  | { type: "inspect" }
  | { type: "compare"; from: number; to: number }
  | { type: "rollback"; version: number; to: number }
  /** A session has moved into the folders of this sandbox, which is new. */
  | { type: "move_in" }
  /** Has all processes stand still, so that they can be imaged, until a server is on the line again. */
  | { type: "freeze" }
  /** This sandbox is a copy of another one. */
  | { type: "reseed" }
  /** A question about programs beside the runs; the rest of a new one is the payload, or what it is given. */
  | ({ type: "program"; ticket: number } & ProgramAct)
  /** A connection to a port inside, to be made known on the second socket by its ticket. */
  | { type: "connect"; port: number; ticket: string }
  | RunFrame;
type ProgramAct =
  | { act: "start"; program: string; terminal: { columns: number; rows: number } | null; file_bytes: number }
  | { act: "list" }
  | { act: "read"; program: string; after: number }
  | { act: "unread" }
  | { act: "input"; program: string; end: boolean }
  | { act: "signal"; program: string; signal: number }
  | { act: "resize"; program: string; terminal: { columns: number; rows: number } }
  | { act: "forget"; program: string };
/** Saved versions of the variables: how many there may be, and how many bytes their files may take together. */
export type Keep = { versions: number; bytes: number };
/** Whether a run's state is saved: not at all, soon after its answer, or on disk before it. */
export type SaveMode = "none" | "async" | "sync";

const rich = z.string().optional();
const richResult = z.strictObject({
  main: z.boolean(),
  text: z.string(),
  html: rich,
  svg: rich,
  png: rich,
  jpeg: rich,
  markdown: rich,
  latex: rich,
  json: rich,
  display_id: z.string().max(400).optional(),
  omitted: z.array(z.string()).optional(),
});
/** As guest/python/display.py describes them. */
export const richResults = z.array(richResult).max(1_000);
/** One that is displayed on the way, or only that what was displayed before is taken back. */
export const displayed = z.union([
  richResult.extend({ clear: z.boolean().optional() }),
  z.strictObject({ clear: z.literal(true) }),
]);

/** What is saved of a session, as guest/state/state_files.py lists it. */
export const stateListing = z.strictObject({
  variables: z
    .array(
      z.strictObject({
        name: z.string(),
        type: z.string(),
        repr: z.string(),
        bytes: version,
        shared_with: version,
      }),
    )
    .max(1_000),
  versions: z
    .array(
      z.strictObject({
        version,
        run: z.string().max(64),
        at: version,
        changed: z.array(z.string()).max(100),
        written: version,
        bytes: version,
      }),
    )
    .max(100),
  not_kept: z.array(lostItem).max(1_000),
});
export type StateListing = z.infer<typeof stateListing>;

const describedName = z.strictObject({ name: z.string(), type: z.string(), repr: z.string() });
/** What differs between two versions, as guest/state/state_listing.py lists it. */
export const stateDifference = z.strictObject({
  added: z.array(describedName).max(1_000),
  removed: z.array(describedName).max(1_000),
  changed: z
    .array(z.strictObject({ name: z.string(), before: describedName, after: describedName }))
    .max(1_000),
});
export type StateDifference = z.infer<typeof stateDifference>;
