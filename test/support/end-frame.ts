/** The end of a run as an agent tells it: of one that went well, but for what a test says. */
import type { EndFrame } from "../../src/protocol/guest.ts";

export const endFrame = (fields: Partial<EndFrame> = {}): EndFrame => ({
  type: "end",
  run: "run_1",
  version: 1,
  outcome: "ok",
  cause: null,
  exit_code: 0,
  signal: null,
  error: null,
  elapsed_us: 1,
  dropped: {},
  files: null,
  results_bytes: 0,
  has_data: false,
  epoch: 1,
  saved: null,
  restored: null,
  ...fields,
});
