/** A session as one file, and a session from one: exact where it was made here, refused where it was not. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readdirSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { gzipSync } from "node:zlib";
import { type Header, pack } from "tar-stream";
import type { SessionClient } from "../support/client.ts";
import { TestServer, until } from "../support/server.ts";

const SETTINGS = { ERA_DISK_MIB: "64", ERA_DISK_FILES: "2000", ERA_STATE_MIB: "64", ERA_POOL: "python=1" };
let here: TestServer;
let there: TestServer;

before(async () => {
  [here, there] = await Promise.all([TestServer.start(SETTINGS), TestServer.start(SETTINGS)]);
});

after(async () => {
  for (const server of [here, there]) {
    await server.stop();
    await server.removeData();
  }
});

async function exported({ client, path }: SessionClient): Promise<Buffer> {
  const response = await fetch(`${client.url}${path}/export`);
  assert.equal(response.status, 200);
  return Buffer.from(await response.arrayBuffer());
}

async function imported(server: TestServer, content: Buffer, id?: string) {
  const query = id === undefined ? "" : `?session_id=${id}`;
  const body = new Uint8Array(content);
  const response = await fetch(`${server.url}/api/sessions/import${query}`, { method: "POST", body });
  // biome-ignore lint/suspicious/noExplicitAny: looked at field by field
  return { status: response.status, body: (await response.json()) as any };
}

/** Folders of sessions, and of what is in the making, while the pool is full. */
async function folders({ client, dataDir }: TestServer): Promise<number> {
  await until(
    "the pool is full",
    async () => (await client.call("GET", "/health")).body.sandboxes.warm === 1,
  );
  return readdirSync(join(dataDir, "sessions")).length;
}

const FILL = `import os, random
class Node:
    def __init__(self, v): self.v = v; self.me = self
n = Node([1, 2]); alias = n.v; random.seed(7); drawn = random.random()
def area(w, h=2): return w * h
os.makedirs("deep/er"); open("deep/er/run.sh", "w").write("#!/bin/sh\\n"); os.chmod("deep/er/run.sh", 0o755)
os.symlink("deep/er", "link"); os.symlink("/nowhere", "dangling"); os.link("deep/er/run.sh", "twin")
open(b"\\xff\\xfe", "w").close(); open("empty", "w").close(); open("n" * 200, "w").write("long")
open("/root/.config", "w").write("home"); open(".env", "w").write("SECRET=1")
with open("sparse", "wb") as f: f.truncate(20 << 20)
os.utime("empty", (1_000_000_000, 1_000_000_000))`;
const LOOK = `import os, random
s = os.stat("deep/er/run.sh")
print(n.v, n.me is n, alias is n.v, area(3), random.random() == expected, oct(s.st_mode), s.st_nlink)
print(os.readlink("link"), os.readlink("dangling"), sorted(os.listdir(b"."))[-1], os.stat("empty").st_mtime)
print(open("/root/.config").read(), os.path.exists(".env"), os.stat("sparse").st_size, os.stat("sparse").st_blocks < 99)
print(len([x for x in os.listdir(".") if len(x) == 200]), s.st_uid == os.getuid())`;

test("a session goes on elsewhere as it was: variables, files, settings, data, code, records, versions", async () => {
  const fields = {
    metadata: { team: "a" },
    data: { k: [1] },
    memory_mib: 300,
    default_timeout: 11,
    durability: "sync",
  };
  const session = await here.client.create("traveller", fields);
  await session.run(FILL);
  await session.run(
    "import random\nstate = random.getstate(); expected = random.random(); random.setstate(state)",
  );
  await session.run("n.v.append(3)");
  await here.client.expect(200, "PUT", `${session.path}/code`, { code: "print(len(n.v))", description: "d" });
  const content = await exported(session);
  const { status, body } = await imported(there, content);
  assert.equal(status, 201, JSON.stringify(body));
  assert.deepEqual([body.session_id, body.left_out, body.metadata], ["traveller", [".env"], { team: "a" }]);
  assert.deepEqual(
    [body.data, body.memory_mib, body.default_timeout, body.durability],
    [{ k: [1] }, 300, 11, "sync"],
  );
  const copy = there.client.session("traveller");
  const records = (await there.client.call("GET", `${copy.path}/runs`)).body.runs;
  const originals = (await here.client.call("GET", `${session.path}/runs`)).body.runs;
  assert.deepEqual(records, originals);
  await copy.prints(
    `[1, 2, 3] True True 6 True 0o100755 2
deep/er /nowhere b'\\xff\\xfe' 1000000000.0
home False 20971520 True
1 True
`,
    LOOK,
  );
  await copy.prints("3\n", "print(len(n.v))");
  const { versions } = (await there.client.call("GET", `${copy.path}/versions`)).body;
  assert.ok(versions.some((version: { run_id: string }) => version.run_id === originals[0].run_id));
  await there.client.expect(200, "POST", `${copy.path}/rollback`, { version: 2 });
  await copy.prints("[1, 2]\n", "print(n.v)");
  await session.prints("[1, 2, 3]\n", "print(n.v)");
});

