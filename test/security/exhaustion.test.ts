/**
 * A guest that takes all it can get: it is held to its limits, the host and other sessions go on, and it can go on too.
 */
import assert from "node:assert/strict";
import { statfsSync } from "node:fs";
import { afterEach, test } from "node:test";
import { oneServer } from "../support/one-server.ts";
import { until } from "../support/server.ts";

const it = oneServer({
  ERA_DISK_MIB: "64",
  ERA_DISK_FILES: "3000",
  ERA_TMP_MIB: "16",
  ERA_MEMORY_MIB: "192",
});
let next = 0;
const newSession = () => it.client.create(`greedy-${next++}`);

afterEach(async () => {
  // Whatever the guest did, another session answers at once.
  await it.client.session("neighbour").prints("fine\n", `print("fine")`, { timeout: 5 });
});

test("a fork bomb stops at the number of processes, and goes with its run", async () => {
  const session = await newSession();
  const answer = await session.run("import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", {
    timeout: 1.5,
  });
  assert.equal(answer.exit_code, 124);
  await session.prints(
    "True\n",
    "import os; print(len([p for p in os.listdir('/proc') if p.isdigit()]) < 10)",
  );
});

test("a memory bomb ends itself, and its session goes on", async () => {
  const session = await newSession();
  const answer = await session.run("blocks = []\nwhile True: blocks.append(bytearray(b'x' * (8 << 20)))");
  assert.deepEqual([answer.exit_code, answer.outcome], [137, "out_of_memory"]);
  await session.prints("1\n", "print(1)");
});

test("memory in files of /tmp and /dev/shm counts too, and is bounded", async () => {
  const session = await newSession();
  for (const folder of ["/tmp", "/dev/shm"]) {
    await session.prints(
      "True\n",
      `import os
try:
    with open("${folder}/fill", "wb") as f:
        while True: f.write(b"x" * (1 << 20))
except OSError as error:
    print(error.errno == 28 and os.path.getsize("${folder}/fill") <= 16 << 20)
os.remove("${folder}/fill")`,
    );
  }
});

test("one large file stops at the quota", async () => {
  const session = await newSession();
  await session.prints(
    "27\n",
    `import os
try:
    with open("large", "wb", buffering=0) as f:
        while True: f.write(b"x" * (1 << 20))
except OSError as error:
    print(error.errno)
os.remove("large")`,
  );
});

test("a session over its disk quota is stopped within 2 s and told so; what it stored stays, and space can be freed", async () => {
  const session = await newSession();
  const before = statfsSync("/tmp").bfree;
  const startedAt = performance.now();
  const answer = await session.run(
    `open("early", "w").write("kept")\ni = 0\nwhile True:\n    with open(f"f{i}", "wb") as f: f.write(b"x" * (4 << 20))\n    i += 1`,
    { timeout: 30 },
  );
  const tookMs = performance.now() - startedAt;
  assert.deepEqual(
    [answer.exit_code, answer.outcome, answer.error.name],
    [137, "disk_full", "DiskQuotaExceeded"],
  );
  assert.match(answer.error.message, /quota of 64 MiB/);
  assert.ok(tookMs < 5_000, `${tookMs} ms`);
  const used = (before - statfsSync("/tmp").bfree) * statfsSync("/tmp").bsize;
  assert.ok(used < 8 * 2 ** 30, `${used} bytes were written before it was stopped`);
  await session.prints("kept\n", `print(open("early").read())`);
  await session.prints("", `import glob, os\nfor f in glob.glob("f*"): os.remove(f)`);
  await session.prints("ok\n", `open("again", "wb").write(b"x" * (20 << 20)); print("ok")`);
});

test("files that were deleted and are still held count too", async () => {
  const session = await newSession();
  const hold = (size: string) => `import mmap, os
held = []
for i in range(30):
    f = open(f"held{i}", "w+b", buffering=0)
    os.unlink(f"held{i}")
    for _ in range(${size}): f.write(b"x" * (1 << 20))
    held.append(f)
import time; time.sleep(10)`;
  const answer = await session.run(hold("10"), { timeout: 30 });
  assert.deepEqual([answer.exit_code, answer.outcome], [137, "disk_full"]);
  const mapped = await (await newSession()).run(
    hold("10").replace("held.append(f)", "held.append(mmap.mmap(f.fileno(), 0)); f.close()"),
    { timeout: 30 },
  );
  assert.equal(mapped.outcome, "disk_full");
  const onePage = hold("10").replace(
    "held.append(f)",
    "held.append(mmap.mmap(f.fileno(), 4096, trackfd=False)); f.close()",
  );
  assert.equal((await (await newSession()).run(onePage, { timeout: 30 })).outcome, "disk_full");
  const headless = `import subprocess, sys, time
program = """
import ctypes, threading
def work():
    ${hold("10").split("\n").join("\n    ").replace("time.sleep(10)", "time.sleep(100)")}
threading.Thread(target=work).start()
ctypes.CDLL(None).syscall(${process.arch === "arm64" ? 93 : 60}, 0)
"""
subprocess.Popen([sys.executable, "-c", program])
time.sleep(10)`;
  assert.equal((await (await newSession()).run(headless, { timeout: 30 })).outcome, "disk_full");
});

