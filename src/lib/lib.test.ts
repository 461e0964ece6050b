import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Places, planDescriptors } from "./descriptors.ts";
import { Gate } from "./gate.ts";
import { removeTree } from "./remove-tree.ts";
import { RetryLater } from "./retry-later.ts";
import { runCommand } from "./run-command.ts";
import { SerialQueue } from "./serial-queue.ts";
import { shortageIn } from "./shortage.ts";
import { spawnProgram } from "./spawn-program.ts";

test("a queue runs one task at a time, in order, and goes on after a failure", async () => {
  const queue = new SerialQueue();
  const order: number[] = [];
  const task = (n: number) => async () => {
    order.push(n);
    await new Promise(setImmediate);
    order.push(-n);
    if (n === 2) throw new Error("two");
  };
  const results = await Promise.allSettled([1, 2, 3].map((n) => queue.add(task(n))));
  assert.deepEqual(order, [1, -1, 2, -2, 3, -3]);
  assert.deepEqual(
    results.map(({ status }) => status),
    ["fulfilled", "rejected", "fulfilled"],
  );
  assert.equal(queue.length, 0);
});

test("a gate lets only so many in at once", async () => {
  const gate = new Gate(2);
  let inside = 0;
  let most = 0;
  await Promise.all(
    Array.from({ length: 9 }, () =>
      gate.run(async () => {
        most = Math.max(most, ++inside);
        await new Promise(setImmediate);
        inside -= 1;
      }),
    ),
  );
  assert.deepEqual([most, inside], [2, 0]);
});

test("a tree is removed whole, and what its links lead to stays", async () => {
  const outside = mkdtempSync(join(tmpdir(), "era-lib-"));
  writeFileSync(join(outside, "kept"), "");
  const root = join(outside, "root");
  mkdirSync(join(root, "a/b/c"), { recursive: true });
  for (const folder of [root, join(root, "a")]) symlinkSync(outside, join(folder, "link"));
  for (let at = 0; at < 20; at++) writeFileSync(join(root, "a/b", `f${at}`), "");
  await removeTree(root);
  assert.deepEqual([existsSync(root), existsSync(join(outside, "kept"))], [false, true]);
  await removeTree(root);
  await removeTree(outside);
});

test("removing a link, or a folder of links, leaves alone what they lead to", async () => {
  const folder = mkdtempSync(join(tmpdir(), "era-lib-"));
  mkdirSync(join(folder, "kept/inner"), { recursive: true });
  writeFileSync(join(folder, "kept/file"), "x");
  symlinkSync("kept", join(folder, "link"));
  mkdirSync(join(folder, "tree/leaf"), { recursive: true });
  symlinkSync("../../kept", join(folder, "tree/leaf/link"));
  symlinkSync("../kept", join(folder, "tree/link"));
  await removeTree(join(folder, "link"));
  await removeTree(join(folder, "tree"));
  assert.ok(!existsSync(join(folder, "link")) && !existsSync(join(folder, "tree")));
  assert.ok(existsSync(join(folder, "kept/file")) && existsSync(join(folder, "kept/inner")));
  await removeTree(folder);
});

test("what the host is short of is found in an error or its causes; another failure is none", () => {
  const coded = (fields: object) => Object.assign(new Error("it failed"), fields);
  assert.equal(shortageIn(coded({ code: "EMFILE" })), "descriptors");
  assert.equal(shortageIn(new Error("outer", { cause: coded({ code: "ENOSPC" }) })), "disk");
  assert.equal(shortageIn(coded({ code: "ERR_SQLITE_ERROR", errcode: 13 })), "disk");
  assert.equal(shortageIn(coded({ code: "ENOENT" })), null);
  assert.equal(shortageIn("text"), null);
});

test("descriptors are shared out so that all have some, and a part is left", () => {
  for (const limit of [256, 600, 1_100, 20_000, 1_048_576]) {
    const { clients, guests, sandboxes, namespaces } = planDescriptors(limit);
    assert.ok(Math.min(clients, guests, sandboxes, namespaces) > 0, `${limit}`);
    assert.ok(clients + 2 * guests + 8 * sandboxes + namespaces <= 0.81 * limit, `${limit}`);
  }
});

test("places are taken one by one, and can be taken again when they were given back", () => {
  const places = new Places(2);
  assert.deepEqual([places.take(), places.take(), places.take()], [true, true, false]);
  places.giveBack();
  assert.deepEqual([places.take(), places.take()], [true, false]);
});

test("a task that failed is tried again until it does not", async () => {
  using later = new RetryLater(5);
  let left = 2;
  const done = Promise.withResolvers<void>();
  const failure = await later.attempt(async () => {
    left -= 1;
    if (left >= 0) throw new Error("not yet");
    done.resolve();
  });
  assert.match(String(failure), /not yet/);
  await done.promise;
  assert.equal(await later.attempt(async () => undefined), null);
});

test("a program that cannot be started is a rejection, and so is one that nobody named", async () => {
  await assert.rejects(spawnProgram(["/nowhere/at-all"], {}), { code: "ENOENT" });
  await assert.rejects(spawnProgram([], {}), /an empty command/);
});

test("what a program leaves running holds up nobody: it is ended, and what was written before is there", async () => {
  const startedAt = performance.now();
  const { code, stdout } = await runCommand(["/bin/sh", "-c", "sleep 60 & echo $!; exit 3"], {
    timeoutMs: 60_000,
  });
  assert.equal(code, 3);
  assert.ok(performance.now() - startedAt < 5_000, "the sleep held its output open");
  const stat = `/proc/${stdout.trim()}/stat`;
  assert.ok(!existsSync(stat) || / Z /.test(readFileSync(stat, "utf8")), "the sleep is still there");
});

test("a program that left its group, and holds the output, is not waited for either", async () => {
  const startedAt = performance.now();
  const { stdout } = await runCommand(["/bin/sh", "-c", "setsid sleep 3 & echo said"], { timeoutMs: 60_000 });
  assert.equal(stdout, "said\n");
  assert.ok(performance.now() - startedAt < 2_000, "it was waited for");
});
