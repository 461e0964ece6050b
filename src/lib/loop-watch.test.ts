import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { LoopWatch } from "./loop-watch.ts";

const holdUp = (ms: number) => {
  for (const end = performance.now() + ms; performance.now() < end; );
};

test("what holds up the loop is told with its length, and what was in progress or ended meanwhile", async () => {
  const stalls: { delayMs: number; operations: string[] }[] = [];
  using watch = new LoopWatch((stall) => stalls.push(stall));
  watch.begin("over before")();
  await sleep(60);
  assert.equal(stalls.length, 0);
  const ends = ["a", "b"].map((name) => watch.begin(name));
  const endShort = watch.begin("short");
  holdUp(200);
  endShort();
  await sleep(60);
  assert.equal(stalls.length, 1);
  const [stall] = stalls;
  assert.ok(stall !== undefined && stall.delayMs >= 150 && stall.delayMs < 1000, JSON.stringify(stalls));
  assert.deepEqual(stall.operations, ["short", "b", "a"]);
  const { longestMs, p99Ms } = watch.recent;
  assert.ok(longestMs >= 150 && p99Ms <= longestMs, `${longestMs} ${p99Ms}`);
  for (const end of ends) end();
});

test("any number of operations is told as a few names", async () => {
  const stalls: { operations: string[] }[] = [];
  using watch = new LoopWatch((stall) => stalls.push(stall));
  for (let at = 0; at < 10_000; at++) watch.begin(`operation ${at}`)();
  for (let at = 0; at < 100; at++) watch.begin("the same");
  holdUp(150);
  await sleep(60);
  assert.ok(stalls.length === 1 && (stalls[0]?.operations.length ?? 0) <= 5);
});
