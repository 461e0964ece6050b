/** Records of runs have a room of their own: the oldest go, which is told, and never frees a key. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { readEvents, streamRun, textOf } from "../support/events.ts";
import { oneServer } from "../support/one-server.ts";

const it = oneServer({ ERA_RECORDS_MIB: "1" });

test("a key stays used when its answer and its run's record have made room for newer ones", async () => {
  const path = "/api/sessions/recorded/run";
  const body = { code: 'n = globals().get("n", 0) + 1\nprint("x" * 400_000)\nn' };
  const keyed = { "idempotency-key": "once" };
  const first = await it.client.call("POST", path, body, keyed);
  assert.equal(first.status, 200);
  const again = await it.client.call("POST", path, body, keyed);
  assert.deepEqual(again.body, first.body);
  for (let at = 0; at < 5; at++)
    await it.client.call("POST", path, body, { "idempotency-key": `other ${at}` });
  const refused = await it.client.call("POST", path, body, keyed);
  assert.deepEqual([refused.status, refused.body.code], [410, "answer_removed"]);
  await it.client.session("recorded").prints("6\n", "print(n)");
  const { body: list } = await it.client.call("GET", "/api/sessions/recorded/runs");
  assert.deepEqual([list.count, list.removed_count], [3, 4]);
  const gone = await it.client.call("GET", `/api/runs/${first.body.run_id}`);
  assert.deepEqual([gone.status, gone.body.code], [404, "run_not_found"]);
});

test("results that are too large for a record are in the answer, and counted in the record", async () => {
  const { body } = await it.client.call("POST", "/api/sessions/rich/run", {
    code: 'for at in range(6): display("y" * 700_000)',
  });
  assert.deepEqual([body.results.length, body.results_left_out], [6, undefined]);
  const { body: record } = await it.client.call("GET", `/api/runs/${body.run_id}`);
  assert.deepEqual([record.results.length, record.results_left_out], [0, 6]);
});

test("a record says what was asked for, by whom, and which files were written; never a value of its environment", async () => {
  const session = it.client.session("asked");
  await session.run("open('before.txt', 'w').write('x')");
  const code =
    "import os, sys\nos.makedirs('out', exist_ok=True)\nopen('out/new.txt', 'w').write(sys.stdin.read())";
  const answer = await session.run(code, { env: { TOKEN: "hush-hush" }, stdin: "hello" });
  assert.deepEqual(answer.files_changed, ["out/new.txt"]);
  const record = await it.client.expect(200, "GET", `/api/runs/${answer.run_id}`);
  const { env, is_shell, key_id, stdin_length, files_changed } = record;
  assert.deepEqual(
    [record.code, record.code_length, env, is_shell, key_id, stdin_length, files_changed],
    [code, code.length, ["TOKEN"], false, null, 5, ["out/new.txt"]],
  );
  assert.ok(record.waited_ms >= 0);
  assert.ok(!JSON.stringify(record).includes("hush-hush"));
});

test("a record keeps the beginning of a long program, and the first hundred of many files", async () => {
  const session = it.client.session("many");
  const code = `for at in range(300): open(f"{at:03}", "w").write("x")\n#${"é".repeat(100_000)}`;
  const answer = await session.run(code);
  assert.deepEqual([answer.files_modified, answer.files_changed.length], [300, 100]);
  const record = await it.client.expect(200, "GET", `/api/runs/${answer.run_id}`);
  assert.equal(record.code, code.slice(0, 64 << 10));
  assert.deepEqual([record.code_length, record.files_changed], [code.length, answer.files_changed]);
});

test("a command is kept as one, and names that are no text are counted, not told", async () => {
  const { path } = await it.client.create("names");
  const body = await it.client.expect(200, "POST", `${path}/shell`, {
    command: `printf x >"$(printf 'bad\\377')"; printf x >good; printf x >"$(printf 'line\\nend')"`,
  });
  assert.deepEqual([body.files_modified, body.files_changed.sort()], [3, ["good", "line\nend"]]);
  const record = await it.client.expect(200, "GET", `/api/runs/${body.run_id}`);
  assert.equal(record.is_shell, true);
  assert.match(record.code, /printf x >good/);
});

test("a stream goes on from its place after the record had no room for what was displayed", async () => {
  const { path } = await it.client.create("places");
  const code = "print('first')\nfor _ in range(8): display('D' * 250_000)\nprint('second')\nprint('third')";
  const events = await streamRun(it.server.url + path, { code });
  const { runs } = await it.client.expect(200, "GET", `${path}/runs?limit=1`);
  const lastDisplay = events.findLast(({ event }) => event === "display")?.id ?? "";
  const response = await fetch(`${it.server.url}/api/runs/${runs[0].run_id}/stream`, {
    headers: { "last-event-id": lastDisplay },
  });
  assert.equal(textOf(await Array.fromAsync(readEvents(response)), "stdout"), "second\nthird\n");
});
