/** What a session's programs and saved variables need of memory, against what it may use. */
import type { LiveSandbox } from "../../live/live-sandbox.ts";
import { AppError } from "../../protocol/errors.ts";
import type { Limits } from "../../sandbox/policy.ts";

const MIB = 1 << 20;
/** Besides the variables: the interpreter and what it works with. */
const HEADROOM_MIB = 64;

const mib = (bytes: number) => Math.ceil(bytes / MIB);

/** Refuses less memory than the programs of a live session hold now: the kernel would end them. */
export function refuseLessMemory(live: LiveSandbox | null, { memoryBytes }: Limits): void {
  const held = live?.memoryBytes() ?? 0;
  if (held <= memoryBytes) return;
  throw new AppError(
    "memory_in_use",
    `Cannot set 'memory_mib' to ${mib(memoryBytes)}: the session's programs hold ${mib(held)} MiB`,
  );
}

/** Refuses to wake what would not fit: it sleeps on, and is whole. `bytes`: of its saved variables. */
export function refuseTooSmall(bytes: number, { memoryBytes }: Limits): void {
  if (bytes <= memoryBytes) return;
  throw new AppError(
    "memory_too_small",
    `Cannot wake the session: its variables take ${mib(bytes)} MiB, and it may use ${mib(memoryBytes)} MiB`,
    { extra: { needed_memory_mib: mib(bytes) + HEADROOM_MIB } },
  );
}
