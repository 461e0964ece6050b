/** Versions of the variables: going back to one, copies of a session, and a look at what is saved. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { oneServer } from "../support/one-server.ts";
import { until } from "../support/server.ts";

const it = oneServer({ ERA_KEEP_VERSIONS: "5" });

test("any kept version can be gone back to, and on from there", async () => {
  const session = await it.client.create("back");
  for (let n = 1; n <= 7; n++)
    await session.prints(
      "",
      `n = ${n}\nhistory = globals().get("history", []) + [n]\nopen("f", "w").write(str(n))`,
    );
  await until("all are saved", async () => (await session.get()).state.saved_version === 7);
  const { versions } = await it.client.expect(200, "GET", `${session.path}/versions`);
  assert.deepEqual(
    versions.map(({ version }: { version: number }) => version),
    [7, 6, 5, 4, 3],
  );
  assert.deepEqual(versions[0].changed, ["history", "n"]);
  assert.ok(versions[0].bytes_written > 0 && versions[0].run_id.startsWith("run_"));
  const answer = await it.client.expect(200, "POST", `${session.path}/rollback`, { version: 4 });
  assert.deepEqual([answer.rolled_back_to, answer.state.version], [4, 8]);
  await session.prints("4 [1, 2, 3, 4] 7\n", `print(n, history, open("f").read())`);
  await session.prints("", "n = 40");
  await it.client.expect(200, "POST", `${session.path}/hibernate`);
  await it.client.expect(200, "POST", `${session.path}/rollback`, { version: 7 });
  await session.prints("7\n", "print(n)");
  const gone = await it.client.call("POST", `${session.path}/rollback`, { version: 1 });
  assert.deepEqual([gone.status, gone.body.code], [404, "version_not_kept"]);
  await session.prints("7\n", "print(n)");
  assert.equal((await it.client.call("POST", `${session.path}/rollback`, { version: 0 })).status, 400);
});

test("a copy of a live session has its variables, files and settings, and shares nothing with it", async () => {
  const source = await it.client.create("source", { data: { a: 1 }, default_timeout: 8, metadata: { m: 1 } });
  await source.prints(
    "",
    `import random, numpy as np, os\nrandom.seed(1); np.random.seed(1)\nclass C: made = []\nc = C(); same = c\nopen("f", "w").write("1"); os.symlink("/etc/passwd", "link"); open(os.path.expanduser("~/h"), "w").write("home")`,
  );
  const copy = await it.client.expect(201, "POST", `${source.path}/duplicate`, {
    new_id: "copy",
    data: { b: 2 },
  });
  assert.deepEqual(
    [copy.id, copy.data, copy.default_timeout, copy.metadata, copy.source_session_id, copy.last_run_at],
    ["copy", { a: 1, b: 2 }, 8, { m: 1 }, "source", ""],
  );
  const other = it.client.session("copy");
  await other.prints(
    "True True 1 home /etc/passwd\n",
    `print(same is c, isinstance(c, C), open("f").read(), open(os.path.expanduser("~/h")).read(), os.readlink("link"))\nC.made.append(1); open("f", "w").write("2")`,
  );
  await source.prints("[] 1\n", `print(C.made, open("f").read())`);
  const second = await it.client.expect(201, "POST", `${source.path}/duplicate`);
  assert.match(second.id, /^source-copy-\d+$/);
  const draws = [];
  for (const session of [source, other, it.client.session(second.id)])
    draws.push((await session.run("print(random.random(), np.random.rand())")).stdout);
  const numbers = draws.flatMap((line) => line.trim().split(" "));
  assert.equal(new Set(numbers).size, 6, String(draws));
  assert.equal((await it.client.call("POST", `${source.path}/duplicate`, { new_id: "copy" })).status, 409);
  assert.equal((await it.client.call("POST", "/api/sessions/nobody/duplicate")).status, 404);
  assert.equal((await it.client.call("POST", `${source.path}/duplicate`, { id: "a/b" })).status, 400);
});

test("a copy of a busy session is made between its runs; of one that sleeps, without waking it", async () => {
  const source = await it.client.create("busy");
  await source.prints("", "import time\nn = 0");
  const runs = [1, 2, 3].map(() => source.run("n += 1; time.sleep(0.3); n += 1"));
  await sleep(50);
  await it.client.expect(201, "POST", `${source.path}/duplicate`, { new_id: "of-busy" });
  await Promise.all(runs);
  const { stdout } = await it.client.session("of-busy").run("print(n)");
  assert.ok(["2", "4", "6"].includes(stdout.trim()), stdout);
  await it.client.expect(200, "POST", `${source.path}/hibernate`);
  await it.client.expect(201, "POST", `${source.path}/duplicate`, { new_id: "of-asleep" });
  assert.equal((await source.get()).state.kind, "hibernated");
  await it.client.session("of-asleep").prints("6\n", "print(n)");
});

test("a copy can begin at an earlier version", async () => {
  const source = await it.client.create("earlier");
  for (const n of [1, 2, 3]) await source.prints("", `n = ${n}`);
  await it.client.expect(201, "POST", `${source.path}/duplicate`, { new_id: "then", version: 2 });
  await it.client.session("then").prints("2\n", "print(n)");
  await source.prints("3\n", "print(n)");
  assert.equal(
    (await it.client.call("POST", `${source.path}/duplicate`, { new_id: "never", version: 99 })).status,
    404,
  );
  assert.equal((await it.client.call("GET", "/api/sessions/never")).status, 404);
});

test("variables are listed with type, text, size and whether they survive, live and asleep", async () => {
  const session = await it.client.create("look");
  await session.prints(
    "",
    `import json as j\nx = 1; text = "a" * 1000\nitems = [1, 2]; alias = items\ngen = (i for i in [])\nclass Nasty:\n    def __repr__(self): raise SystemExit\nnasty = Nasty()`,
  );
  await until("it is saved", async () => (await session.get()).state.saved_version === 1);
  const look = async () => {
    const { variables } = await it.client.expect(200, "GET", `${session.path}/variables`);
    return Object.fromEntries(variables.map((variable: { name: string }) => [variable.name, variable]));
  };
  const live = await look();
  assert.deepEqual([live.x.type, live.x.repr, live.x.survives], ["int", "1", true]);
  assert.deepEqual([live.j.type, live.items.shared_with, live.nasty.type], ["module", 1, "Nasty"]);
  assert.ok(live.text.bytes >= 1000 && live.text.repr.length < 100);
  assert.deepEqual([live.gen.survives, live.gen.type], [false, "generator"]);
  await it.client.expect(200, "POST", `${session.path}/hibernate`);
  const asleep = await look();
  assert.deepEqual(Object.keys(asleep), Object.keys(live));
  assert.deepEqual([asleep.x, asleep.gen], [live.x, live.gen]);
  assert.equal((await session.get()).state.kind, "hibernated");
});

test("only what a run touches is written again", async () => {
  const session = await it.client.create("large", { memory_mib: 900 });
  await session.prints(
    "",
    "import numpy as np\nbig = np.arange(50_000_000 // 8)\ndef use(): return big.sum()",
  );
  await until("it is saved", async () => (await session.get()).state.saved_version === 1);
  await session.prints("", "x = 1");
  await session.run("use()");
  await until("all is saved", async () => (await session.get()).state.saved_version === 3);
  const { versions } = await it.client.expect(200, "GET", `${session.path}/versions`);
  const written = versions.map((version: { bytes_written: number }) => version.bytes_written);
  assert.ok(written[2] > 50_000_000 && written[1] < 65_536 && written[0] < 65_536, String(written));
  await session.prints("", "big[5] = -1");
  await it.client.expect(200, "POST", `${session.path}/hibernate`);
  await session.prints("-1\n", "print(big[5])");
});

test("a version can be gone back to at once, before anybody was told that it is saved", async () => {
  for (let at = 0; at < 5; at++) {
    const session = await it.client.create(`at-once-${at}`);
    await session.prints("", "x = 1");
    await it.client.expect(200, "POST", `${session.path}/rollback`, { version: 1 });
    await session.prints("1\n", "print(x)");
  }
});
