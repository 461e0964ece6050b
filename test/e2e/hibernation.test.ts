/** Sleep and waking: by request, by idle time, for want of slots; ten times over, and over restarts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { SessionClient } from "../support/client.ts";
import { readEvents, textOf } from "../support/events.ts";
import { TestServer, until } from "../support/server.ts";

const kindOf = async (session: SessionClient) => (await session.get()).state.kind;
const hibernate = (session: SessionClient) => session.client.expect(200, "POST", `${session.path}/hibernate`);
const asleep = (session: SessionClient) =>
  until(`${session.id} sleeps`, async () => (await kindOf(session)) === "hibernated");

test("an idle session goes to sleep by itself and wakes with all it had, ten times over restarts", async () => {
  let server = await TestServer.start({ ERA_IDLE_SECONDS: "0.3" });
  await server.client.create("s", {
    default_timeout: 9,
    data: { a: 1 },
    metadata: { m: 2 },
    memory_mib: 300,
  });
  await server.client
    .session("s")
    .prints("", `import json as j\nitems = []\nshared = items\ndef count(): return len(items)`);
  for (let time = 1; time <= 10; time++) {
    const session = server.client.session("s");
    await asleep(session);
    if (time % 2 === 0) {
      await server.stop();
      server = await TestServer.start({ ERA_IDLE_SECONDS: "0.3" }, server.dataDir);
    }
    await server.client
      .session("s")
      .prints(
        `${time} True [${time}]\n`,
        `items.append(${time})\nprint(count(), shared is items, j.dumps(items[-1:]))`,
      );
  }
  const seen = await server.client.session("s").get();
  assert.deepEqual(
    [seen.default_timeout, seen.data, seen.metadata, seen.memory_mib],
    [9, { a: 1 }, { m: 2 }, 300],
  );
  await server.stop();
  await server.removeData();
});

test("a text hashes to the same after sleep, in a copy, in another kernel, and over restarts", async () => {
  let server = await TestServer.start({ ERA_POOL: "python=0" });
  const look = "print(hash('key') % 1_000_003)";
  const first = (await (await server.client.create("s")).run(look)).stdout;
  const other = (await server.client.execute(look)).stdout;
  await hibernate(server.client.session("s"));
  await server.client.expect(201, "POST", "/api/sessions/s/duplicate", { new_id: "copy" });
  await server.stop();
  server = await TestServer.start({ ERA_POOL: "python=1" }, server.dataDir);
  for (const id of ["s", "copy", "another"]) await server.client.session(id).prints(first, look);
  await server.client.session("sh").prints(first, `python3 -c "${look}"`, { language: "bash" });
  assert.equal(other, first);
  await server.stop();
  await server.removeData();
});

test("hibernating by request leaves no process; of one that sleeps already it changes nothing", async () => {
  const server = await TestServer.start({ ERA_POOL: "python=0" });
  const session = await server.client.create("s");
  await hibernate(session);
  await session.prints("", "x = 1");
  const { state } = await hibernate(session);
  assert.deepEqual([state.kind, state.saved_version, state.not_kept], ["hibernated", 1, []]);
  assert.equal(server.processes().length, 0);
  await hibernate(session);
  await session.prints("1\n", "print(x)");
  await server.stop();
  await server.removeData();
});

test("the least recently used session gives its slot to the next one, without any error", async () => {
  const server = await TestServer.start({ ERA_MAX_LIVE: "4", ERA_POOL: "python=1" });
  const sessions = Array.from({ length: 12 }, (_, at) => server.client.session(`s${at}`));
  for (const session of sessions) await session.prints("", `mine = "${session.id}"`);
  assert.equal(await kindOf(sessions[0] as SessionClient), "hibernated");
  const visit = async (client: number) => {
    for (let time = 0; time < 15; time++) {
      const session = sessions[(client * 5 + time * 7) % sessions.length] as SessionClient;
      await session.prints(`${session.id}\n`, "print(mine)");
    }
  };
  await Promise.all([0, 1, 2].map(visit));
  await server.client.execute("1");
  await server.stop();
  await server.removeData();
});

test("background work keeps a session awake: processes, threads, a run in progress", async () => {
  const server = await TestServer.start({ ERA_IDLE_SECONDS: "0.2" });
  const awake: [string, string][] = [
    ["process", "import subprocess\nbackground = subprocess.Popen(['sleep', '1.5'])"],
    ["thread", "import threading, time\nt = threading.Thread(target=time.sleep, args=(1.5,)); t.start()"],
    ["run", "import time; time.sleep(1.5)"],
  ];
  const idle = server.client.session("idle");
  await idle.run("1");
  await Promise.all(
    awake.map(async ([id, code]) => {
      const session = server.client.session(id);
      const run = session.run(code);
      await Promise.race([run, sleep(400)]);
      await sleep(600);
      assert.equal(await kindOf(session), "live", id);
      await run;
    }),
  );
  assert.equal(await kindOf(idle), "hibernated");
  await asleep(server.client.session("process"));
  await server.stop();
  await server.removeData();
});

/** Answers each request with headers and a beginning, and keeps the connection. */
const LISTENS = `import socket
listener = socket.create_server(("127.0.0.1", 7200))
kept = []
while True:
    connection, _ = listener.accept()
    connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Type: text/plain\\r\\n\\r\\nfirst")
    kept.append(connection)
`;