test("each language goes on, also as a second copy beside the first", async () => {
  const programs: Record<string, [string, string, string]> = {
    node: [
      "const counts = new Map([['a', 1]]); let next = (x) => x + 1",
      "console.log(counts, next(4))",
      "Map(1) { 'a' => 1 } 5\n",
    ],
    typescript: ["let total: number = 41", "console.log(total + 1)", "42\n"],
    bash: ["x=5; greet() { echo hi $1; }; cd /tmp", "greet $x; pwd", "hi 5\n/tmp\n"],
  };
  for (const [language, [first, second, printed]] of Object.entries(programs)) {
    const session = await here.client.create(`moves-${language}`, { language });
    await session.run(first);
    const content = await exported(session);
    assert.equal((await imported(here, content)).body.code, "session_exists");
    for (const id of [`${language}-1`, `${language}-2`]) {
      assert.equal((await imported(here, gzipSync(content), id)).status, 201);
      await here.client.session(id).prints(printed, second);
    }
    await session.prints(printed, second);
  }
});

test("an export is of one moment, whatever runs meanwhile, and an empty session can be one, too", async () => {
  const session = await here.client.create("busy");
  await session.run("n = 0; open('n', 'w').write('0')");
  let isOver = false;
  const count = async () => {
    while (!isOver) await session.run("n += 1; open('n', 'w').write(str(n))");
  };
  const clients = [count(), count(), count()];
  for (let at = 0; at < 4; at++) {
    const id = `moment-${at}`;
    assert.equal((await imported(there, await exported(session), id)).status, 201);
    const { runs } = (await there.client.call("GET", `/api/sessions/${id}/runs?limit=1`)).body;
    await there.client
      .session(id)
      .prints(`${runs[0].number - 1} ${runs[0].number - 1}\n`, "print(n, open('n').read())");
  }
  isOver = true;
  await Promise.all(clients);
  const empty = await here.client.create("empty");
  assert.equal((await imported(there, await exported(empty))).status, 201);
  await there.client.session("empty").prints("1\n", "print(1)");
});

const sealed = (content: Buffer) => {
  const block = Buffer.alloc(512);
  block.write(`era-sha256 ${createHash("sha256").update(content).digest("hex")}\n`);
  return Buffer.concat([content, block]);
};
type Entry = [Partial<Header> & { name: string }, string?];
const FOLDERS: Entry[] = ["meta", "workspace", "home", "state"].map((name) => [
  { name, type: "directory", mode: 0o700 },
]);
const NOW = "2026-01-01T00:00:00.000Z";
const SESSION = {
  ...{
    format: "era-session",
    format_version: 1,
    exported_at: NOW,
    created_at: NOW,
    last_run_at: "",
    code: null,
  },
  session: { session_id: "forged", language: "python" },
  version: 1,
  saved: { content: 1, saved_version: 1, bytes: 1, not_kept: [], failure: null, rolled_back: null },
  left_out: [],
};
const meta = (session: object = SESSION, runs = ""): Entry[] => [
  [{ name: "meta/session.json" }, JSON.stringify(session)],
  [{ name: "meta/runs.jsonl" }, runs],
];

const record = (number: number, fields: object = {}) =>
  `${JSON.stringify({
    ...{
      run_id: `run_forged${number}`,
      number,
      state: "done",
      created_at: NOW,
      ended_at: NOW,
      summary: null,
    },
    ...{ output: [], late_output: "", ...fields },
  })}\n`;

async function archive(...entries: Entry[]): Promise<Buffer> {
  const stream = pack();
  for (const [header, content] of [...FOLDERS, ...entries]) stream.entry(header, content ?? "");
  stream.finalize();
  const parts: Buffer[] = [];
  for await (const part of stream) parts.push(part as Buffer);
  return sealed(Buffer.concat(parts));
}