test("too many files are stopped like too many bytes", async () => {
  const session = await newSession();
  const answer = await session.run(
    `import os\ni = 0\nos.mkdir("many")\nwhile True:\n    open(f"many/{i}", "w").close()\n    i += 1`,
    { timeout: 30 },
  );
  assert.deepEqual([answer.exit_code, answer.outcome], [137, "disk_full"]);
  assert.match(answer.error.message, /quota of 3000/);
});

test("files that are written between runs, in the background, are stopped too", async () => {
  const session = await newSession();
  await session.run(
    `import subprocess\nsubprocess.Popen("i=0; while true; do head -c 4194304 /dev/zero > bg$i; i=$((i+1)); done", shell=True)`,
  );
  await until("the sandbox is ended", async () => (await session.get()).status === "cold", 15_000);
  const answer = await session.run("print(1)");
  assert.equal(answer.stdout, "1\n");
});

test("open files run out for the program alone", async () => {
  const session = await newSession();
  await session.prints(
    "24 True\n",
    `files = []
try:
    while True: files.append(open("/dev/null"))
except OSError as error:
    print(error.errno, len(files) > 900)
del files`,
  );
  await session.prints("1\n", "print(1)");
});

test("a deep tree, a wide tree and odd names can be deleted with their session", async () => {
  const session = await newSession();
  await session.run(`import os
for i in range(1500):
    os.mkdir("d" * 50); os.chdir("d" * 50)
open("bottom", "w").close()
os.chdir("/workspace")
for name in (b"\\xff\\xfe", b"new\\nline", b"-rf", b" ", b"\\xe2\\x80\\xae"): open(name, "w").close()
os.chmod("/workspace", 0)
os.symlink("/", "/root/link")`);
  await session.delete();
  const { count } = await it.client.expect(200, "GET", "/api/sessions");
  await until("its folder is gone", () => it.server.folders().length === count + 2);
});

test("a flood of log lines, results and data is cut, and the server stays small", async () => {
  const session = await newSession();
  const answer = await session.run(
    `import sys
for i in range(200000): print("line", i, file=sys.stderr)
for i in range(100): display("x" * 200000)`,
    { timeout: 30 },
  );
  assert.equal(answer.exit_code, 0);
  assert.ok(answer.stderr.length <= 1 << 20 && answer.truncated.stderr > 0);
  assert.ok(JSON.stringify(answer.results).length < 9 << 20);
});

test("many names of one file are stopped like many files", async () => {
  const session = await newSession();
  const answer = await session.run(
    `import os, time
open("f", "w").close()
for at in range(20_000): os.link("f", f"l{at}")
time.sleep(25)`,
  );
  assert.equal(answer.outcome, "disk_full");
  await session.run("import os; [os.unlink(name) for name in os.listdir()]");
});

test("a request that is made to be slow to read is read, or refused, in no time", async () => {
  const deep = (at: number) => `${at}/${"d/".repeat(500)}f`;
  const files = Object.fromEntries(Array.from({ length: 8_000 }, (_, at) => [deep(at), ""]));
  const many = Object.fromEntries(Array.from({ length: 400_000 }, (_, at) => [`/${at}`, 1]));
  const goMod = `${"\n".repeat(20_000)}${"/".repeat(40_000)}`;
  const startedAt = performance.now();
  assert.equal(
    (await it.client.call("POST", "/api/execute", { code: "1", language: "python", files: many })).status,
    400,
  );
  await it.client.call("POST", "/api/execute", { code: "1", language: "cobol", files });
  await it.client.expect(201, "POST", "/api/sessions", {
    session_id: "go-mod",
    language: "go",
    setup: { go: { goMod } },
  });
  await it.client.expect(200, "GET", "/health");
  assert.ok(performance.now() - startedAt < 5_000, `${performance.now() - startedAt} ms`);
  await it.client.session("go-mod").delete();
});
