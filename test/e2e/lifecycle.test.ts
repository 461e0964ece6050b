/** Starting, stopping, being killed, and what is left of it: nothing. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Client } from "../support/client.ts";
import { makeDataDir, TestServer, until } from "../support/server.ts";

const ERA = fileURLToPath(new URL("../../era", import.meta.url));

test("files and data survive a restart; variables are reported as gone, once", async () => {
  const first = await TestServer.start();
  const session = await first.client.create("kept", { data: { a: 1 }, default_timeout: 7 });
  await session.prints("", `x = 1\nopen("f", "w").write("1")`);
  await first.stop();
  const second = await TestServer.start({}, first.dataDir);
  const again = second.client.session("kept");
  const seen = await again.get();
  assert.deepEqual([seen.data, seen.file_count, seen.default_timeout], [{ a: 1 }, 1, 7]);
  const answer = await again.run(`print(open("f").read(), "x" in globals())`);
  assert.equal(answer.stdout, "1 False\n");
  assert.match(answer.state.variables_lost, /restarted/);
  assert.equal((await again.run("1")).state.variables_lost, null);
  await second.stop();
  await second.removeData();
});

test("a killed server leaves no process behind, and the next start removes its folders and cgroups", async () => {
  const first = await TestServer.start();
  const session = await first.client.create("s");
  await session.run("import subprocess\nsubprocess.Popen(['sleep', '1000'])");
  void first.client
    .session("busy")
    .run("while True: pass")
    .catch(() => undefined);
  await until("both run", () => first.processes().length >= 4);
  await first.kill();
  await until("its sandboxes end by themselves", () => first.processes().length === 0);
  const second = await TestServer.start({ ERA_POOL: "python=0" }, first.dataDir);
  await second.client.session("s").prints("1\n", "print(1)");
  assert.ok(second.folders().length <= 2);
  await second.stop();
  await second.removeData();
});

test("SIGTERM waits for a run in progress, within bounds", async () => {
  const server = await TestServer.start();
  const session = await server.client.create("s");
  await session.run("import time");
  const short = session.run("time.sleep(1)\nprint('done')");
  await until("it runs", async () => (await session.get()).status === "running");
  await server.stop();
  assert.equal((await short).stdout, "done\n");
  await server.removeData();
});

test("a second server on the same data folder is refused", async () => {
  const server = await TestServer.start();
  await assert.rejects(TestServer.start({}, server.dataDir), /another server is using it/);
  await server.stop();
  await server.removeData();
});

test("settings that cannot be are refused by name", async () => {
  await assert.rejects(TestServer.start({ ERA_HOST: "0.0.0.0" }), /ERA_API_KEY/);
  await assert.rejects(TestServer.start({ ERA_PORT: "eighty" }), /ERA_PORT/);
  await assert.rejects(TestServer.start({ ERA_POOL: "cobol=1" }), /ERA_POOL/);
  await assert.rejects(TestServer.start({}, `/tmp/${"deep/".repeat(30)}data`), /ERA_DATA_DIR/);
});

test("with a key, the API needs it and health does not", async () => {
  const server = await TestServer.start({ ERA_API_KEY: "a-long-secret" });
  const status = async (headers: Record<string, string>) =>
    (await new Client(server.url, headers).call("GET", "/api/sessions")).status;
  assert.equal(await status({}), 401);
  assert.equal(await status({ authorization: "Bearer wrong-secret" }), 401);
  assert.equal(await status({ authorization: "Basic a-long-secret" }), 401);
  assert.equal(await status({ authorization: "Bearer a-long-secret" }), 200);
  const health = await server.client.expect(200, "GET", "/health");
  for (const field of ["status", "version", "time", "timestamp", "isolation"])
    assert.ok(field in health, field);
  await server.stop();
  await server.removeData();
});

test("a burst larger than the pool succeeds, and the pool is refilled", async () => {
  const server = await TestServer.start({ ERA_POOL: "python=2" });
  const answers = await Promise.all(
    Array.from({ length: 12 }, (_, at) => server.client.execute(`print(${at})`)),
  );
  assert.deepEqual(
    answers.map(({ stdout }) => stdout),
    Array.from({ length: 12 }, (_, at) => `${at}\n`),
  );
  const counts = async () => (await server.client.expect(200, "GET", "/health")).sandboxes;
  await until("two are warm and none else lives", async () => {
    const { live, warm } = await counts();
    return live === 2 && warm === 2;
  });
  assert.equal(server.folders().length, 2);
  await server.stop();
  await server.removeData();
});

test("when no slot is free a run is refused with 503, and runs when one is", async () => {
  const server = await TestServer.start({ ERA_MAX_LIVE: "2", ERA_POOL: "python=1" });
  await server.client.session("a").prints("1\n", "print(1)");
  await server.client.session("b").prints("1\n", "print(1)");
  const refused = await server.client.call("POST", "/api/sessions/c/run", { code: "print(1)" });
  assert.deepEqual(
    [refused.status, refused.body.code, refused.headers.get("retry-after")],
    [503, "no_slot", "1"],
  );
  assert.equal(
    (await server.client.call("POST", "/api/execute", { code: "1", language: "python" })).status,
    503,
  );
  await server.client.session("a").delete();
  await server.client.session("c").prints("1\n", "print(1)");
  await server.stop();
  await server.removeData();
});

test("a warm sandbox that dies is replaced, and one of a session is started again with a note", async () => {
  const server = await TestServer.start({ ERA_POOL: "python=1" });
  const warm = server.processes();
  for (const pid of warm) process.kill(pid, "SIGKILL");
  await until(
    "another is warm",
    () => server.processes().length > 0 && !server.processes().some((pid) => warm.includes(pid)),
  );
  const session = await server.client.create("s");
  await session.run("x = 1");
  await until(
    "the pool is full again",
    async () => (await server.client.expect(200, "GET", "/health")).sandboxes.warm === 1,
  );
  for (const pid of server.processes()) process.kill(pid, "SIGKILL");
  await until("it is noticed", async () => (await session.get()).status === "cold");
  const answer = await session.run("print('x' in globals())");
  assert.deepEqual(
    [answer.stdout, answer.state.variables_lost],
    ["False\n", "The sandbox ended between runs"],
  );
  await server.stop();
  await server.removeData();
});

test("`era run` streams a program's output and ends with its exit status, with a server and without", async () => {
  const dataDir = makeDataDir();
  const env = { ...process.env, ERA_DATA_DIR: dataDir, ERA_PORT: "1" };
  const run = (...args: string[]) => spawnSync(ERA, ["run", ...args], { env, encoding: "utf8" });
  const alone = run("-c", "import sys; print('out'); print('err', file=sys.stderr); exit(3)");
  assert.deepEqual([alone.stdout, alone.stderr, alone.status], ["out\n", "err\n", 3]);
  assert.deepEqual(readdirSync(join(dataDir, "sessions")), []);
  const server = await TestServer.start({}, dataDir);
  assert.equal(run("--server", server.url, "--session", "s", "-c", "x = 41").status, 0);
  assert.equal(run("--server", server.url, "--session", "s", "-c", "print(x + 1)").stdout, "42\n");
  assert.equal(run().status, 2);
  await server.stop();
  await server.removeData();
});

test("`era doctor` lists what is enforced and ends with 0 on a host that can do it all", async () => {
  const { stdout, status } = spawnSync(ERA, ["doctor"], { encoding: "utf8" });
  assert.equal(status, 0, stdout);
  for (const name of ["bwrap", "image", "namespaces", "uid", "seccomp", "memory", "pids"])
    assert.match(stdout, new RegExp(`(ok|enforced) +${name}`));
});

test("an interrupted build leaves nothing half-made", async () => {
  const home = makeDataDir();
  const child = spawn(ERA, ["image", "build"], { env: { ...process.env, ERA_HOME: home }, stdio: "ignore" });
  await until(
    "it has begun",
    () =>
      existsSync(join(home, "images")) &&
      readdirSync(join(home, "images")).some((name) => name.startsWith(".building")),
    30_000,
  );
  child.kill("SIGINT");
  const [code] = await once(child, "exit");
  assert.equal(code, 1);
  assert.deepEqual(readdirSync(join(home, "images")), [".lock"]);
  spawnSync("rm", ["-rf", home]);
});