const link = (name: string, linkname: string): Entry => [{ name, type: "symlink", linkname }];
const many = Array.from({ length: 3_000 }, (_, at): Entry => [{ name: `workspace/f${at}` }, ""]);
/** What an archive may be, besides whole and right. */
const FORGERIES: Record<string, () => Promise<Buffer>> = {
  "no archive at all": async () => Buffer.alloc(5_000, "x"),
  nothing: async () => Buffer.alloc(0),
  "no sum at its end": async () => (await archive(...meta())).subarray(0, -512),
  "another sum": async () => Buffer.concat([(await archive(...meta())).subarray(0, -1), Buffer.from("x")]),
  "a name that leads out": () => archive(...meta(), [{ name: "workspace/../../out" }, "x"]),
  "an absolute name": () => archive(...meta(), [{ name: "/mnt/out" }, "x"]),
  "another folder": () => archive(...meta(), [{ name: "run/agent.sock" }, "x"]),
  "a device": () =>
    archive(...meta(), [{ name: "workspace/d", type: "block-device", devmajor: 8, devminor: 0 }]),
  "a file by a link that leads out": () =>
    archive(...meta(), link("workspace/l", "/mnt"), [{ name: "workspace/l/out" }, "x"]),
  "a link in place of its settings": () =>
    archive(link("meta/session.json", "/etc/passwd"), [{ name: "meta/runs.jsonl" }, ""]),
  "a FIFO in place of its settings": () =>
    archive([{ name: "meta/session.json", type: "fifo" }], [{ name: "meta/runs.jsonl" }, ""]),
  "a link in place of its records": () =>
    archive(...meta().slice(0, 1), link("meta/runs.jsonl", "session.json")),
  "no settings": () => archive([{ name: "meta/runs.jsonl" }, ""]),
  "settings that are no JSON": () =>
    archive([{ name: "meta/session.json" }, "{"], [{ name: "meta/runs.jsonl" }, ""]),
  "another format": () => archive(...meta({ ...SESSION, format: "tarball" })),
  "a later version of the format": () => archive(...meta({ ...SESSION, format_version: 2 })),
  "a field of no kind": () => archive(...meta({ ...SESSION, root: true })),
  "a language of no kind": () =>
    archive(...meta({ ...SESSION, session: { session_id: "forged", language: "cobol" } })),
  "more memory than this host has": () =>
    archive(...meta({ ...SESSION, session: { ...SESSION.session, memory_mib: 1 << 30 } })),
  "an id that is a path": () =>
    archive(...meta({ ...SESSION, session: { ...SESSION.session, session_id: "../x" } })),
  "a setup, which is no part of it": () =>
    archive(...meta({ ...SESSION, session: { ...SESSION.session, setup: { pip: ["x"] } } })),
  "a version that nobody counts to": () => archive(...meta({ ...SESSION, version: 2 ** 53 - 1 })),
  "a record with a number that nobody counts to": () => archive(...meta(SESSION, record(2 ** 53 - 1))),
  "records out of their order": () => archive(...meta(SESSION, record(2) + record(1))),
  "a record that does not end": () => archive(...meta(SESSION, record(1).slice(0, -1))),
  "a record of a million parts": () =>
    archive(...meta(SESSION, record(1, { output: Array(1_000_000).fill({ stream: "stdout", text: "" }) }))),
  "a moment that is none": () => archive(...meta({ ...SESSION, created_at: "then" })),
  "another size behind a header": () =>
    archive(...meta(), [{ name: "workspace/hides", pax: { size: "0" } }, "x".repeat(2_000)]),
  "a record of no form": () => archive(...meta(SESSION, '{"number":1}\n')),
  "more files than a session may have": () => archive(...meta(), ...many),
  "more bytes than a session may have": () =>
    archive(...meta(), [{ name: "workspace/big" }, "x".repeat(70 << 20)]),
};

test("what was printed late goes along, and records that are here already stay as they are", async () => {
  const session = await here.client.create("late");
  const { run_id } = await session.run(
    "import threading, time\nthreading.Timer(0.2, lambda: print('late')).start()\nprint('soon')",
  );
  const recordOf = async (server: TestServer, id: string) =>
    (await server.client.call("GET", `/api/runs/${id}`)).body;
  await until("it is printed", async () => (await recordOf(here, run_id)).late_output === "late\n");
  const content = await exported(session);
  const original = await recordOf(here, run_id);
  assert.equal((await imported(there, content)).status, 201);
  assert.deepEqual(await recordOf(there, run_id), original);
  assert.equal((await imported(here, content, "late-2")).status, 201);
  assert.deepEqual(await recordOf(here, run_id), original);
  const { runs } = (await here.client.call("GET", "/api/sessions/late-2/runs")).body;
  assert.notEqual(runs[0].run_id, run_id);
  assert.equal((await recordOf(here, runs[0].run_id)).late_output, "late\n");
});

