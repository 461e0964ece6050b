import assert from "node:assert/strict";
import { test } from "node:test";
import { OutputLog } from "./output-log.ts";

async function readAll(log: OutputLog, after: number): Promise<[number, string][]> {
  const events: [number, string][] = [];
  for await (const { end, text } of log.read(after, AbortSignal.timeout(5_000))) events.push([end, text]);
  return events;
}

test("a reader gets what was, what comes, and the end; a later one from any number", async () => {
  const log = new OutputLog(100);
  log.append("stdout", Buffer.from("a"));
  const reading = readAll(log, 0);
  await new Promise(setImmediate);
  log.append("stderr", Buffer.from("bb"));
  log.append("stdout", Buffer.from("c"));
  log.close();
  assert.deepEqual(await reading, [
    [1, "a"],
    [3, "bb"],
    [4, "c"],
  ]);
  assert.deepEqual(await readAll(log, 3), [[4, "c"]]);
  assert.deepEqual(await readAll(log, 2), [
    [3, "b"],
    [4, "c"],
  ]);
  assert.deepEqual(await readAll(log, 9), []);
});

test("a character split between chunks is whole, one that never ends is replaced, the limit counts bytes", () => {
  const log = new OutputLog(5);
  log.append("stdout", Buffer.from([0xe2, 0x82]));
  log.append("stdout", Buffer.from([0xac, 0xe2]));
  log.append("stdout", Buffer.from("xyz"));
  log.close();
  assert.equal(log.text("stdout"), "€\ufffdx");
});

test("a reader that gives up is told why", async () => {
  const log = new OutputLog(5);
  const stop = new AbortController();
  const reading = (async () => {
    for await (const _event of log.read(0, stop.signal)) assert.fail("nothing was written");
  })();
  stop.abort(new Error("gone"));
  await assert.rejects(reading, /gone/);
});

test("a program that asks again and again is told of so often, and then once that it is not", () => {
  const log = new OutputLog(100);
  for (let at = 0; at < 1_100; at++) log.append("asks", Buffer.from("? "));
  assert.equal(log.events.filter(({ stream }) => stream === "input").length, 1_000);
  assert.deepEqual(
    log.events.slice(1_000).map(({ stream }) => stream),
    ["warning"],
  );
});
