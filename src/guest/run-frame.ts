/** A program as an agent is asked to run it. A new option is a line in each of the two types below, and one in frameOf(). */
import type { Keep, SaveMode, ServerFrame, StreamName } from "../protocol/guest.ts";

export type OnOutput = (stream: StreamName, chunk: Buffer) => void;

/** What whoever runs a program must say; all else has a default. */
export type GuestProgram = {
  id: string;
  /** The program's file name in tracebacks. */
  name: string;
  code: string;
  timeoutMs: number;
  /** Of each stream; what is printed beyond is dropped, and counted. */
  outputBytes: number;
  onOutput: OnOutput;
} & Partial<ProgramOptions>;

type ProgramOptions = {
  env: Readonly<Record<string, string>>;
  /** New content for .session_data.json; null keeps what the agent wrote last. */
  data: string | null;
  /** False empties the workspace when the run has ended. */
  keepFiles: boolean;
  /** Number of the state after this run. */
  version: number;
  save: SaveMode;
  keep: Keep;
  /** It ends when nothing of it is left to happen. */
  whole: boolean;
  /** It is run only when it has no type errors. */
  check: boolean;
  /** Its code is a command for a shell, beside the kernel. */
  shell: boolean;
  /** Earlier runs that the store has. */
  recorded: readonly string[];
};

const DEFAULTS: ProgramOptions = {
  env: {},
  data: null,
  keepFiles: true,
  version: 1,
  save: "none",
  keep: { versions: 1, bytes: 0 },
  whole: false,
  check: false,
  shell: false,
  recorded: [],
};

/** Its frame: the code, then new session data, are the payload. */
export function frameOf(program: GuestProgram): { header: ServerFrame; payload: Buffer } {
  const run = { ...DEFAULTS, ...program };
  const code = Buffer.from(run.code);
  const data = run.data === null ? null : Buffer.from(run.data);
  const header: ServerFrame = {
    type: "run",
    run: run.id,
    name: run.name,
    code_bytes: code.length,
    has_data: data !== null,
    keep_files: run.keepFiles,
    timeout_ms: Math.ceil(run.timeoutMs),
    output_bytes: run.outputBytes,
    env: run.env,
    version: run.version,
    save: run.save,
    keep: run.keep,
    whole: run.whole,
    check: run.check,
    shell: run.shell,
    recorded: run.recorded,
  };
  return { header, payload: data === null ? code : Buffer.concat([code, data]) };
}
