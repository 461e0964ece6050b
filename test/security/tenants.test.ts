/** Two holders of keys on one server: neither sees, names or changes what is the other's; limits hold. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Client } from "../support/client.ts";
import { TestServer, until } from "../support/server.ts";

const OPERATOR = "operator-key-of-the-test";
let server: TestServer;
let operator: Client;

before(async () => {
  server = await TestServer.start({ ERA_API_KEY: OPERATOR, ERA_POOL: "python=1" });
  operator = clientOf(OPERATOR);
});
after(async () => {
  await server.stop();
  await server.removeData();
});

const clientOf = (key: string) => new Client(server.url, { authorization: `Bearer ${key}` });

async function keyWith(fields: object): Promise<{ client: Client; id: string; key: string }> {
  const { id, key } = await operator.expect(201, "POST", "/api/keys", { name: "a test", ...fields });
  return { client: clientOf(key), id, key };
}

/** Requests of another key for what is of the one called `id`. */
function looksAt(id: string, runId: string, processId: string): [string, string, unknown?][] {
  const internal = `${id}.shared-name`;
  const ids = [
    "shared-name",
    internal,
    encodeURIComponent(internal),
    `${id}%2Eshared-name`,
    `${id}:shared-name`,
    "../shared-name",
  ];
  return [
    ...ids.map((name): [string, string] => ["GET", `/api/sessions/${name}`]),
    ["POST", "/api/sessions/shared-name/hibernate"],
    ["PATCH", "/api/sessions/shared-name", { metadata: {} }],
    ["DELETE", "/api/sessions/shared-name"],
    ["DELETE", `/api/sessions/${internal}`],
    ["GET", "/api/sessions/shared-name/files"],
    ["GET", "/api/sessions/shared-name/files/file.txt"],
    ["GET", `/api/sessions/${internal}/files/file.txt`],
    ["GET", "/api/sessions/shared-name/archive"],
    ["GET", "/api/sessions/shared-name/export"],
    ["GET", "/api/sessions/shared-name/variables"],
    ["GET", "/api/sessions/shared-name/variables/secret"],
    ["PUT", "/api/sessions/shared-name/variables/secret", { value: 1 }],
    ["GET", "/api/sessions/shared-name/versions"],
    ["POST", "/api/sessions/shared-name/rollback", { version: 1 }],
    ["POST", "/api/sessions/shared-name/undo"],
    ["POST", "/api/sessions/shared-name/duplicate", { new_id: "stolen" }],
    ["POST", `/api/sessions/${internal}/duplicate`, { new_id: "stolen" }],
    ["GET", "/api/sessions/shared-name/runs"],
    ["GET", `/api/runs/${runId}`],
    ["GET", `/api/runs/${runId}/stream`],
    ["POST", `/api/runs/${runId}/stdin`, { text: "x" }],
    ["GET", "/api/sessions/shared-name/code"],
    ["GET", "/api/sessions/shared-name/connections"],
    ["GET", "/api/sessions/shared-name/host?port=8000"],
    ["POST", "/api/sessions/shared-name/interrupt"],
    ["GET", "/api/sessions/shared-name/usage"],
    ["GET", "/api/sessions/shared-name/processes"],
    ["GET", `/api/sessions/shared-name/processes/${processId}`],
    ["GET", `/api/sessions/${internal}/processes/${processId}/output`],
    ["POST", `/api/sessions/shared-name/processes/${processId}/stdin`, { text: "x", end: true }],
    ["POST", `/api/sessions/${internal}/processes/${processId}/signal`, { signal: "KILL" }],
    ["DELETE", `/api/sessions/shared-name/processes/${processId}`],
    ["GET", "/api/keys"],
    ["POST", "/api/keys", { name: "more", scope: "admin" }],
    ["DELETE", `/api/keys/${id}`],
    ["GET", "/metrics"],
  ];
}

