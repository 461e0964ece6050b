/** The disk of the data folder is full: what needs room is refused by name, all else works, and nothing is damaged. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { Client } from "../support/client.ts";
import { TestServer, until } from "../support/server.ts";

const disk = mkdtempSync(join(tmpdir(), "era-disk-"));
const dataDir = join(disk, "data");
let server: TestServer;
let client: Client;

before(async () => {
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=200m,mode=711", "none", disk]);
  chmodSync(disk, 0o711);
  server = await TestServer.start({}, dataDir);
  client = server.client;
});

after(async () => {
  await server.stop();
  execFileSync("umount", [disk]);
});

const FILL = `
try:
    with open("fill", "ab", buffering=0) as file:
        while True: file.write(bytes(1 << 20))
except OSError as error:
    print(error.strerror)`;

test("with a full disk runs, reads and deletions go on; creating, copying and uploading say what is short", async () => {
  const asleep = await client.create("asleep");
  await asleep.run("kept = {'a': 1}; open('note', 'w').write('kept')");
  await asleep.hibernate();
  const other = await client.create("other");
  await other.run("x = 41");
  const filler = await client.create("filler");
  await filler.run("before = 1");
  await filler.prints("No space left on device\n", FILL);

  const health = await client.expect(200, "GET", "/health");
  assert.equal(health.status, "degraded");
  assert.match(health.problems[0], /disk of the data folder is full/);

  await other.prints("42\n", "print(x + 1)");
  await asleep.prints("{'a': 1} kept\n", "print(kept, open('note').read())");
  for (let at = 0; at < 20; at++) await other.prints(`${at}\n`, `print(${at})`);
  const lost = await other.run("big = bytearray(8 << 20)");
  assert.equal(lost.exit_code, 0);
  await until("a save that found no room is told", async () => {
    const { state } = await other.get();
    return /cannot be written: No space left on device/.test(state.save_failure ?? "");
  });
  await client.expect(507, "POST", `${other.path}/hibernate`);

  const upload = await client.call("PUT", `${other.path}/files/big`, "x".repeat(1 << 20));
  assert.deepEqual([upload.status, upload.body.code], [507, "host_disk_full"]);
  const copy = await client.call("POST", `${filler.path}/duplicate`, {});
  assert.equal(copy.status, 507);
  assert.equal((await client.call("GET", "/api/sessions")).status, 200);
  assert.equal((await client.call("GET", `${other.path}/files`)).status, 200);

  await filler.delete();
  const after = await client.expect(200, "GET", "/health");
  assert.equal(after.status, "healthy");
  await other.run("y = 1");
  await other.hibernate();
  await other.prints(`${8 << 20} 41 1\n`, "print(len(big), x, y)");
});

test("with a full disk a server is killed and started again, and all that was told is there", async () => {
  const session = await client.create("counter");
  await session.run("n = 0");
  const filler = await client.create("filler-2");
  await filler.prints("No space left on device\n", FILL);
  for (let at = 1; at <= 10; at++) await session.prints(`${at}\n`, "n += 1; print(n)");
  await server.kill();
  server = await TestServer.start({}, dataDir);
  client = server.client;
  await client.session("counter").prints("11\n", "n += 1; print(n)");
  await client.session("filler-2").delete();
  await client.session("counter").hibernate();
  await client.session("counter").prints("12\n", "n += 1; print(n)");
});
