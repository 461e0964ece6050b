/** All sessions of a server into a folder, while it serves, and back on another one. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { MAIN, TestServer } from "../support/server.ts";

const folder = mkdtempSync(join(tmpdir(), "era-backups-"));
let here: TestServer;
let there: TestServer;

before(async () => {
  [here, there] = await Promise.all([TestServer.start({ ERA_POOL: "python=1" }), TestServer.start()]);
});

after(async () => {
  for (const server of [here, there]) {
    await server.stop();
    await server.removeData();
  }
  rmSync(folder, { recursive: true });
});

type Said = { code: number; stdout: string; stderr: string };

function era(...args: string[]): Promise<Said> {
  return new Promise((resolve) => {
    execFile(process.execPath, [MAIN, ...args], (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
    );
  });
}

const backup = async (...options: string[]) => {
  const said = await era("backup", folder, "--server", here.url, ...options);
  assert.equal(said.code, 0, said.stderr);
  const [, sessions, unchanged, newMib] =
    /: (\d+) sessions.*; (\d+) unchanged, (.+) MiB new/.exec(said.stdout) ?? [];
  return { sessions: Number(sessions), unchanged: Number(unchanged), newMib: Number(newMib) };
};
const backups = () => readdirSync(join(folder, "backups"));
const pieces = () =>
  readdirSync(join(folder, "pieces"), { recursive: true, withFileTypes: true }).filter((f) => f.isFile());

test("a backup has every session, and the next one only what has changed", { timeout: 120_000 }, async () => {
  const asleep = await here.client.create("asleep", { memory_mib: 512 });
  await asleep.prints(
    "",
    "import numpy as np, os\na = np.random.rand(4_000_000); n = 1\nopen('noise', 'wb').write(os.urandom(20 << 20)) and None",
  );
  const busy = await here.client.create("busy:1");
  await busy.prints("", "n = 1");
  await here.client.create("empty");
  await here.client.expect(200, "POST", `${asleep.path}/hibernate`);
  const first = await backup();
  assert.deepEqual([first.sessions, first.unchanged], [3, 0]);
  assert.ok(first.newMib > 40, String(first.newMib));
  const second = await backup();
  assert.equal(second.unchanged, 1);
  assert.ok(second.newMib < 1, String(second.newMib));
  await asleep.prints("", "a[7] = 0; n = 2; open('noise', 'ab').write(b'more') and None");
  const third = await backup();
  assert.ok(third.newMib < 20, `one element and four bytes: ${third.newMib} MiB are new`);
  assert.equal(backups().length, 3);
});

test("a backup is restored on another server, the newest or an earlier one; what is there is not touched", async () => {
  const [oldest = ""] = backups().sort();
  const restored = await era("restore", folder, "--server", there.url);
  assert.deepEqual(
    [restored.code, restored.stdout.trim().split("\n").sort()],
    [0, ["asleep", "busy:1", "empty"]],
  );
  await there.client.session("asleep").prints("2 0.0 20971524\n", "print(n, a[7], os.path.getsize('noise'))");
  await there.client.session("busy:1").prints("2\n", "n += 1; print(n)");
  const again = await era("restore", folder, "asleep", "--server", there.url, "--backup", oldest);
  assert.equal(again.code, 1);
  assert.match(again.stderr, /^asleep: .*the id is taken/);
  await there.client.expect(200, "DELETE", "/api/sessions/asleep");
  assert.equal((await era("restore", folder, "asleep", "--server", there.url, "--backup", oldest)).code, 0);
  await there.client.session("asleep").prints("1 20971520\n", "print(n, os.path.getsize('noise'))");
});

test("a damaged piece is told, and leaves no session behind", async () => {
  await there.client.expect(200, "DELETE", "/api/sessions/asleep");
  const largest = pieces().map(({ parentPath, name }) => join(parentPath, name));
  const contents = new Map(largest.map((path) => [path, readFileSync(path)]));
  for (const path of largest) writeFileSync(path, "rubbish");
  const restored = await era("restore", folder, "asleep", "--server", there.url);
  assert.deepEqual(
    [restored.code, /^asleep: Cannot restore: the piece '\w+' is damaged$/m.test(restored.stderr)],
    [1, true],
    restored.stderr,
  );
  await there.client.expect(404, "GET", "/api/sessions/asleep");
  for (const [path, content] of contents) writeFileSync(path, content);
  assert.equal((await era("restore", folder, "asleep", "--server", there.url)).code, 0);
});

test("only the newest are kept, with their pieces; a folder of something else is refused", async () => {
  const before = pieces().length;
  await here.client.expect(200, "DELETE", "/api/sessions/asleep");
  await backup("--keep", "1");
  assert.equal(backups().length, 1);
  assert.ok(pieces().length < before / 2, `${pieces().length} of ${before} pieces are left`);
  const listed = await era("restore", folder, "--list");
  assert.match(listed.stdout, /^\S+Z {2}2 sessions\n$/);
  const other = mkdtempSync(join(tmpdir(), "era-other-"));
  writeFileSync(join(other, "letter"), "dear");
  const refused = await era("backup", other, "--server", here.url);
  assert.deepEqual(
    [refused.code, refused.stderr],
    [1, `Cannot use '${other}': it is no folder of backups\n`],
  );
  rmSync(other, { recursive: true });
  assert.equal((await era("restore", "/nowhere/at/all", "--server", there.url)).code, 1);
});
