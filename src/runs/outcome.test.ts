import assert from "node:assert/strict";
import { test } from "node:test";
import { endFrame } from "../../test/support/end-frame.ts";
import { resolveOutcome } from "./outcome.ts";

type End = Parameters<typeof resolveOutcome>[0];
const known = (fields = {}) => ({
  timeoutMs: 1000,
  ranOutOfMemory: () => false,
  memoryLimitBytes: () => 64 << 20,
  overDiskQuota: null,
  ...fields,
});

test("the first cause of death wins", () => {
  const killed = { outcome: "signalled", signal: 9, exit_code: 137 } as const;
  const cases: [Partial<End>, object, string, number][] = [
    [{}, {}, "ok", 0],
    [{ outcome: "raised", exit_code: 1 }, {}, "raised", 1],
    [{ ...killed }, {}, "signalled", 137],
    [{ ...killed }, { ranOutOfMemory: () => true }, "out_of_memory", 137],
    [{ ...killed, cause: "timed_out" }, { ranOutOfMemory: () => true }, "timed_out", 124],
    [{ ...killed, cause: "interrupted" }, {}, "interrupted", 130],
    [{ ...killed, cause: "interrupted" }, { overDiskQuota: "full" }, "disk_full", 137],
    [{ outcome: "ok", cause: "timed_out" }, {}, "timed_out", 124],
    [{ outcome: "lost", exit_code: 1 }, { ranOutOfMemory: () => true }, "out_of_memory", 137],
    [{ outcome: "signalled", signal: 11, exit_code: 139 }, { ranOutOfMemory: () => true }, "signalled", 139],
  ];
  for (const [frame, knowledge, kind, exitCode] of cases) {
    const outcome = resolveOutcome(endFrame(frame), known(knowledge));
    assert.deepEqual([outcome.kind, outcome.exitCode], [kind, exitCode]);
  }
});

test("a run that needed too much memory is told how much it may use, and what to do", () => {
  const killed = { outcome: "signalled", signal: 9, exit_code: 137 } as const;
  const { error } = resolveOutcome(endFrame(killed), known({ ranOutOfMemory: () => true }));
  assert.match(error?.message ?? "", /64 MiB.*memory_mib/);
});
