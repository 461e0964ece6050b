/** What programs leave in /tmp is there after sleep, in every language, and in copies; what cannot be kept is named. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { oneServer } from "../support/one-server.ts";
import { TestServer } from "../support/server.ts";

const it = oneServer({ ERA_POOL: "python=1", ERA_TMP_MIB: "32" });

const FILL = `import os, socket
os.makedirs("/tmp/a/b", mode=0o750); os.symlink("/nowhere", "/tmp/dangling"); os.link("/proc/self/comm", "/tmp/no") if 0 else None
open("/tmp/a/b/run.sh", "w").write("#!/bin/sh\\necho hi\\n"); os.chmod("/tmp/a/b/run.sh", 0o755)
open(b"/tmp/\\xff", "wb").write(b"odd"); os.utime("/tmp/a/b/run.sh", (1, 1)); os.mkfifo("/tmp/pipe")
f = open("/tmp/rows", "w+"); f.write("one\\ntwo\\n"); f.seek(0); f.readline()
with open("/tmp/holes", "wb") as holes: holes.truncate(20 << 20)`;
const LOOK = `import os, stat
s = os.stat("/tmp/a/b/run.sh")
print(sorted(os.listdir(b"/tmp")), oct(s.st_mode), int(s.st_mtime), os.readlink("/tmp/dangling"), stat.S_ISFIFO(os.stat("/tmp/pipe").st_mode), oct(os.stat("/tmp").st_mode))
print(f.readline(), os.stat("/tmp/holes").st_size)`;
const SEEN = `[b'a', b'dangling', b'holes', b'pipe', b'rows', b'\\xff'] 0o100755 1 /nowhere True 0o41777\ntwo\n 20971520\n`;

test("/tmp is as it was, after a wake into a warm sandbox and into a new one, and in a copy", async () => {
  const session = await it.client.create("tmp", { imaging: "never" });
  await session.prints("", FILL);
  for (const memory_mib of [null, 300]) {
    await it.client.expect(200, "PATCH", session.path, { memory_mib });
    const { state } = await it.client.expect(200, "POST", `${session.path}/hibernate`);
    assert.deepEqual(state.not_kept, []);
    await session.prints(SEEN, LOOK);
    await session.prints("", "f.seek(0); f.readline() and None");
  }
  await it.client.expect(201, "POST", `${session.path}/duplicate`, { new_id: "tmp-copy" });
  await session.prints("", "os.remove('/tmp/pipe')");
  await it.client.session("tmp-copy").prints(SEEN, LOOK);
  await it.client.expect(200, "POST", `${session.path}/hibernate`);
  await session.prints("False\n", "print(os.path.exists('/tmp/pipe'))");
});

test("in other languages, too", async () => {
  for (const [language, write, read] of [
    ["bash", "echo kept >/tmp/f", "cat /tmp/f"],
    [
      "node",
      "require('fs').writeFileSync('/tmp/f', 'kept\\n')",
      "process.stdout.write(require('fs').readFileSync('/tmp/f'))",
    ],
  ] as const) {
    const session = await it.client.create(`tmp-${language}`, { language, imaging: "never" });
    await session.run(write);
    await it.client.expect(200, "POST", `${session.path}/hibernate`);
    await session.prints("kept\n", read);
  }
});

test("a sandbox that dies leaves /tmp empty, and nothing of an earlier sleep in it", async () => {
  let server = await TestServer.start({ ERA_POOL: "python=0" });
  const session = await server.client.create("dies", { imaging: "never" });
  await session.prints("", "open('/tmp/old', 'w').close()");
  await server.client.expect(200, "POST", `${session.path}/hibernate`);
  await session.prints("['old']\n", "import os; print(os.listdir('/tmp'))");
  await server.client.expect(201, "POST", `${session.path}/duplicate`, { new_id: "dies-copy" });
  await session.prints("", "open('/tmp/new', 'w').close()");
  await server.kill();
  for (const pid of server.processes()) process.kill(pid, "SIGKILL");
  server = await TestServer.start({ ERA_POOL: "python=0" }, server.dataDir);
  await server.client.session("dies").prints("[]\n", "import os; print(os.listdir('/tmp'))");
  await server.client.session("dies-copy").prints("['old']\n", "print(os.listdir('/tmp'))");
  await server.stop();
  await server.removeData();
});

test("a file that is written to meanwhile takes no other with it", async () => {
  const session = await it.client.create("tmp-busy", { imaging: "never", durability: "none" });
  await session.prints(
    "",
    "import subprocess\nopen('/tmp/precious', 'w').write('kept') and None\np = subprocess.Popen(['sh', '-c', 'while :; do echo x >>/tmp/big; done'])",
  );
  await it.client.expect(200, "POST", `${session.path}/hibernate`);
  await session.prints("kept\n", "print(open('/tmp/precious').read())");
});

test("what cannot be written is named, and the session sleeps all the same", async () => {
  const session = await it.client.create("tmp-hostile", { imaging: "never", memory_mib: 300 });
  await session.prints(
    "",
    "import os\nos.mkdir('/run/era-state/tmp.tar'); os.mkdir('/run/era-state/.tmp-part'); open('/tmp/x', 'w').close()",
  );
  const { state } = await it.client.expect(200, "POST", `${session.path}/hibernate`);
  assert.deepEqual(
    state.not_kept.map(({ name }: { name: string }) => name),
    ["/tmp"],
  );
  const woken = await session.run("print(os.listdir('/tmp'))");
  assert.equal(woken.stdout, "[]\n");
  assert.match(woken.stderr, /^Cannot put back \/tmp as it was: .*Is a directory/);
  await session.prints(
    "",
    "os.rmdir('/run/era-state/.tmp-part'); os.rmdir('/run/era-state/tmp.tar'); open('/tmp/y', 'w').close()",
  );
  const { state: again } = await it.client.expect(200, "POST", `${session.path}/hibernate`);
  assert.deepEqual(again.not_kept, []);
  await session.prints("['y']\n", "print(os.listdir('/tmp'))");
});

test("a sandbox whose server does not come back keeps /tmp as it ends", { timeout: 60_000 }, async () => {
  let server = await TestServer.start({ ERA_ORPHAN_SECONDS: "0.3", ERA_POOL: "python=0" });
  const session = await server.client.create("orphan", { imaging: "never" });
  await session.prints("", "open('/tmp/f', 'w').write('kept') and None");
  await server.kill();
  await sleep(3_000);
  server = await TestServer.start({ ERA_POOL: "python=0" }, server.dataDir);
  await server.client.session("orphan").prints("kept\n", "print(open('/tmp/f').read())");
  await server.stop();
  await server.removeData();
});
