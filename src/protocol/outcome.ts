/** How a run ended. Guest code that fails is data, never an exception of the server. */

import type { z } from "zod";
import type { richResults } from "./guest.ts";

/** One value that a run showed: each format is text, PNG and JPEG in base64. Shapes: guest/python/display.py. */
export type RichResult = z.infer<typeof richResults>[number];

type OutcomeKind =
  | "ok"
  | "raised"
  | "exited"
  | "signalled"
  | "timed_out"
  | "out_of_memory"
  | "disk_full"
  | "interrupted"
  | "lost";

export type RunError = { name: string; message: string; traceback: string };

export type Outcome = {
  kind: OutcomeKind;
  /** As a shell would report it: 124 after a timeout, 128 + number after a signal. */
  exitCode: number;
  error: RunError | null;
};

/** What a run took. A field more is a line here, one where it is measured (runs/execute.ts), one in viewUsage(). */
export type RunUsage = {
  elapsedUs: number;
  /** Processor time of all processes of its sandbox while it ran; null where the host does not count it. */
  cpuTimeUs: number | null;
  /** What the sandbox held at most meanwhile, as its limit counts it; null where the host does not tell. */
  memoryPeakBytes: number | null;
};

export const NO_USAGE: RunUsage = { elapsedUs: 0, cpuTimeUs: null, memoryPeakBytes: null };

export const EXIT_TIMED_OUT = 124;
export const EXIT_INTERRUPTED = 130;
/** And the number of the signal. */
export const EXIT_SIGNALLED = 128;
export const EXIT_KILLED = 137;
