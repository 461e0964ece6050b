import { once } from "node:events";
import { spawnProgram, streamOf } from "./spawn-program.ts";

/**
 * Holds an exclusive lock on a file until disposed of. The lock is held by a `flock` process whose input is our pipe:
 * when this process dies, however it does, the pipe closes and the lock is free. `onWait` is called if others hold it.
 */
export async function lockFile(
  path: string,
  onWait: () => void,
  signal?: AbortSignal,
): Promise<AsyncDisposable> {
  const child = await spawnProgram(["flock", "-x", path, "sh", "-c", "echo locked; cat >/dev/null"], {
    stdio: ["pipe", "pipe", "inherit"],
    ...(signal === undefined ? {} : { signal }),
  });
  const ended = once(child, "exit");
  ended.catch(() => undefined);
  const timer = setTimeout(onWait, 300);
  try {
    const [chunk] = (await Promise.race([once(streamOf(child.stdout), "data"), ended.then(() => [""])])) as [
      unknown,
    ];
    if (String(chunk).trim() !== "locked") throw new Error(`Cannot lock '${path}'`);
  } finally {
    clearTimeout(timer);
  }
  return {
    async [Symbol.asyncDispose]() {
      streamOf(child.stdin).end();
      await ended;
    },
  };
}