test("thirty looks from one key at what is another's find nothing, and change nothing", async () => {
  const [one, other] = [await keyWith({}), await keyWith({})];
  const mine = await one.client.create("shared-name", { metadata: { secret: "mine" } });
  const run = await mine.run("secret = 'variable-of-one'; open('file.txt', 'w').write('file-of-one')", {});
  await one.client.call("POST", `${mine.path}/run`, { code: "secret" }, { "idempotency-key": "same" });
  await one.client.expect(200, "PUT", `${mine.path}/code`, { code: "print('code-of-one')" });
  const { body: exported } = {
    body: await (
      await fetch(`${server.url}${mine.path}/export`, { headers: one.client.headers })
    ).arrayBuffer(),
  };
  assert.ok(exported.byteLength > 1000);
  const { cursor } = { cursor: (await one.client.expect(200, "GET", "/api/sessions?limit=1")).next_cursor };

  const started = await one.client.expect(201, "POST", `${mine.path}/processes`, {
    command: "echo process-of-one; read line",
  });
  const looks = looksAt(one.id, run.run_id, started.process_id);
  for (const [method, path, body] of looks) {
    const response = await fetch(server.url + path, {
      method,
      headers: other.client.headers,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    assert.ok(
      [400, 403, 404].includes(response.status),
      `${method} ${path}: ${response.status} ${text.slice(0, 200)}`,
    );
    const told = text.replaceAll(decodeURIComponent(path.split("/")[3] ?? ""), ""); // what was sent is said again
    assert.doesNotMatch(told, new RegExp(`of-one|"mine"|${one.id}\\.`), `${method} ${path}`);
  }
  assert.ok(looks.length >= 30);
  const process = await one.client.expect(200, "GET", `${mine.path}/processes/${started.process_id}`);
  assert.equal(process.status, "running");

  const listed = await other.client.expect(200, "GET", `/api/sessions?cursor=${cursor ?? 999}`);
  assert.deepEqual(listed.sessions, []);
  assert.deepEqual(
    (await other.client.expect(200, "GET", "/api/audit")).entries.filter(
      ({ key_id }: { key_id: string }) => key_id !== other.id,
    ),
    [],
  );
  const theirs = await other.client.create("shared-name");
  assert.equal((await theirs.get()).id, "shared-name");
  await theirs.prints("shared-name\n", "import os; print(os.environ['ERA_SESSION_ID'])");
  const again = await other.client.call(
    "POST",
    `${theirs.path}/run`,
    { code: "secret" },
    { "idempotency-key": "same" },
  );
  assert.match(again.body.stderr, /NameError/);
  assert.equal((await other.client.expect(200, "DELETE", "/api/sessions")).deleted_count, 1);
  await mine.prints("variable-of-one\n", "print(secret)");
  assert.equal((await mine.get()).metadata.secret, "mine");
});

test("a public address needs the server's own name, and shows no key to programs", async () => {
  const { client, id, key } = await keyWith({});
  const session = await client.create("page");
  const { url } = await client.expect(200, "GET", `${session.path}/host?port=8000`);
  assert.ok(url.endsWith(`/proxy/${id}.page/8000`), url);
  await session.run(`import http.server, threading
class Echo(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(str(self.headers.get("authorization")).encode())
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 8000), Echo)
threading.Thread(target=server.serve_forever, daemon=True).start()`);
  const shown = await fetch(url, { headers: { authorization: `Bearer ${key}` } });
  assert.equal(await shown.text(), "None");
  assert.equal((await fetch(`${server.url}/proxy/page/8000`)).status, 404);
});

test("scopes hold, keys are told once, and a revoked one is out at once and after a restart", async () => {
  const reader = await keyWith({ scope: "read" });
  const refused = await reader.client.expect(403, "POST", "/api/sessions", { language: "python" });
  assert.equal(refused.code, "scope_missing");
  await reader.client.expect(200, "GET", "/api/sessions");
  await reader.client.expect(403, "GET", "/metrics");
  const { keys } = await operator.expect(200, "GET", "/api/keys");
  assert.ok(!JSON.stringify(keys).includes(reader.key.slice(-20)));
  await operator.expect(200, "DELETE", `/api/keys/${reader.id}`);
  await reader.client.expect(401, "GET", "/api/sessions");
  await operator.expect(404, "DELETE", `/api/keys/${reader.id}`);
  for (const wrong of [
    "",
    "x",
    `${reader.key}x`,
    reader.key.toUpperCase(),
    `era_k00000000_${"a".repeat(32)}`,
  ])
    await clientOf(wrong || "none").expect(401, "GET", "/api/sessions");
  const admin = await keyWith({ scope: "admin" });
  await admin.client.expect(200, "GET", "/api/keys");
});

test("limits of a key: sessions, live ones, runs a minute, the internet", async () => {
  const { client, id } = await keyWith({
    sessions: 2,
    live_sessions: 1,
    runs_per_minute: 5,
    internet: false,
  });
  const first = await client.create("first");
  await client.create("second");
  const third = await client.expect(429, "POST", "/api/sessions", {
    language: "python",
    session_id: "third",
  });
  assert.deepEqual([third.code, third.limit], ["key_limit", "sessions"]);
  await client.expect(429, "POST", "/api/sessions/auto-made/run", { code: "1" });
  await client.expect(429, "POST", `${first.path}/duplicate`, {});
  await first.run("1");
  const live = await client.expect(429, "POST", "/api/sessions/second/run", { code: "1" });
  assert.equal(live.limit, "live_sessions");
  const second = "/api/sessions/second";
  for (const [method, path, body] of [
    ["PUT", "/variables/x", { value: 1 }],
    ["DELETE", "/variables/x"],
    ["GET", "/variables/x"],
    ["GET", "/difference?from=1&to=2"],
    ["POST", "/undo"],
    ["POST", "/redo"],
    ["POST", "/rollback", { version: 1 }],
  ] as const)
    assert.equal((await client.expect(429, method, second + path, body)).limit, "live_sessions");
  await first.hibernate();
  await client.session("second").run("1");
  for (const asked of [{ allowInternetAccess: true }, { allow_internet_access: { allow: ["example.org"] } }])
    assert.equal((await client.expect(403, "PATCH", first.path, asked)).code, "key_forbids");
  await client.expect(403, "POST", "/api/execute", {
    language: "python",
    code: "1",
    allowInternetAccess: true,
  });
  for (const [method, path] of [
    ["GET", "/processes"],
    ["GET", "/processes/x"],
    ["DELETE", "/processes/x"],
  ] as const)
    assert.equal((await client.expect(429, method, first.path + path)).limit, "live_sessions", path);
  const setup = { language: "python", setup: { commands: ["true"] } };
  await client.expect(200, "DELETE", first.path);
  assert.equal((await client.expect(403, "POST", "/api/sessions", setup)).code, "key_forbids");
  await client.expect(200, "PUT", `${second}/code`, { code: "print('stored')" });
  const proxied = async () => (await fetch(`${server.url}/proxy/${id}.second/9000/`)).status;
  await client.expect(400, "POST", "/api/sessions/none/shell", { command: "" }); // counts for nothing
  let refused = 0;
  for (let at = 0; at < 3; at++) refused += Number((await proxied()) === 429);
  for (let at = 0; at < 3; at++)
    refused += Number((await client.call("POST", "/api/sessions/second/run", { code: "1" })).status === 429);
  assert.ok(refused >= 3 && refused <= 5, String(refused));
});

test("a stream's error names sessions as its reader does", async () => {
  const { client, id } = await keyWith({});
  const session = await client.create("streamed");
  const running = client.call("POST", `${session.path}/run`, { code: "import time; time.sleep(20)" });
  const response = await fetch(`${server.url}${session.path}/stream`, {
    method: "POST",
    headers: client.headers,
    body: JSON.stringify({ code: "1" }),
  });
  const told = response.text();
  await client.expect(200, "DELETE", session.path);
  const text = await told;
  assert.match(text, /event: error[\s\S]*'streamed'/);
  assert.ok(!text.includes(`${id}.`), text);
  assert.equal((await running).status, 410);
});

test("acts are in the log with who, what, target and result; looks are not", async () => {
  const { client, id } = await keyWith({});
  await client.create("logged");
  await client.session("logged").run("1");
  await client.expect(404, "DELETE", "/api/sessions/none");
  await client.session("logged").get();
  const { entries } = await client.expect(200, "GET", "/api/audit");
  assert.deepEqual(
    entries.map(({ operation, target, status }: Record<string, unknown>) => [operation, target, status]),
    [
      ["deleteSession", "none", 404],
      ["runCode", "logged", 200],
      ["createSession", "logged", 201],
    ],
  );
  const all = await operator.expect(200, "GET", "/api/audit?limit=5");
  assert.deepEqual([all.entries[0].key_id, all.entries[0].target], [id, `${id}.none`]);
  assert.ok(all.next_cursor !== null);
});

test("the operator sees all sessions, each by the server's name, and keys outlive a restart", async () => {
  let again = await TestServer.start({ ERA_API_KEY: OPERATOR, ERA_POOL: "python=1" });
  const boss = new Client(again.url, { authorization: `Bearer ${OPERATOR}` });
  const { id, key } = await boss.expect(201, "POST", "/api/keys", { name: "kept" });
  const holder = new Client(again.url, { authorization: `Bearer ${key}` });
  await (await holder.create("work")).run("kept = 7");
  await boss.create("own");
  const names = (await boss.expect(200, "GET", "/api/sessions")).sessions.map(
    (row: { id: string }) => row.id,
  );
  assert.deepEqual(names, ["own", `${id}.work`]);
  await again.stop();
  again = await TestServer.start({ ERA_API_KEY: OPERATOR, ERA_POOL: "python=1" }, again.dataDir);
  const after = new Client(again.url, { authorization: `Bearer ${key}` });
  await after.session("work").prints("7\n", "print(kept)");
  const bossAfter = new Client(again.url, { authorization: `Bearer ${OPERATOR}` });
  await bossAfter.session(`${id}.work`).prints("7\n", "print(kept)");
  await until("the log is there", async () => (await bossAfter.expect(200, "GET", "/api/audit")).count > 3);
  await again.stop();
  await again.removeData();
});
