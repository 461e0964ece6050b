/** The lock that keeps two image builds apart: exclusive, and free as soon as its holder is gone, however it went. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { lockFile } from "../../src/lib/file-lock.ts";

const newPath = () => join(mkdtempSync(join(tmpdir(), "era-lock-")), "lock");

test("the second waits, is told so, and gets it when the first lets go", async () => {
  const path = newPath();
  const order: string[] = [];
  const waiting = Promise.withResolvers<void>();
  const first = await lockFile(path, () => assert.fail("the first does not wait"));
  const second = lockFile(path, waiting.resolve).then((lock) => {
    order.push("second");
    return lock;
  });
  await waiting.promise;
  order.push("first lets go");
  await first[Symbol.asyncDispose]();
  await (await second)[Symbol.asyncDispose]();
  assert.deepEqual(order, ["first lets go", "second"]);
});

test("a holder that is killed holds nothing", async () => {
  const path = newPath();
  const module = new URL("../../src/lib/file-lock.ts", import.meta.url).href;
  const code = `import { lockFile } from "${module}"; await lockFile("${path}", () => {}); console.log("held"); setInterval(() => {}, 1000);`;
  const holder = spawn(process.execPath, ["--input-type=module", "-e", code], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(holder.stdout, "data");
  holder.kill("SIGKILL");
  const lock = await lockFile(path, () => undefined, AbortSignal.timeout(10_000));
  await lock[Symbol.asyncDispose]();
});
