/** Memory and processors of a session: seen, changed while it lives or sleeps, and never taken below its use. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { oneServer } from "../support/one-server.ts";
import { until } from "../support/server.ts";

const MIB = 1 << 20;
const it = oneServer({ ERA_POOL: "python=1,node=1" });
const hibernate = (path: string) => it.client.expect(200, "POST", `${path}/hibernate`);

test("a session tells what it may use, and what it uses", async () => {
  const session = await it.client.create("seen", { memory_mib: 300, cpu_count: 0.5 });
  const asleep = await session.get();
  assert.deepEqual(asleep.limits, {
    timeout: 30,
    memory_mib: 300,
    cpu_count: 0.5,
    processes: 128,
    disk_mib: 1024,
    state_mib: 1024,
  });
  assert.deepEqual([asleep.usage.memory_bytes, asleep.usage.variables_bytes], [null, 0]);
  await session.prints("", "big = bytearray(100 << 20); open('f', 'wb').write(bytes(1 << 20)) and None");
  const { usage } = await session.get();
  assert.ok(usage.memory_bytes > 100 * MIB && usage.memory_bytes < 200 * MIB, String(usage.memory_bytes));
  assert.deepEqual([usage.files, usage.files_bytes], [1, MIB]);
  await hibernate(session.path);
  assert.ok((await session.get()).usage.variables_bytes >= 100 * MIB);
});

test("more memory holds at once, without a restart of the interpreter", async () => {
  const session = await it.client.create("more", { memory_mib: 200 });
  await session.prints("", "import os; pid = os.getpid(); thread_made = object()");
  const { outcome, error } = await session.run("bytearray(250 << 20)");
  assert.equal(outcome, "out_of_memory");
  assert.match(error.message, /more memory than the 200 MiB that it may use: PATCH/);
  await session.prints("", "import os; pid = os.getpid(); marker = lambda: 1");
  const { metadata } = await it.client.expect(200, "PATCH", session.path, { memory_mib: 600 });
  assert.equal(metadata.limits.memory_mib, 600);
  await session.prints("262144000 True\n", "b = bytearray(250 << 20); print(len(b), os.getpid() == pid)");
  await hibernate(session.path);
  await session.prints("262144000\n", "print(len(b))");
});

test("a change while the sandbox is being started holds for that sandbox", async () => {
  const hold = "head -c 300M /dev/zero | tail -c 260M >/dev/null; echo ${PIPESTATUS[1]}";
  for (let at = 0; at < 4; at++) {
    const session = await it.client.create(`starting-${at}`, { language: "bash" });
    const running = session.run("true");
    await sleep(at * 12);
    await it.client.expect(200, "PATCH", session.path, { memory_mib: 200 });
    await running;
    assert.equal((await session.run(hold)).stdout, "137\n", `changed after ${at * 12} ms`);
  }
});

test("less memory than its programs hold is refused, and changes nothing; enough is taken", async () => {
  const session = await it.client.create("less", { memory_mib: 600 });
  await session.prints("", "b = bytearray(300 << 20)");
  const refused = await it.client.call("PATCH", session.path, { memory_mib: 200 });
  assert.deepEqual([refused.status, refused.body.code], [409, "memory_in_use"]);
  assert.match(refused.body.error, /hold 3\d\d MiB/);
  assert.equal((await session.get()).limits.memory_mib, 600);
  await session.prints("314572800\n", "print(len(b)); del b");
  const lower = () => it.client.call("PATCH", session.path, { memory_mib: 200 });
  await until("what was deleted is free", async () => (await lower()).status === 200);
  assert.equal((await session.run("bytearray(250 << 20)")).outcome, "out_of_memory");
  assert.equal((await it.client.call("PATCH", session.path, { memory_mib: 1 << 24 })).status, 400);
});

test("variables that do not fit keep the session asleep and whole, until it has the memory that it names", async () => {
  const session = await it.client.create("sleeper", { memory_mib: 600 });
  await session.prints("", "b = bytearray(b'x') * (300 << 20); small = 7");
  await hibernate(session.path);
  await it.client.expect(200, "PATCH", session.path, { memory_mib: 128 });
  const { status, body } = await it.client.call("POST", `${session.path}/run`, { code: "small" });
  assert.deepEqual([status, body.code, body.needed_memory_mib >= 300], [507, "memory_too_small", true]);
  assert.equal((await session.get()).state.kind, "hibernated");
  const copy = await it.client.expect(201, "POST", `${session.path}/duplicate`, { memory_mib: 800 });
  await it.client.session(copy.id).prints("314572800 7\n", "print(len(b), small)");
  await it.client.expect(200, "PATCH", session.path, { memory_mib: body.needed_memory_mib });
  await session.prints("7\n", "print(small)");
  await it.client.expect(200, "PATCH", session.path, { memory_mib: null });
  assert.equal((await session.get()).limits.memory_mib, 512);
  await session.prints("314572800\n", "print(len(b))");
});

test("what took no memory while it was held wakes with the memory that the session had", async () => {
  const session = await it.client.create("untouched");
  await session.prints("", "import numpy as np; a = np.zeros(80_000_000)"); // 610 MiB, of which nothing was used
  await hibernate(session.path);
  await session.prints("640000000 0.0\n", "print(a.nbytes, a[5])");
  await hibernate(session.path);
  await it.client.expect(200, "PATCH", session.path, { memory_mib: 256 });
  const { body } = await it.client.call("POST", `${session.path}/run`, { code: "1" });
  assert.deepEqual([body.code, body.needed_memory_mib], ["memory_too_small", 512]);
  await it.client.expect(200, "PATCH", session.path, { memory_mib: 512 });
  await session.prints("0.0\n", "print(a[7])");
});

test("processors are changed for a program that runs", async () => {
  const session = await it.client.create("cpus", { cpu_count: 0.2 });
  await session.prints("", "import time");
  const code =
    "t = time.process_time(); w = time.time()\nwhile time.time() - w < 1: pass\nprint(time.process_time() - t)";
  const slow = Number((await session.run(code)).stdout);
  await it.client.expect(200, "PATCH", session.path, { cpu_count: 1 });
  const quick = Number((await session.run(code)).stdout);
  assert.ok(slow < 0.45 && quick > 0.6, `${slow} and ${quick} s of processor in a second`);
});

test(
  "a quota of files of its own holds at once, for programs, one file and uploads; and in a copy",
  { timeout: 60_000 },
  async () => {
    const session = await it.client.create("disk", { disk_mib: 50 });
    const write = (mib: number) =>
      `with open("f", "wb") as f:\n    for _ in range(${mib}): f.write(bytes(1 << 20))\nprint("written")`;
    await session.fails(/File too large|quota/, write(80));
    await session.prints("", "import os; os.remove('f')");
    await it.client.expect(200, "PATCH", session.path, { disk_mib: 1500 });
    assert.equal((await session.get()).limits.disk_mib, 1500);
    await session.prints("written\n", write(1200), { timeout: 60 });
    await it.client.expect(201, "POST", `${session.path}/duplicate`, { new_id: "disk-copy" });
    assert.equal((await it.client.session("disk-copy").get()).disk_mib, 1500);
    await session.prints("", "os.remove('f'); open('g', 'wb').write(bytes(40 << 20)) and None");
    await it.client.expect(200, "PATCH", session.path, { disk_mib: 60 });
    const body = "x".repeat(25 << 20);
    const refused = await it.client.call("PUT", `${session.path}/files/h`, body);
    assert.deepEqual([refused.status, refused.body.code], [507, "disk_full"]);
    await it.client.expect(200, "PATCH", session.path, { disk_mib: null });
    assert.equal((await it.client.call("PUT", `${session.path}/files/h`, body)).status, 200);
    await it.client.expect(200, "POST", `${session.path}/hibernate`);
    await it.client.expect(200, "PATCH", session.path, { disk_mib: 1500 });
    await session.prints("written\n", write(1200), { timeout: 60 });
    const tooMuch = await it.client.call("PATCH", session.path, { disk_mib: 1 << 20 });
    assert.deepEqual([tooMuch.status, tooMuch.body.code], [400, "invalid_request"]);
  },
);

test("a run that frees what the one before has taken is not ended for it", { timeout: 60_000 }, async () => {
  const session = await it.client.create("frees", { disk_mib: 50 });
  for (let at = 0; at < 25; at++) {
    const fill = `with open("f", "wb") as f:\n    for _ in range(80): f.write(bytes(1 << 20))`;
    const { outcome } = await session.run(fill); // by the size of one file, or by what all take, if it is seen in time
    assert.ok(["raised", "disk_full"].includes(outcome), outcome);
    await session.prints("", "import os; os.remove('f')");
  }
});

test("variables may be larger than the quota of files, in each language", async () => {
  for (const [language, make, look] of [
    ["python", "big = bytearray(b'1') * (40 << 20)", "print(len(big))"],
    ["node", "const big = Buffer.alloc(40 << 20, 1); 0", "console.log(big.length)"],
  ] as const) {
    const session = await it.client.create(`small-disk-${language}`, {
      language,
      disk_mib: 16,
      imaging: "never",
    });
    await session.run(make);
    await it.client.expect(200, "POST", `${session.path}/hibernate`);
    await session.prints(`${40 << 20}\n`, look);
  }
});

test("a run that comes near its memory is warned before it is ended for it, and a larger limit holds at once", async () => {
  const session = await it.client.create("near", { memory_mib: 128 });
  const code =
    "import time\nheld = bytearray(110 << 20)\nfor at in range(0, len(held), 4096): held[at] = 1\ntime.sleep(1.5)";
  const answer = await session.run(code);
  assert.equal(answer.exit_code, 0, JSON.stringify(answer.error));
  assert.equal(answer.warnings.length, 1);
  assert.match(answer.warnings[0], /\d+ of 128 MiB.*'memory_mib'/);
  assert.deepEqual(
    (await it.client.expect(200, "GET", `/api/runs/${answer.run_id}`)).warnings,
    answer.warnings,
  );
  const calm = await it.client.create("calm");
  assert.equal((await calm.run("import time; time.sleep(0.6)")).warnings, undefined);
});
