/** From what the agent says of a run's end, and what the server knows besides, to the one outcome that is reported. */
import type { EndFrame } from "../protocol/guest.ts";
import {
  EXIT_INTERRUPTED,
  EXIT_KILLED,
  EXIT_TIMED_OUT,
  type Outcome,
  type RunError,
} from "../protocol/outcome.ts";

type ServerKnowledge = {
  timeoutMs: number;
  /** Whether the cgroup counted an out-of-memory kill; asked only of a run whose kernel was killed. */
  ranOutOfMemory: () => boolean;
  /** What its sandbox may use, in bytes; null where nothing limits it. */
  memoryLimitBytes: () => number | null;
  /** The server had the run stopped because the session was over its disk quota. */
  overDiskQuota: string | null;
};

const SIGKILL = 9;
const MIB = 1 << 20;

const failure = (name: string, message: string): RunError => ({ name, message, traceback: "" });

/** The first cause of death wins: a quota, then a limit or request of the server, then what the guest did. */
export function resolveOutcome(end: EndFrame, known: ServerKnowledge): Outcome {
  if (known.overDiskQuota !== null) return diskFullOutcome(known.overDiskQuota);
  if (end.cause === "timed_out") {
    const message = `The run was stopped after its limit of ${known.timeoutMs / 1000} s`;
    return { kind: "timed_out", exitCode: EXIT_TIMED_OUT, error: failure("TimeoutError", message) };
  }
  if (end.cause === "interrupted") {
    return {
      kind: "interrupted",
      exitCode: EXIT_INTERRUPTED,
      error: failure("Interrupted", "The run was interrupted"),
    };
  }
  const killed = end.outcome === "lost" || end.signal === SIGKILL;
  if (killed && known.ranOutOfMemory()) {
    const limit = known.memoryLimitBytes();
    const allowed = limit === null ? "there is" : `the ${Math.floor(limit / MIB)} MiB that it may use`;
    const message = `The run needed more memory than ${allowed}: PATCH the session with a larger 'memory_mib', or raise ERA_MEMORY_MIB`;
    return { kind: "out_of_memory", exitCode: EXIT_KILLED, error: failure("OutOfMemory", message) };
  }
  if (end.outcome === "signalled") {
    const message = `The interpreter was ended by signal ${end.signal}`;
    return { kind: "signalled", exitCode: end.exit_code ?? 1, error: failure("Signalled", message) };
  }
  return { kind: end.outcome, exitCode: end.exit_code ?? 1, error: end.error };
}

function diskFullOutcome(message: string): Outcome {
  return { kind: "disk_full", exitCode: EXIT_KILLED, error: failure("DiskQuotaExceeded", message) };
}

/** A run whose sandbox disappeared under it, or was ended for what it had written. */
export function lostOutcome(reason: string, overDiskQuota: string | null): Outcome {
  if (overDiskQuota !== null) return diskFullOutcome(overDiskQuota);
  return { kind: "lost", exitCode: 1, error: failure("SandboxLost", reason) };
}