for (const [activity, withStream, withoutIt] of [
  ["programs,streams", "live", "live"],
  ["streams", "live", "hibernated"],
  ["none", "hibernated", "hibernated"],
] as const) {
  test(`with ERA_ACTIVITY=${activity} a program that listens is ${withoutIt} when idle, ${withStream} with a stream open`, async () => {
    const server = await TestServer.start({
      ERA_IDLE_SECONDS: "0.4",
      ERA_ACTIVITY: activity,
      ERA_POOL: "python=0",
    });
    const [open, quiet] = [await server.client.create("open"), await server.client.create("quiet")];
    for (const session of [open, quiet]) {
      await server.client.expect(200, "PUT", `${session.path}/files/server.py`, LISTENS);
      await session.prints(
        "",
        "import subprocess, sys; server = subprocess.Popen([sys.executable, 'server.py'])",
      );
    }
    const address = `${server.url}/proxy/open/7200/`;
    const gone = new AbortController();
    await until("it listens", async () => (await fetch(address, { signal: gone.signal })).status === 200);
    for (const [session, kind] of [
      [open, withStream],
      [quiet, withoutIt],
    ] as const) {
      if (kind === "hibernated") await asleep(session);
      else {
        await sleep(1_500);
        assert.equal(await kindOf(session), kind, session.id);
      }
    }
    gone.abort();
    await server.stop();
    await server.removeData();
  });
}

test("a DELETE that races a wake wins, and the id is free again", async () => {
  const server = await TestServer.start({ ERA_POOL: "python=1" });
  for (let time = 0; time < 5; time++) {
    const session = await server.client.create("s");
    await session.prints("", "x = 1");
    await hibernate(session);
    const run = server.client.call("POST", `${session.path}/run`, { code: "print(x)" });
    await sleep(time * 10);
    await session.delete();
    const { status } = await run;
    assert.ok([200, 404, 410].includes(status), String(status));
    assert.equal((await server.client.call("GET", session.path)).status, 404);
  }
  const again = await server.client.create("s");
  await again.fails(/NameError/, "print(x)");
  await server.stop();
  await server.removeData();
});

