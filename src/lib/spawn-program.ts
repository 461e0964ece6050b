/**
 * The one way to start a program of the host: a start that fails, for want of descriptors or processes, is a rejection.
 */
import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";

/** Resolves once the program has started, before anything that it does was heard. argv arrays only. */
export async function spawnProgram(argv: readonly string[], options: SpawnOptions): Promise<ChildProcess> {
  const [file, ...args] = argv;
  if (file === undefined) throw new TypeError("an empty command");
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const child = spawn(file, args, options);
  // The listener stays: a child without one would end this process when it cannot be signalled.
  child.once("spawn", resolve).on("error", reject);
  await promise;
  return child;
}

/** A stream that the options asked for. */
export function streamOf<T>(stream: T | null): T {
  if (stream === null) throw new TypeError("a stream that was not asked for");
  return stream;
}
