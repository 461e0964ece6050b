/** What the JavaScript kernel answers its agent, frame by frame, without a server, a sandbox or an image. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { KernelRunner } from "../support/kernel-runner.ts";

test("a program is answered with its value, its output and how its state was saved", async () => {
  await using kernel = new KernelRunner();
  assert.equal(await kernel.start(), null);
  const first = await kernel.run("let x = 41; console.log('out'); x + 1");
  assert.deepEqual([first.end.outcome, first.end.exit_code, first.end.error], ["ok", 0, null]);
  assert.deepEqual([first.results[0]?.text, first.output], ["42", "out\n"]);
  const saved = first.end.saved as { version: number; failed: string | null; staged: boolean };
  assert.deepEqual([saved.version, saved.failed, saved.staged], [1, null, true]);
});

test("a kernel that was killed is followed by one that has its variables", async () => {
  await using kernel = new KernelRunner();
  await kernel.start();
  await kernel.run(
    "let x = 41; const list = [1, { deep: new Map([[1, 2]]) }]; function add(n) { return x + n }",
  );
  await kernel.kill();
  const restored = await kernel.start();
  assert.deepEqual([restored?.version, restored?.damage], [1, []]);
  const { results } = await kernel.run("[add(1), list[1].deep.get(1)]");
  assert.equal(results[0]?.text, "[ 42, 2 ]");
});

test("an error is told with its own lines; the kernel goes on", async () => {
  await using kernel = new KernelRunner();
  await kernel.start();
  const { end } = await kernel.run("let y = 1\nthrow new TypeError('no')");
  const { name, message, traceback } = end.error as { name: string; message: string; traceback: string };
  assert.deepEqual([end.outcome, end.exit_code, name, message], ["raised", 1, "TypeError", "no"]);
  assert.match(traceback, /<run-1>:2:7/);
  assert.equal((await kernel.run("y")).results[0]?.text, "1");
});

test("an exit is a run's, not the kernel's, and the next run has an environment of its own", async () => {
  await using kernel = new KernelRunner();
  await kernel.start();
  const { end } = await kernel.run("globalThis.z = process.env.ONCE; process.exit(3)", {
    env: { ONCE: "yes" },
  });
  assert.deepEqual([end.outcome, end.exit_code], ["exited", 3]);
  assert.equal((await kernel.run("[z, process.env.ONCE]")).results[0]?.text, "[ 'yes', undefined ]");
});

test("what cannot be kept is named, alone", async () => {
  await using kernel = new KernelRunner();
  await kernel.start();
  const { end } = await kernel.run("const held = (function* () { yield 1 })(); let plain = 1");
  const saved = end.saved as { not_kept: { name: string }[] };
  assert.deepEqual(
    saved.not_kept.map(({ name }) => name),
    ["held"],
  );
});

test("a program with a list of a million items runs", async () => {
  await using kernel = new KernelRunner();
  await kernel.start();
  const { end, results } = await kernel.run(`const all = [${"1,".repeat(1_000_000)}]; all.length`, {
    save: "none",
  });
  assert.deepEqual([end.outcome, results[0]?.text], ["ok", "1000000"]);
});

for (const added of ["undefined", "5", "function () { return 1 }"])
  test(`what a program adds to all objects, as get = ${added}, changes nothing of what is saved`, async () => {
    await using kernel = new KernelRunner();
    await kernel.start();
    await kernel.run(
      `Object.defineProperty(Object.prototype, "get", { value: ${added}, configurable: true }); 0`,
    );
    const { end } = await kernel.run("var q = { a: 1 }; let z = [1, 2]");
    assert.equal((end.saved as { failed: string | null }).failed, null);
    await kernel.kill();
    await kernel.start();
    assert.equal((await kernel.run("[q.a, z]")).results[0]?.text, "[ 1, [ 1, 2 ] ]");
  });