test("a server that is killed while sessions run, idle and sleep finds all of them again", async () => {
  const first = await TestServer.start();
  const session = (id: string) => first.client.session(id);
  for (const id of ["idle", "asleep", "running"])
    await session(id).prints("", "import time\nx = [1]\ng = (i for i in range(9))\nnext(g)");
  await hibernate(session("asleep"));
  const body = { code: "print('begun')\ntime.sleep(1.5)\nx.append(2)\nprint('ended', next(g))" };
  const key = { "idempotency-key": "k" };
  void first.client.call("POST", "/api/sessions/running/run", body, key).catch(() => undefined);
  await until("it runs", async () => (await session("running").get()).status === "running");
  await first.kill();
  const second = await TestServer.start({}, first.dataDir);
  const { client } = second;
  const answer = await client.call("POST", "/api/sessions/running/run", body, key);
  assert.deepEqual([answer.status, answer.body.stdout], [200, "begun\nended 1\n"]);
  assert.equal(answer.headers.get("idempotency-replayed"), "true");
  await client.session("running").prints("[1, 2] 2\n", "print(x, next(g))");
  await client.session("idle").prints("[1] 1\n", "print(x, next(g))");
  await client.session("asleep").prints("[1]\n", "print(x)");
  const { runs } = await client.expect(200, "GET", "/api/sessions/running/runs");
  assert.deepEqual(
    runs.map(({ status }: { status: string }) => status),
    ["done", "done", "done"],
  );
  await second.stop();
  await second.removeData();
});

test("a run that ends while no server is there is told by the next one, also after its sandbox has gone", async () => {
  const settings = { ERA_ORPHAN_SECONDS: "0.5" };
  const first = await TestServer.start(settings);
  await first.client.session("s").prints("", "import time\nx = 1");
  const body = { code: "time.sleep(1)\nx += 1\nprint('out', x)\nx" };
  const key = { "idempotency-key": "k" };
  void first.client.call("POST", "/api/sessions/s/run", body, key).catch(() => undefined);
  await until("it runs", async () => (await first.client.session("s").get()).status === "running");
  await first.kill();
  await until("its sandbox has ended", () => first.processes().length === 0);
  const second = await TestServer.start(settings, first.dataDir);
  const { body: told } = await second.client.call("POST", "/api/sessions/s/run", body, key);
  assert.deepEqual([told.stdout, told.results[0].text, told.exit_code], ["out 2\n", "2", 0]);
  await second.client.session("s").prints("2\n", "print(x)");
  await second.stop();
  await second.removeData();
});

test("a guest cannot pass for its agent when a new server listens", async () => {
  const first = await TestServer.start();
  const session = await first.client.create("s");
  await session.prints("", "x = 1");
  const hello = `{"type":"hello","protocol":3,"token":null,"epoch":1,"restored":null,"unrecorded":[],"running":null,"version":9}`;
  await session.run(
    `import subprocess, sys\nforger = r'''\nimport socket, struct, time\nhello = ${JSON.stringify(hello)}.encode()\nwhile True:\n    try:\n        s = socket.socket(socket.AF_UNIX); s.connect("/run/era/agent.sock")\n        s.sendall(struct.pack(">II", len(hello), 0) + hello)\n        open("dialled", "w").close()\n        s.recv(100)\n    except OSError: pass\n'''\np = subprocess.Popen([sys.executable, "-c", forger])`,
  );
  await first.kill();
  const second = await TestServer.start({}, first.dataDir);
  const again = second.client.session("s");
  await again.prints("1 True\n", "print(x, p.poll() is None)");
  assert.equal((await again.get()).state.version, 3);
  await again.run("p.kill()");
  await second.stop();
  await second.removeData();
});

test("values so large that their pages are mapped are as before, may be changed and grow, and sleep again", async () => {
  const server = await TestServer.start({ ERA_POOL: "python=0" });
  const session = await server.client.create("s", { memory_mib: 1024 });
  await session.prints(
    "",
    `import numpy
size = 33 << 20
array = numpy.arange(size // 8)
part = array[5:10]
grown, raw, text = bytearray(size), b"ab" * (size // 2), "xyz" * (size // 3)
grown[-1] = 7`,
  );
  await hibernate(session);
  await session.prints(
    "True True True True 7\n",
    `mapped = sum("era-state/values" in line for line in open("/proc/self/maps"))
total = int(array.sum())
print(mapped >= 60, bool((array == numpy.arange(size // 8)).all()), raw == b"ab" * (size // 2), text == "xyz" * (size // 3), grown[-1])`,
  );
  await session.prints(
    "[ 4 50 51  7  8] 51 69206018\n",
    `part[0], array[6] = 50, 51
grown += bytes(size + 1)
print(array[4:9], part[1], len(grown) + 1)`,
  );
  for (let time = 0; time < 2; time++) {
    await hibernate(session);
    await session.prints(
      "[ 4 50 51  7  8] 51 7 True\n",
      "print(array[4:9], part[1], grown[size - 1], int(array.sum()) == total + 90)",
    );
  }
  await server.stop();
  await server.removeData();
});

