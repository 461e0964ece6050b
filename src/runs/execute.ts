/**
 * The one way to run a program in a live sandbox: for sessions, for programs that run alone, for the steps of a setup.
 */
import type { GuestEnd } from "../guest/channel.ts";
import type { GuestProgram } from "../guest/run-frame.ts";
import type { LiveSandbox } from "../live/live-sandbox.ts";
import { NO_USAGE, type Outcome, type RunUsage } from "../protocol/outcome.ts";
import { lostOutcome, resolveOutcome } from "./outcome.ts";

type Conditions = {
  /** Why the program was stopped, when it was for a quota of disk. */
  overDiskQuota: () => string | null;
};

/** How a program ended. `end` is null, and `lost` says why, when its sandbox is of no more use. */
export type Execution = { outcome: Outcome; usage: RunUsage } & (
  | { end: GuestEnd; lost: null }
  | { end: null; lost: Error }
);

export async function execute(
  live: LiveSandbox,
  program: GuestProgram,
  { overDiskQuota }: Conditions,
): Promise<Execution> {
  const startedAt = performance.now();
  try {
    const ending = live.channel.run(program);
    live.takeOomKills(); // what was ended between runs is not this one's, which is only on its way now
    const meter = live.sandbox.cgroup?.meter();
    meter?.begin();
    const end = await ending;
    return {
      outcome: judge(live, end, program.timeoutMs, overDiskQuota()),
      usage: { ...usageOf(end), ...meter?.read() },
      end,
      lost: null,
    };
  } catch (cause) {
    const lost = cause instanceof Error ? cause : new Error(String(cause));
    const elapsedUs = Math.round((performance.now() - startedAt) * 1000);
    return {
      outcome: lostOutcome(lost.message, overDiskQuota()),
      usage: { ...NO_USAGE, elapsedUs },
      end: null,
      lost,
    };
  }
}

/** What a program took whose end was heard, now or again. */
export function usageOf({ frame }: GuestEnd): RunUsage {
  return { ...NO_USAGE, elapsedUs: frame.elapsed_us };
}

/** What became of a program whose end was heard, now or again. */
export function judge(
  live: LiveSandbox,
  { frame }: GuestEnd,
  timeoutMs: number,
  overDiskQuota: string | null,
): Outcome {
  return resolveOutcome(frame, {
    timeoutMs,
    ranOutOfMemory: () => live.takeOomKills() > 0,
    memoryLimitBytes: () => live.sandbox.cgroup?.memoryLimitBytes() ?? null,
    overDiskQuota,
  });
}
