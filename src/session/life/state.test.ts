import assert from "node:assert/strict";
import { test } from "node:test";
import type { Lease } from "../../live/pool.ts";
import { BugError } from "../../protocol/errors.ts";
import { move, type SessionState } from "./state.ts";

const lease = {} as Lease;
const STATES: SessionState[] = [
  { kind: "cold" },
  { kind: "starting" },
  { kind: "idle", lease },
  { kind: "running", lease, runId: "r", begunAtMs: 0 },
  { kind: "frozen", lease },
  { kind: "ending" },
  { kind: "deleted" },
];
const LEGAL = new Set([
  "cold starting",
  "cold deleted",
  "starting idle",
  "starting cold",
  "idle running",
  "idle frozen",
  "idle ending",
  "running idle",
  "running ending",
  "frozen idle",
  "frozen ending",
  "ending cold",
  "ending idle",
  "ending deleted",
]);

test("every pair of states is a legal move or a bug that names both ends", () => {
  for (const from of STATES) {
    for (const to of STATES) {
      if (LEGAL.has(`${from.kind} ${to.kind}`)) assert.equal(move(from, to), to);
      else
        assert.throws(
          () => move(from, to),
          (error) =>
            error instanceof BugError && error.message.includes(from.kind) && error.message.includes(to.kind),
        );
    }
  }
});
