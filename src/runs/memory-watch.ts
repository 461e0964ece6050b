/** Tells a program's reader, once in a run, that it holds nearly all its memory: before it is ended for it. */
import type { LiveSandbox } from "../live/live-sandbox.ts";

const EVERY_MS = 250;
const SHARE = 0.9;
const MIB = 1 << 20;

export function watchMemory(live: LiveSandbox, warn: (message: string) => void): Disposable {
  const timer = setInterval(() => {
    const limit = live.sandbox.cgroup?.memoryLimitBytes() ?? null;
    const held = live.memoryBytes();
    if (limit === null || held === null || held < limit * SHARE) return;
    clearInterval(timer);
    const [used, most] = [held, limit].map((bytes) => Math.floor(bytes / MIB));
    warn(
      `Its programs hold ${used} of ${most} MiB: PATCH the session with a larger 'memory_mib', which holds at once`,
    );
  }, EVERY_MS);
  timer.unref();
  return { [Symbol.dispose]: () => clearInterval(timer) };
}
