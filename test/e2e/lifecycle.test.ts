/** Starting, stopping, being killed, and what is left of it: nothing. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { readdirSync, statSync } from "node:fs";
import http from "node:http";
import { connect } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Client } from "../support/client.ts";
import { makeDataDir, TestServer, until } from "../support/server.ts";

const ERA = fileURLToPath(new URL("../../era", import.meta.url));

test("files, data, settings and variables survive a restart", async () => {
  const first = await TestServer.start();
  const session = await first.client.create("kept", { data: { a: 1 }, default_timeout: 7 });
  await session.prints("", `x = 1\nopen("f", "w").write("1")`);
  await first.stop();
  const second = await TestServer.start({}, first.dataDir);
  const again = second.client.session("kept");
  const seen = await again.get();
  assert.deepEqual([seen.data, seen.file_count, seen.default_timeout], [{ a: 1 }, 1, 7]);
  const answer = await again.run(`print(open("f").read(), "x" in globals())`);
  assert.equal(answer.stdout, "1 True\n");
  assert.equal(answer.state.rolled_back, null);
  await second.stop();
  await second.removeData();
});

test("sandboxes of a killed server wait for another one, then end; what nobody owns ends at once", async () => {
  const first = await TestServer.start({ ERA_ORPHAN_SECONDS: "2" });
  const session = await first.client.create("s");
  await session.run("import subprocess\nsubprocess.Popen(['sleep', '1000'])\nx = 1");
  void first.client.execute("while True: pass").catch(() => undefined);
  await until("both run", () => first.processes().length >= 4);
  await first.kill();
  await until("only the session's sandbox is left", () => first.processes().length === 4, 1_500);
  await until("it ends by itself", () => first.processes().length === 0);
  const second = await TestServer.start({ ERA_POOL: "python=0" }, first.dataDir);
  await second.client.session("s").prints("1\n", "print(x)");
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
  for (const path of ["/%61pi/sessions", "http://x/api/sessions", "//api/sessions", "/api/../api/sessions"]) {
    assert.notEqual(await rawStatus(server.url, path, {}), 200, path);
  }
  const health = await server.client.expect(200, "GET", "/health");
  for (const field of ["status", "version", "time", "timestamp", "isolation"])
    assert.ok(field in health, field);
  await server.stop();
  await server.removeData();
});

/** Some end with others, before their turn. */
function killAll(pids: readonly number[]): void {
  for (const pid of pids) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // it has ended
    }
  }
}

/** The status of a request whose address and headers are sent exactly as given. */
async function rawStatus(
  url: string,
  path: string,
  headers: Record<string, string>,
): Promise<number | undefined> {
  const { hostname, port } = new URL(url);
  const request = http.request({ host: hostname, port, path, headers }).end();
  const [response] = (await once(request, "response")) as [http.IncomingMessage];
  response.resume();
  return response.statusCode;
}

test("without a key, neither a foreign page nor a name that was made to lead here gets in", async () => {
  const server = await TestServer.start();
  for (const headers of [
    { origin: "https://evil.example" },
    { host: "evil.example" },
    { host: "evil.example", origin: "http://evil.example" },
  ]) {
    assert.equal(await rawStatus(server.url, "/api/sessions", headers), 403);
    assert.equal(await rawStatus(server.url, "/%61pi/sessions", headers), 403);
  }
  assert.equal(
    await rawStatus(server.url, "/api/sessions", { host: "localhost:1", origin: "http://[::1]:5173" }),
    200,
  );
  await server.stop();
  await server.removeData();
});

test("what the server stores is readable by nobody else", async () => {
  const server = await TestServer.start();
  await server.client.session("s").run("print('secret')");
  for (const name of readdirSync(server.dataDir).filter((name) => name.startsWith("era.db"))) {
    assert.equal(statSync(join(server.dataDir, name)).mode & 0o077, 0, name);
  }
  await server.stop();
  await server.removeData();
});

