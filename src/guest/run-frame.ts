/**
 * A program as an agent is asked to run it. A new option is a member of RunFrame, named below with its default, and a
 * line in frameOf().
 */
import type { RunEventName, RunFrame } from "../protocol/guest.ts";

export type OnOutput = (name: RunEventName, chunk: Buffer) => void;

/** What whoever runs a program must say; all else has a default. */
export type GuestProgram = {
  id: string;
  /** The program's file name in tracebacks. */
  name: string;
  code: string;
  timeoutMs: number;
  /** Limit of each stream; what is printed beyond is dropped, and counted. */
  outputBytes: number;
  onOutput: OnOutput;
} & Partial<ProgramOptions>;

type ProgramOptions = Pick<
  RunFrame,
  "env" | "version" | "save" | "keep" | "whole" | "check" | "shell" | "recorded"
> & {
  /** What its programs read, if anything; `isAsked` lets more come while it runs. */
  stdin: string | null;
  isAsked: boolean;
  /** New content for .session_data.json; null keeps what the agent wrote last. */
  data: string | null;
  /** The largest file that it may write; 0 leaves that as it is. */
  fileBytes: number;
  /** False empties the workspace when the run has ended. */
  keepFiles: boolean;
};

const DEFAULTS: ProgramOptions = {
  env: {},
  stdin: null,
  isAsked: false,
  data: null,
  keepFiles: true,
  version: 1,
  save: "none",
  keep: { versions: 1, bytes: 0 },
  fileBytes: 0,
  whole: false,
  check: false,
  shell: false,
  recorded: [],
};

/** Its frame: the code, its input, then new session data, are the payload. */
export function frameOf(program: GuestProgram): { header: RunFrame; payload: Buffer } {
  const run = { ...DEFAULTS, ...program };
  const code = Buffer.from(run.code);
  const stdin = Buffer.from(run.stdin ?? "");
  const data = run.data === null ? null : Buffer.from(run.data);
  const header: RunFrame = {
    type: "run",
    run: run.id,
    name: run.name,
    code_bytes: code.length,
    stdin: run.isAsked ? "asked" : run.stdin === null ? "none" : "text",
    stdin_bytes: stdin.length,
    has_data: data !== null,
    keep_files: run.keepFiles,
    timeout_ms: Math.ceil(run.timeoutMs),
    output_bytes: run.outputBytes,
    env: run.env,
    version: run.version,
    save: run.save,
    keep: run.keep,
    file_bytes: run.fileBytes,
    whole: run.whole,
    check: run.check,
    shell: run.shell,
    recorded: run.recorded,
  };
  const isBare = stdin.length === 0 && data === null;
  return { header, payload: isBare ? code : Buffer.concat([code, stdin, data ?? Buffer.alloc(0)]) };
}