test("more names than a report tells that could not be kept: the session sleeps, wakes and is listed", async () => {
  const server = await TestServer.start({ ERA_POOL: "python=0" });
  const session = await server.client.create("many-lost", { imaging: "never" });
  await session.prints("", `kept = 1\nglobals().update({f"g{at}": (x for x in ()) for at in range(1_200)})`);
  await server.client.expect(200, "POST", `${session.path}/hibernate`);
  await session.prints("1\n", "print(kept)");
  await session.fails(/could not be kept/, "print(g1150)");
  const { variables } = await server.client.expect(200, "GET", `${session.path}/variables`);
  assert.ok(variables.length > 1_000);
  await session.run("import os\nos._exit(3)");
  await session.prints("1\n", "print(kept)");
  await server.stop();
  await server.removeData();
});

test("what a run was to add to the data is added when another server hears of its end; an unsaved run is not run again", async () => {
  const first = await TestServer.start({ ERA_POOL: "python=1" });
  const session = await first.client.create("adds", { data: { before: 1 } });
  await session.prints("", "import time\nruns = 0");
  const code = `runs += 1\nfor at in range(10):\n    print(at)\n    time.sleep(0.1)`;
  const ask = (server: TestServer, durability: string) =>
    server.client.call(
      "POST",
      `${session.path}/run`,
      { code, durability, update_data: { [durability]: true } },
      { "idempotency-key": `adds-${durability}` },
    );
  let server = first;
  for (const durability of ["async", "none"]) {
    const lost = ask(server, durability).catch(() => null);
    await until("it runs", async () => (await server.client.session("adds").get()).status === "running");
    await sleep(300);
    await server.kill();
    await lost;
    server = await TestServer.start({ ERA_POOL: "python=1" }, first.dataDir);
    const { status, body } = await ask(server, durability);
    assert.deepEqual([status, body.stdout], [200, "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n"]);
    assert.equal((await server.client.session("adds").get()).data[durability], true);
  }
  await server.client.session("adds").prints("2\n", "print(runs)");
  await server.stop();
  await server.removeData();
});

test("a stream goes on where it was after the server was killed and another one came", async () => {
  const first = await TestServer.start({ ERA_POOL: "python=1" });
  const session = await first.client.create("streams");
  await session.prints("", "import time");
  const code = `for at in range(20):\n    print(at)\n    time.sleep(0.1)`;
  const seen = { text: "", id: "0", run: "" };
  try {
    const response = await fetch(`${first.url}${session.path}/stream`, {
      method: "POST",
      body: JSON.stringify({ code }),
    });
    for await (const { id, data } of readEvents(response)) {
      seen.text += String(data.content);
      seen.id = id;
      seen.run = String(data.run_id);
      if (seen.text.endsWith("9\n")) await first.kill();
    }
  } catch {
    // the server was killed
  }
  const second = await TestServer.start({ ERA_POOL: "python=1" }, first.dataDir);
  const rest = await fetch(`${second.url}/api/runs/${seen.run}/stream`, {
    headers: { "last-event-id": seen.id },
  });
  const all = seen.text + textOf(await Array.fromAsync(readEvents(rest)), "stdout");
  assert.equal(all, Array.from({ length: 20 }, (_, at) => `${at}\n`).join(""));
  await second.stop();
  await second.removeData();
});
