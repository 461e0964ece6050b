import assert from "node:assert/strict";
import { test } from "node:test";
import { OutputLog } from "../../runs/output-log.ts";
import type { Run, RunResult } from "../../runs/request.ts";
import { CurrentRuns } from "./current-runs.ts";

function runNamed(runId: string): Run {
  const { promise } = Promise.withResolvers<RunResult>();
  return { runId, log: new OutputLog(1000), isInteractive: false, result: promise };
}

test("a run is heard once it is followed, by all who wait for it, and by who comes later", async () => {
  const runs = new CurrentRuns();
  const never = new Promise(() => undefined);
  const waiting = [runs.heard("a", never), runs.heard("a", never), runs.heard("b", never)];
  const run = runNamed("a");
  runs.follow(run);
  assert.deepEqual(await Promise.all(waiting.slice(0, 2)), [run, run]);
  assert.equal(await runs.heard("a", never), run);
  assert.equal(await Promise.race([waiting[2], Promise.resolve("not yet")]), "not yet");
});

test("a run that nobody follows by the time all is settled is not heard", async () => {
  const runs = new CurrentRuns();
  assert.equal(await runs.heard("a", Promise.resolve()), null);
  await assert.rejects(runs.heard("a", Promise.reject(new Error("no room"))), /no room/);
});