test("SIGTERM ends in bounded time whatever waits: queued runs, one-shots, half-sent bodies, readers that do not read", async () => {
  const server = await TestServer.start();
  const session = await server.client.create("s");
  const endless = [1, 2, 3].map(() =>
    server.client.call("POST", `${session.path}/run`, { code: "while True: pass", timeout: 600 }),
  );
  const oneShot = server.client.call("POST", "/api/execute", {
    code: "while True: pass",
    language: "python",
    timeout: 600,
  });
  const { hostname, port } = new URL(server.url);
  const half = connect(Number(port), hostname).on("error", () => undefined);
  half.write("POST /api/execute HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{");
  await until("it runs", async () => (await session.get()).status === "running");
  const startedAt = performance.now();
  const outcomes = Promise.allSettled([...endless, oneShot]);
  await server.stop();
  assert.ok(performance.now() - startedAt < 25_000);
  const [first, second] = await outcomes;
  assert.equal(first?.status === "fulfilled" && first.value.body.outcome, "interrupted");
  assert.equal(second?.status === "fulfilled" && second.value.body.code, "shutting_down");
  half.destroy();
  await server.removeData();
});

test("SIGTERM does not wait for connections on which nothing is asked, or not all of a head", async () => {
  const server = await TestServer.start();
  await server.client.session("s").run("1");
  const { hostname, port } = new URL(server.url);
  const open = async (said: string) => {
    const socket = connect(Number(port), hostname).on("error", () => undefined);
    await once(socket, "connect");
    socket.write(said);
    return socket;
  };
  const sockets = [await open(""), await open("GET /health HTTP/1.1\r\nhost: local")];
  const startedAt = performance.now();
  await server.stop();
  assert.ok(performance.now() - startedAt < 3_000, `${performance.now() - startedAt} ms`);
  for (const socket of sockets) socket.destroy();
  await server.removeData();
});

test("SIGTERM does not wait for a client that keeps its connection after its answer", async () => {
  const server = await TestServer.start();
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  const { hostname, port } = new URL(server.url);
  const asked = http.request({ agent, hostname, port, method: "POST", path: "/api/sessions/s/run" });
  asked.end(JSON.stringify({ code: "import time; time.sleep(1); print('done')" }));
  await until(
    "it runs",
    async () => (await server.client.call("GET", "/api/sessions/s")).body.status === "running",
  );
  const startedAt = performance.now();
  const stopping = server.stop();
  const [response] = (await once(asked, "response")) as [http.IncomingMessage];
  const body = JSON.parse(Buffer.concat(await response.toArray()).toString());
  assert.equal(body.stdout, "done\n");
  await stopping;
  assert.ok(performance.now() - startedAt < 5_000, `${performance.now() - startedAt} ms`);
  agent.destroy();
  await server.removeData();
});

test("a deletion while the sandbox starts does not wait for the run", async () => {
  const server = await TestServer.start({ ERA_POOL: "python=0" });
  for (const delayMs of [0, 5, 20]) {
    const session = await server.client.create(`s${delayMs}`);
    const run = server.client.call("POST", `${session.path}/run`, { code: "import time; time.sleep(20)" });
    await sleep(delayMs);
    const startedAt = performance.now();
    await session.delete();
    assert.ok(performance.now() - startedAt < 5_000);
    assert.ok([404, 410].includes((await run).status) || (await run).body.created === true);
  }
  await server.client.expect(200, "DELETE", "/api/sessions");
  await server.stop();
  await server.removeData();
});

