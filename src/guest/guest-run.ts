/** A run as an agent is asked for it. */
import type { Keep, SaveMode, ServerFrame, StreamName } from "../protocol/guest.ts";

export type OnOutput = (stream: StreamName, chunk: Buffer) => void;

export type GuestRun = {
  id: string;
  name: string;
  code: string;
  /** New content for .session_data.json; null keeps what the agent wrote last. */
  data: string | null;
  /** False empties the workspace when the run has ended. */
  keepFiles: boolean;
  timeoutMs: number;
  outputBytes: number;
  env: Record<string, string>;
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
  recorded: string[];
  onOutput: OnOutput;
};

/** Its frame: the code, then new session data, are the payload. */
export function frameOf(run: GuestRun): { header: ServerFrame; payload: Buffer } {
  const code = Buffer.from(run.code);
  const data = run.data === null ? null : Buffer.from(run.data);
  const header: ServerFrame = {
    type: "run",
    run: run.id,
    name: run.name,
    code_bytes: code.length,
    has_data: data !== null,
    keep_files: run.keepFiles,
    timeout_ms: run.timeoutMs,
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
