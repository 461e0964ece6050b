/** Lists of sessions by what they are, and the end of those that nobody uses. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { oneServer } from "../support/one-server.ts";
import { TestServer, until } from "../support/server.ts";

const it = oneServer({ ERA_POOL: "python=1" });
const listed = async (query: string) =>
  (await it.client.expect(200, "GET", `/api/sessions?${query}`)).sessions.map(
    (row: { id: string }) => row.id,
  );

test("sessions are listed by state, language and metadata, with what they hold", async () => {
  const live = await it.client.create("live-one", { metadata: { user: "ada", 'odd.name"': "x" } });
  await it.client.create("never-ran", { language: "bash", metadata: { user: "ada" } });
  const asleep = await it.client.create("asleep-one", { metadata: { user: "bob" } });
  await live.run("x = 1");
  await asleep.run("y = [0] * 1000");
  await asleep.hibernate();
  assert.deepEqual(await listed("state=live"), ["live-one"]);
  assert.deepEqual(await listed("state=asleep"), ["asleep-one", "never-ran"]);
  assert.deepEqual(await listed("metadata=user:ada"), ["never-ran", "live-one"]);
  assert.deepEqual(await listed("metadata=user:ada&language=sh"), ["never-ran"]);
  assert.deepEqual(await listed(`metadata=${encodeURIComponent('odd.name":x')}`), ["live-one"]);
  assert.deepEqual(await listed("metadata=none:x"), []);
  for (const wrong of ["state=dead", "metadata=user", "language=cobol", "sort=id"])
    await it.client.expect(400, "GET", `/api/sessions?${wrong}`);
  const { sessions } = await it.client.expect(200, "GET", "/api/sessions");
  const row = sessions.find(({ id }: { id: string }) => id === "live-one");
  assert.equal(row.status, "idle");
  assert.ok(row.memory_bytes > 1e6 && row.metadata.user === "ada" && row.expires_at === null);
  const other = sessions.find(({ id }: { id: string }) => id === "asleep-one");
  assert.deepEqual([other.status, other.memory_bytes, other.variables_bytes > 0], ["cold", null, true]);
});

test("a session that nobody uses is deleted at its time, one that is used stays, and both say when", async () => {
  const gone = await it.client.create("short-lived", { expires_after: 1 });
  const kept = await it.client.create("in-use", { expires_after: 4 });
  const never = await it.client.create("for-ever", { expiresAfter: 0 });
  assert.equal((await never.get()).expires_at, null);
  const { created_at, expires_at } = await gone.get();
  assert.equal(Date.parse(expires_at) - Date.parse(created_at), 1_000);
  let isThere = true;
  for (let at = 0; at < 12; at++) {
    await sleep(700);
    await kept.run("1");
    isThere = (await it.client.call("GET", gone.path)).status === 200;
  }
  assert.equal(isThere, false);
  await kept.get();
  await kept.patch({ expires_after: 0 });
  assert.equal((await kept.get()).expires_at, null);
});

test("the server's own time holds for all that say nothing, also for those that sleep since before its start", async () => {
  let server = await TestServer.start({ ERA_POOL: "python=0" });
  const old = await server.client.create("old");
  await old.run("x = 1");
  await server.client.create("own", { expires_after: 3600 });
  await server.stop();
  server = await TestServer.start({ ERA_POOL: "python=0", ERA_EXPIRE_SECONDS: "1" }, server.dataDir);
  await until(
    "it has expired",
    async () => (await server.client.call("GET", "/api/sessions/old")).status === 404,
    15_000,
  );
  await server.client.session("own").get();
  await until("its folder is gone", () => server.folders().length === 0);
  await server.stop();
  await server.removeData();
});
