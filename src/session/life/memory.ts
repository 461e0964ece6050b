/** What a session's programs and saved variables need of memory, against what it may use. */
import type { LiveSandbox } from "../../live/live-sandbox.ts";
import { AppError } from "../../protocol/errors.ts";
import type { Limits } from "../../sandbox/policy.ts";
import type { SessionRow } from "../../store/store.ts";

/** `stateBytes`: for saved variables. */
export type SessionLimits = Limits & { stateBytes: number };

const MIB = 1 << 20;
/** Besides the variables: the interpreter and what it works with. */
const HEADROOM_MIB = 64;

const mib = (bytes: number) => Math.ceil(bytes / MIB);

/** Takes over limits of a live session. Refuses less memory than its programs hold now: the kernel would end them. */
export function changeLimits(live: LiveSandbox, limits: Limits): void {
  const held = live.memoryBytes() ?? 0;
  const refuse = (why: string) =>
    new AppError("memory_in_use", `Cannot set 'memory_mib' to ${mib(limits.memoryBytes)}: ${why}`);
  if (held > limits.memoryBytes) throw refuse(`the session's programs hold ${mib(held)} MiB`);
  try {
    live.setLimits(limits);
  } catch (error) {
    // What the kernel could not take back, such as files that are being written.
    if ((error as NodeJS.ErrnoException).code === "EBUSY") throw refuse("more than that is in use");
    throw error;
  }
}

/**
 * Refuses to wake with less memory than the session went to sleep with, when its variables are larger than that: it
 * sleeps on, and is whole. What it held before may be larger than its memory, since what is not used takes none.
 */
export function refuseTooSmall(
  { bytes, sleptWithBytes = 0 }: SessionRow["saved"],
  { memoryBytes }: Limits,
): void {
  if (memoryBytes >= Math.min(bytes, sleptWithBytes)) return;
  throw new AppError(
    "memory_too_small",
    `Cannot wake the session: its variables take ${mib(bytes)} MiB, and it may use ${mib(memoryBytes)} MiB`,
    { extra: { needed_memory_mib: Math.min(mib(bytes) + HEADROOM_MIB, mib(sleptWithBytes)) } },
  );
}
