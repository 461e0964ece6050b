/** Runs one program of the host to its end. argv arrays only, output bounded, always under a time limit. */
import type { ChildProcess } from "node:child_process";
import { spawnProgram, streamOf } from "./spawn-program.ts";

type CommandResult = {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
};

type CommandOptions = {
  timeoutMs: number;
  cwd?: string;
  env?: Record<string, string>;
  /** What it reads; where that is not known yet, the program waits for it, and is ended when that rejects. */
  stdin?: string | Promise<string>;
  signal?: AbortSignal;
  /** Called with each line of either stream as it comes. */
  onLine?: (line: string) => void;
};

const MAX_OUTPUT_CHARS = 1 << 20;
/** For what a program left running, and its output with it, to end once the program has. */
const LINGER_MS = 200;

/**
 * Resolves when the program has ended and its output was read, whatever its status; rejects if it cannot start, or,
 * once it has ended, if there was no input for it. What it leaves running holds nobody up: it is ended.
 */
export async function runCommand(argv: readonly string[], options: CommandOptions): Promise<CommandResult> {
  options.signal?.throwIfAborted();
  const child = await spawnProgram(argv, {
    cwd: options.cwd,
    env: options.env ?? process.env,
    stdio: ["pipe", "pipe", "pipe"],
    // Its own group, so that a cancelled build takes its children with it.
    detached: true,
  });
  const stdout = collect(streamOf(child.stdout), options.onLine);
  const stderr = collect(streamOf(child.stderr), options.onLine);
  const stdin = streamOf(child.stdin).on("error", () => undefined); // a program that does not read it is no failure
  return new Promise((resolve, reject) => {
    const stop = () => killGroup(child);
    let noInput: { reason: unknown } | null = null;
    Promise.resolve(options.stdin ?? "").then(
      (text) => stdin.end(text),
      (reason: unknown) => {
        noInput = { reason };
        stop();
      },
    );
    const timer = setTimeout(stop, options.timeoutMs);
    options.signal?.addEventListener("abort", stop, { once: true });
    if (options.signal?.aborted) stop(); // while it was started
    const settle = () => {
      clearTimeout(timer);
      options.signal?.removeEventListener("abort", stop);
    };
    const lingering = endLingering(child);
    child.once("close", (code, signal) => {
      settle();
      clearTimeout(lingering());
      if (noInput !== null) reject(noInput.reason);
      else resolve({ code, signal, stdout: stdout(), stderr: stderr() });
    });
  });
}

/**
 * A program may be killed alone, and those that it has started hold its output open. They are ended, and their output
 * is read no longer. Its number is not another's yet while one of its group is there. Answers the timer of that.
 */
function endLingering(child: ChildProcess): () => NodeJS.Timeout | undefined {
  let timer: NodeJS.Timeout | undefined;
  child.once("exit", () => {
    timer = setTimeout(() => {
      signalGroup(child.pid);
      timer = setTimeout(() => [child.stdout, child.stderr].map((stream) => stream?.destroy()), LINGER_MS);
    }, LINGER_MS);
  });
  return () => timer;
}

/** Ends a program that was started as a group of its own, with all that it has started. */
export function killGroup(child: ChildProcess): void {
  if (child.exitCode === null && child.signalCode === null) signalGroup(child.pid);
}

function signalGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // it ended by itself
  }
}

function collect(stream: NodeJS.ReadableStream, onLine: ((line: string) => void) | undefined): () => string {
  let text = "";
  let pending = "";
  stream.setEncoding("utf8");
  stream.on("data", (chunk: string) => {
    if (text.length < MAX_OUTPUT_CHARS) text += chunk;
    if (onLine === undefined) return;
    const lines = (pending + chunk).split(/[\r\n]+/);
    pending = lines.pop() ?? "";
    for (const line of lines) onLine(line);
  });
  return () => text;
}