test("a session that has files and has never run is exported, and has a tag that says so", async () => {
  const session = await here.client.create("files-only");
  await here.client.expect(200, "PUT", `${session.path}/files/a.txt`, "text");
  const answer = await fetch(`${here.url}${session.path}/export`);
  assert.equal(answer.status, 200);
  const tag = answer.headers.get("etag") ?? "";
  const content = Buffer.from(await answer.arrayBuffer());
  const same = await fetch(`${here.url}${session.path}/export`, { headers: { "if-none-match": tag } });
  assert.equal(same.status, 304);
  assert.equal((await imported(there, content)).status, 201);
  await there.client.session("files-only").prints("text\n", "print(open('a.txt').read())");
});

test("an import waits for its last bytes, whatever is behind the archive's end, and holds up no export", async () => {
  const session = here.client.session("moves-bash");
  const zipped = gzipSync(await exported(session));
  const { port } = new URL(here.url);
  const send = (id: string, parts: Buffer[], length: number) =>
    new Promise<string>((resolve) => {
      const socket = connect(Number(port), "127.0.0.1");
      let said = "";
      socket.on("error", () => undefined).on("close", () => resolve(said));
      socket.on("data", (chunk) => {
        said += chunk;
        socket.end();
      });
      socket.write(
        `POST /api/sessions/import?session_id=${id} HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${length}\r\n\r\n`,
      );
      for (const [at, part] of parts.entries()) setTimeout(() => socket.write(part), at * 300);
      if (parts.length === 0) setTimeout(() => socket.resetAndDestroy(), 3_000);
    });
  for (const held of [1, 9]) {
    const said = await send(
      `held-${held}`,
      [zipped.subarray(0, -held), zipped.subarray(-held)],
      zipped.length,
    );
    assert.match(said, /^HTTP\/1.1 201/, said);
  }
  const sound = await exported(session);
  const padded = sealed(Buffer.concat([sound.subarray(0, -512), Buffer.alloc(1 << 20)]));
  assert.equal((await imported(here, padded, "padded")).status, 201);
  const idle = [send("idle-1", [], 1_000), send("idle-2", [], 1_000), send("idle-3", [], 1_000)];
  assert.ok((await exported(session)).length > 10_000);
  await Promise.all(idle);
});

test("what nobody has exported is refused, and leaves nothing", { timeout: 240_000 }, async () => {
  const sound = await exported(here.client.session("moves-bash"));
  for (const at of [1, 511, 512, 4_000, sound.length - 600, sound.length - 512, sound.length - 1])
    FORGERIES[`only its first ${at} bytes`] = async () => sound.subarray(0, at);
  for (const at of [700, 2_000, 6_000, sound.length >> 1, sound.length - 100])
    FORGERIES[`another byte at ${at}`] = async () =>
      Buffer.from(sound).fill(sound[at] === 0 ? 1 : 0, at, at + 1);
  assert.equal((await imported(there, await archive(...meta()), "fine")).status, 201);
  await there.client.session("fine").prints("1\n", "print(1)");
  const before = await folders(there);
  for (const [what, make] of Object.entries(FORGERIES)) {
    const { status, body } = await imported(there, await make());
    assert.ok([400, 507].includes(status), `${what}: ${status} ${JSON.stringify(body)}`);
    assert.ok(typeof body.error === "string" && body.error.length < 600, what);
    assert.equal((await there.client.call("GET", "/api/sessions/forged")).status, 404, what);
  }
  await until("nothing is left", async () => (await folders(there)) <= before);
});

test("a client that leaves in the middle leaves nothing behind", async () => {
  const session = await here.client.create("left");
  await session.run("open('big', 'wb').write(__import__('os').urandom(30 << 20))");
  const before = await Promise.all([here, there].map(folders));
  const leave = (server: TestServer, head: string, body: Buffer = Buffer.alloc(0)) =>
    new Promise<void>((resolve) => {
      const socket = connect(Number(new URL(server.url).port), "127.0.0.1");
      socket.write(Buffer.concat([Buffer.from(head), body]));
      setTimeout(() => socket.resetAndDestroy(), 700).unref();
      socket.on("error", () => undefined).on("close", () => resolve());
    });
  const content = await exported(session);
  await Promise.all([
    leave(here, `GET ${session.path}/export HTTP/1.1\r\nhost: localhost\r\n\r\n`),
    leave(
      there,
      `POST /api/sessions/import HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${content.length}\r\n\r\n`,
      content.subarray(0, 1 << 20),
    ),
  ]);
  await until("both are as before", async () => {
    const now = await Promise.all([here, there].map(folders));
    return now.every((count, at) => count <= (before[at] ?? 0));
  });
  assert.equal((await there.client.call("GET", session.path)).status, 404);
});
