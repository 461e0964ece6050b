import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Gate } from "./gate.ts";
import { removeTree } from "./remove-tree.ts";
import { SerialQueue } from "./serial-queue.ts";

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