test("a client that hangs up ends its one-shot run", async () => {
  const server = await TestServer.start({ ERA_POOL: "python=0" });
  const gone = new AbortController();
  const body = JSON.stringify({ code: "while True: pass", language: "python", timeout: 600 });
  const call = (signal: AbortSignal) =>
    fetch(`${server.url}/api/execute`, { method: "POST", body, signal }).catch(() => undefined);
  const running = call(gone.signal);
  await until("it runs", () => server.processes().length >= 3);
  gone.abort();
  await running;
  await until("nothing runs", () => server.processes().length === 0);
  // Also one whose sandbox is still being started.
  await call(AbortSignal.timeout(15));
  await until("it was started", async () => server.processes().length > 0 || server.folders().length > 0);
  await until(
    "nothing is left of it",
    () => server.processes().length === 0 && server.folders().length === 0,
  );
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

test("when no slot is free a run waits for one, then is refused with 503, and runs when one is", async () => {
  const server = await TestServer.start({
    ERA_MAX_LIVE: "2",
    ERA_POOL: "python=1",
    ERA_SLOT_WAIT_SECONDS: "1",
  });
  for (const id of ["a", "b"]) {
    const busy = await server.client.create(id, { imaging: "never" });
    await busy.run("import subprocess\nsleeper = subprocess.Popen(['sleep', '1000'])");
  }
  const startedAt = performance.now();
  const refused = await server.client.call("POST", "/api/sessions/c/run", { code: "print(1)" });
  assert.deepEqual(
    [refused.status, refused.body.code, refused.headers.get("retry-after")],
    [503, "no_slot", "1"],
  );
  assert.ok(performance.now() - startedAt >= 1_000);
  const alone = server.client.call("POST", "/api/execute", { code: "1", language: "python" });
  const waiting = server.client.session("c").prints("1\n", "print(1)");
  await server.client.session("a").delete();
  await waiting;
  assert.equal((await alone).status, 200);
  await server.stop();
  await server.removeData();
});

test("when slots are short, sessions whose programs go on sleep with them, and go on when they are used", async () => {
  const server = await TestServer.start({ ERA_MAX_LIVE: "2", ERA_POOL: "python=0" });
  const sessions = ["a", "b", "c", "d"].map((id) => server.client.session(id));
  const counts =
    "import itertools, subprocess, sys\nit = subprocess.Popen([sys.executable, '-c', 'import time\\nwhile True: time.sleep(1)'])";
  for (const session of sessions) await session.prints("", counts);
  const [first] = sessions;
  await first?.prints("None True\n", "print(it.poll(), it.pid > 1)");
  assert.equal((await server.client.expect(200, "GET", "/health")).sandboxes.live <= 2, true);
  await server.stop();
  await server.removeData();
});

test("programs that no snapshot can keep hold their slot, whoever waits for it, and go on", async () => {
  const server = await TestServer.start({
    ERA_MAX_LIVE: "1",
    ERA_POOL: "python=0",
    ERA_SLOT_WAIT_SECONDS: "4",
  });
  const holder = server.client.session("holder");
  // A message queue is among what CRIU cannot write down.
  await holder.prints(
    "",
    `import ctypes, os, subprocess, sys
queue = ctypes.CDLL(None).mq_open(b"/held", os.O_CREAT | os.O_RDWR, 0o600, None); assert queue >= 0
program = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])`,
  );
  const refused = await server.client.call("POST", "/api/sessions/other/run", { code: "1" });
  assert.deepEqual([refused.status, refused.body.code], [503, "no_slot"]);
  await holder.prints("None\n", "print(program.poll())");
  await holder.delete();
  await server.client.session("other").prints("1\n", "print(1)");
  await server.stop();
  await server.removeData();
});

test("a warm sandbox that dies is replaced, and one of a session is started again with a note", async () => {
  const server = await TestServer.start({ ERA_POOL: "python=1" });
  const warm = server.processes();
  killAll(warm);
  await until(
    "another is warm",
    () => server.processes().length > 0 && !server.processes().some((pid) => warm.includes(pid)),
  );
  const session = await server.client.create("s");
  await session.run("x = 1");
  await until("it is saved", async () => (await session.get()).state.saved_version === 1);
  await until(
    "the pool is full again",
    async () => (await server.client.expect(200, "GET", "/health")).sandboxes.warm === 1,
  );
  killAll(server.processes());
  await until("it is noticed", async () => (await session.get()).status === "cold");
  await session.prints("1\n", "print(x)");
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
