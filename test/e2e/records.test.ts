/** Records of runs have a room of their own: the oldest go, which is told, and never frees a key. */
import assert from "node:assert/strict";
import { test } from "node:test";
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
