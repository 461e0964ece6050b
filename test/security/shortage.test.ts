/**
 * A server that is short of what the host gives it: it lives, says so, and goes on; nobody else's fault becomes its
 * own.
 */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, rmdirSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import type { Client } from "../support/client.ts";
import { TestServer, until } from "../support/server.ts";

const ROUNDS = 12;
/** What may be said to who asks for more than there is now. */
const REFUSALS = new Set(["host_exhausted", "no_slot", "sandbox_failed", "save_failed"]);

/** Connections that never send a request. */
async function holdOpen(url: string, count: number): Promise<Socket[]> {
  const { port, hostname } = new URL(url);
  const sockets: Socket[] = [];
  for (let at = 0; at < count; at++) {
    const socket = connect(Number(port), hostname);
    socket.on("error", () => socket.destroy());
    sockets.push(socket);
    if (at % 50 === 49) await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return sockets;
}

/** Every kind of work at once, again and again; answers the codes of what was refused. */
async function work(client: Client, rounds = ROUNDS): Promise<Set<string>> {
  const refused = new Set<string>();
  const call = async (method: string, path: string, body?: unknown) => {
    const { status, body: answer } = await client.call(method, path, body);
    if (status < 500) return;
    assert.ok(REFUSALS.has(answer.code), `${method} ${path}: ${status} ${JSON.stringify(answer)}`);
    refused.add(answer.code);
  };
  for (let at = 0; at < rounds; at++) {
    const path = `/api/sessions/s${at}`;
    await Promise.all([
      call("POST", `${path}/run`, { code: "x = 1; open('f', 'w').write('1'); print(x)" }),
      call("POST", "/api/execute", { code: "print(1)", language: "python" }),
      call("POST", `/api/sessions/n${at % 3}/run`, { code: "1", language: "node" }),
      call("GET", "/api/sessions"),
      call("PUT", `${path}/files/a/b.txt`, "hello"),
      call("GET", `${path}/files`),
    ]);
    await Promise.all([
      call("POST", `${path}/duplicate`, { new_id: `copy-${at}` }),
      call("POST", `${path}/hibernate`),
    ]);
    await call("POST", `${path}/run`, { code: "x" });
    if (at % 3 === 0) await call("DELETE", path);
  }
  return refused;
}

async function goesOn(server: TestServer): Promise<void> {
  assert.equal(server.process.exitCode, null, server.log);
  await until("it answers as before", async () => {
    const { status, body } = await server.client.call("POST", "/api/sessions/after/run", {
      code: "print(42)",
    });
    return status === 200 && body.stdout === "42\n";
  });
}

for (const limit of [600, 1100]) {
  test(`with ${limit} descriptors, strangers who hold connections open take nothing from others`, async () => {
    const server = await TestServer.start({}, undefined, ["prlimit", `--nofile=${limit}:${limit}`]);
    const strangers = await holdOpen(server.url, limit + 400);
    assert.deepEqual([...(await work(server.client))], [], "something was refused");
    await goesOn(server);
    for (const socket of strangers) socket.destroy();
    await server.stop();
    await server.removeData();
  });
}

test("programs that hold connections out of their sandboxes take no descriptors from others", async () => {
  const server = await TestServer.start({}, undefined, ["prlimit", "--nofile=600:600"]);
  const hold = `import socket
held = []
for path in ("/run/era/egress.sock", "/run/era/ports.sock"):
    for _ in range(400):
        try:
            s = socket.socket(socket.AF_UNIX); s.settimeout(1); s.connect(path); held.append(s)
        except OSError: pass
print(len(held) > 0)`;
  for (let at = 0; at < 6; at++) {
    const session = await server.client.create(`holder-${at}`, { allowInternetAccess: at % 2 === 0 });
    await session.prints("True\n", hold);
  }
  assert.deepEqual([...(await work(server.client))], [], "something was refused");
  await goesOn(server);
  await server.stop();
  await server.removeData();
});

test("where no process can be started, that is said, and the server goes on", async () => {
  const tree = existsSync("/sys/fs/cgroup/pids") ? "/sys/fs/cgroup/pids" : "/sys/fs/cgroup";
  const group = join(tree, `era-test-${process.pid}`);
  mkdirSync(group);
  const under = ["sh", "-c", `echo $$ >${group}/cgroup.procs; exec "$@"`, "sh"];
  const server = await TestServer.start({ ERA_LOG_LEVEL: "silent" }, undefined, under);
  writeFileSync(join(group, "pids.max"), "40");
  const refused = await work(server.client, 5);
  assert.ok(refused.size > 0, "nothing was short");
  writeFileSync(join(group, "pids.max"), "max");
  await goesOn(server);
  await server.stop();
  await server.removeData();
  rmdirSync(group);
});
