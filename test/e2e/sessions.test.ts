/** Sessions over HTTP: what the contract promises, and what the design adds to it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { oneServer } from "../support/one-server.ts";
import { until } from "../support/server.ts";

const it = oneServer({ ERA_QUEUE: "4" });
let next = 0;
const newId = () => `sessions-${next++}`;

test("what a session uses, and what its runs have taken together; a copy says of what it is one", async () => {
  const session = await it.client.create("used");
  await session.run("x = sum(range(3_000_000))");
  await session.run("1 / 0");
  const path = `${session.path}/usage`;
  const { now, total } = await it.client.expect(200, "GET", path);
  assert.equal(total.runs, 2);
  assert.ok(total.cpu_time_ms > 20 && total.execution_time_ms > 20, JSON.stringify(total));
  assert.ok(total.memory_peak_bytes > 1e6 && now.memory_bytes > 1e6);
  assert.deepEqual([total.connections, total.bytes_sent], [0, 0]);
  await session.hibernate();
  const asleep = await it.client.expect(200, "GET", path);
  assert.deepEqual([asleep.now.memory_bytes, asleep.total.runs], [null, 2], "sleep changes no sum");
  await session.run("x");
  const copy = await it.client.expect(201, "POST", `${session.path}/duplicate`, {
    new_id: "used-copy",
    version: 1,
  });
  assert.deepEqual(copy.branched_from, { session_id: "used", version: 1 });
  const { branched_from } = await it.client.session("used-copy").get();
  assert.deepEqual(branched_from, { session_id: "used", version: 1 });
  assert.equal((await session.get()).branched_from, undefined);
  assert.equal((await it.client.expect(200, "GET", "/api/sessions/used-copy/usage")).total.runs, 0);
  await it.client.session("used-copy").run("1");
  assert.equal((await it.client.expect(200, "GET", "/api/sessions/used-copy/usage")).total.runs, 1);
});

test("a run on an unknown id creates the session, and says so once", async () => {
  const session = it.client.session(newId());
  const first = await session.run("x = 1");
  assert.equal(first.created, true);
  const second = await session.prints("1\n", "print(x)");
  assert.ok(!("created" in second));
});

test("a session made by a run is claimed once by an explicit create, and keeps its variables", async () => {
  const session = it.client.session(newId());
  await session.run("x = 1");
  const claim = { session_id: session.id, language: "python", data: { a: 1 }, metadata: { b: 2 } };
  const claimed = await it.client.expect(201, "POST", "/api/sessions", claim);
  assert.deepEqual([claimed.data, claimed.metadata], [{ a: 1 }, { b: 2 }]);
  await session.prints("1 {'a': 1}\n", `import json; print(x, json.load(open(".session_data.json")))`);
  const refused = await it.client.expect(409, "POST", "/api/sessions", claim);
  assert.deepEqual([refused.code, refused.id], ["session_exists", session.id]);
});

test("limits of a claim hold at once, for the sandbox that runs", async () => {
  const session = it.client.session(newId());
  await session.run("x = 1");
  const claim = { session_id: session.id, language: "python", memory_mib: 100 };
  await it.client.expect(201, "POST", "/api/sessions", claim);
  const answer = await session.run("print(x)\ny = bytearray(200 << 20)");
  assert.deepEqual([answer.stdout, answer.outcome], ["1\n", "out_of_memory"]);
});

test("a session that was created is not created again", async () => {
  const session = await it.client.create(newId());
  assert.equal(
    (await it.client.expect(409, "POST", "/api/sessions", { id: session.id, language: "py" })).code,
    "session_exists",
  );
});

test("the data file is always there; what is not a JSON object leaves the data as it was", async () => {
  const session = await it.client.create(newId(), { data: { kept: 1 } });
  const spoil = [
    `open(".session_data.json", "w").write("{not json")`,
    `open(".session_data.json", "w").write("[1, 2]")`,
    `open(".session_data.json", "wb").write(b"\\xff\\xfe")`,
    `open(".session_data.json", "w").write("[" * 100000)`,
    `open(".session_data.json", "w").write('{"a": ' * 1000 + "1" + "}" * 1000)`,
    `open(".session_data.json", "w").truncate(1 << 30)`,
    `import os; os.remove(".session_data.json")`,
    `import os; os.remove(".session_data.json"); os.mkdir(".session_data.json"); open(".session_data.json/x", "w")`,
    `import os; os.remove(".session_data.json"); os.mkfifo(".session_data.json")`,
    `import os; os.remove(".session_data.json"); os.symlink("/etc/passwd", ".session_data.json")`,
  ];
  for (const code of spoil) {
    assert.deepEqual((await session.run(code)).data, { kept: 1 }, code);
    await session.prints("{'kept': 1}\n", `import json; print(json.load(open(".session_data.json")))`);
  }
  const replaced = await session.run(`json.dump({"new": 2}, open(".session_data.json", "w"))`);
  assert.deepEqual(replaced.data, { new: 2 });
});

test("a change of equal size within one clock tick is seen", async () => {
  const session = await it.client.create(newId(), { data: { n: 0 } });
  for (let n = 1; n <= 9; n++) {
    const code = `import json; d = json.load(open(".session_data.json")); d["n"] += 1; json.dump(d, open(".session_data.json", "w"), indent=2)`;
    assert.deepEqual((await session.run(code)).data, { n });
  }
});

test("a session that keeps no files keeps its data and variables", async () => {
  const session = await it.client.create(newId(), { persistent: false, data: { a: 1 } });
  await session.prints("", `open("f", "w").write("1"); import os; os.makedirs("d/e"); x = 1`);
  await session.prints("['.session_data.json'] 1\n", "print(os.listdir('.'), x)");
  const seen = await session.get();
  assert.deepEqual([seen.file_count, seen.data], [0, { a: 1 }]);
});

test("lists are newest first and cut into pages", async () => {
  const ids: string[] = [];
  for (let at = 0; at < 5; at++) ids.unshift((await it.client.create(newId())).id);
  const pages: string[] = [];
  let cursor: string | null = null;
  do {
    const query: string = cursor === null ? "" : `&cursor=${cursor}`;
    const page = await it.client.expect(200, "GET", `/api/sessions?limit=2${query}`);
    assert.ok(page.count <= 2);
    pages.push(...page.sessions.map(({ id }: { id: string }) => id));
    cursor = page.next_cursor;
  } while (cursor !== null && pages.length < 6);
  assert.deepEqual(pages.slice(0, 5), ids);
  assert.equal((await it.client.expect(400, "GET", "/api/sessions?limit=0")).code, "invalid_request");
});

test("PATCH takes only what may be changed, and checks it", async () => {
  const session = await it.client.create(newId());
  for (const fixed of [{ language: "go" }, { id: "other" }, { file_count: 9 }])
    await it.client.expect(400, "PATCH", session.path, { ...fixed, metadata: { b: 2 } });
  await session.patch({ metadata: { a: 1 } });
  const { language, id, file_count, metadata } = await session.get();
  assert.deepEqual([language, id, file_count, metadata], ["python", session.id, 0, { a: 1 }]);
  const refused = await it.client.expect(400, "PATCH", session.path, { default_timeout: -1 });
  assert.ok(refused.error.includes("default_timeout") && refused.message === refused.error);
  assert.equal((await it.client.expect(404, "PATCH", "/api/sessions/unknown", {})).code, "session_not_found");
});

test("each run is a record that can be read again", async () => {
  const session = await it.client.create(newId());
  const answer = await session.run("print('out')\n1 / 0");
  const record = await it.client.expect(200, "GET", `/api/runs/${answer.run_id}`);
  assert.deepEqual([record.stdout, record.exit_code, record.status, record.number], ["out\n", 1, "done", 1]);
  assert.match(record.stderr, /ZeroDivisionError/);
  await session.run("2");
  const { runs } = await it.client.expect(200, "GET", `${session.path}/runs`);
  assert.deepEqual(
    runs.map(({ number }: { number: number }) => number),
    [2, 1],
  );
  assert.equal((await it.client.expect(404, "GET", "/api/runs/run_unknown")).code, "run_not_found");
});

test("a retry with the same key gets the recorded answer, and nothing runs twice", async () => {
  const session = await it.client.create(newId());
  await session.run("n = 0");
  const body = { code: "n += 1\nprint(n)" };
  const call = () => it.client.call("POST", `${session.path}/run`, body, { "idempotency-key": "k1" });
  const together = await Promise.all([call(), call(), call()]);
  const later = await call();
  for (const answer of [...together, later])
    assert.deepEqual([answer.status, answer.body.stdout], [200, "1\n"]);
  assert.equal(later.headers.get("idempotency-replayed"), "true");
  await session.prints("1\n", "print(n)");
  const other = await it.client.call(
    "POST",
    `${session.path}/run`,
    { code: "n = 5" },
    { "idempotency-key": "k1" },
  );
  assert.deepEqual([other.status, other.body.code], [409, "idempotency_mismatch"]);
  const create = () =>
    it.client.call("POST", "/api/sessions", { language: "python" }, { "idempotency-key": "c1" });
  const [first, second] = await Promise.all([create(), create()]);
  assert.deepEqual([first.status, first.body.id], [201, second.body.id]);
});

test("a body that is nested thousands deep is a fault of its sender, with a key too", async () => {
  const deep = `${'{"a":'.repeat(5_000)}1${"}".repeat(5_000)}`;
  const send = (body: string) =>
    fetch(`${it.server.url}/api/sessions`, { method: "POST", body, headers: { "idempotency-key": "deep" } });
  const refused = await send(`{"language":"python","data":${deep}}`);
  assert.deepEqual(
    [refused.status, ((await refused.json()) as { code: string }).code],
    [400, "invalid_request"],
  );
  for (let time = 0; time < 2; time++)
    assert.equal((await send(`{"language":"python","unknown":${deep}}`)).status, 400);
});

test("data keeps every name, also one that JavaScript gives a meaning", async () => {
  const data = '{"__proto__":{"a":1},"constructor":2,"toString":3}';
  const answer = await fetch(`${it.server.url}/api/sessions`, {
    method: "POST",
    body: `{"language":"python","id":"names","data":${data},"metadata":${data}}`,
  });
  assert.equal(answer.status, 201);
  const session = it.client.session("names");
  const update =
    '{"code":"import json; print(json.dumps(json.load(open(\'.session_data.json\')), separators=(\',\',\':\')))","update_data":{"__proto__":7}}';
  const run = await fetch(`${it.server.url}${session.path}/run`, { method: "POST", body: update });
  assert.equal(
    ((await run.json()) as { stdout: string }).stdout,
    '{"__proto__":{"a":1},"constructor":2,"toString":3}\n',
  );
  const text = await (await fetch(`${it.server.url}${session.path}`)).text();
  assert.ok(text.includes('"__proto__":7') && text.includes('"__proto__":{"a":1}'), text);
});

test("runs of one session take turns in order, and a full queue is refused at once", async () => {
  const session = await it.client.create(newId());
  await session.run("import time\norder = []");
  const inOrder = ["time.sleep(1.5)\norder.append(0)", ...[1, 2, 3].map((n) => `order.append(${n})`)];
  const answers: Promise<unknown>[] = [];
  for (const [at, code] of inOrder.entries()) {
    answers.push(session.run(code));
    // Requests on connections of their own may overtake each other: the next is sent when this one is in the queue.
    await until("it is in the queue", async () => {
      const { runs } = await it.client.expect(200, "GET", `${session.path}/runs`);
      return runs.length === at + 2;
    });
  }
  const refused = await it.client.call("POST", `${session.path}/run`, { code: "order.append(9)" });
  assert.deepEqual(
    [refused.status, refused.body.code, refused.headers.get("retry-after")],
    [429, "queue_full", "1"],
  );
  await Promise.all(answers);
  const { stdout } = await session.run("print(order)");
  assert.equal(stdout, "[0, 1, 2, 3]\n");
});

test("runs of different sessions do not wait for each other", async () => {
  const slow = await it.client.create(newId());
  const quick = await it.client.create(newId());
  let slowEnded = false;
  const waiting = slow.run("import time; time.sleep(3)").then(() => {
    slowEnded = true;
  });
  await quick.prints("1\n", "print(1)");
  assert.equal(slowEnded, false);
  await waiting;
});

test("a deletion ends the run in progress, and refuses those that wait", async () => {
  const session = await it.client.create(newId());
  await session.run("import time");
  const running = it.client.call("POST", `${session.path}/run`, { code: "time.sleep(30)" });
  const waiting = it.client.call("POST", `${session.path}/run`, { code: "1" });
  await until("the run is in progress", async () => (await session.get()).status === "running");
  await session.delete();
  for (const answer of [await running, await waiting]) {
    assert.deepEqual([answer.status, answer.body.code], [410, "session_deleted"]);
  }
  assert.equal((await it.client.call("GET", session.path)).status, 404);
  const again = await it.client.create(session.id);
  await again.prints("1\n", "print(1)");
});

test("an interrupt ends the run in progress and keeps the variables", async () => {
  const session = await it.client.create(newId());
  await session.run("import time\nx = 1");
  const running = session.run("x = 2\nopen('begun', 'w').close()\ntime.sleep(30)");
  await until("the program has begun", async () => (await session.get()).file_count === 1);
  assert.match((await it.client.expect(200, "POST", `${session.path}/interrupt`)).interrupted, /^run_/);
  assert.deepEqual([(await running).exit_code, (await running).outcome], [130, "interrupted"]);
  await session.prints("2\n", "print(x)");
  assert.equal((await it.client.expect(200, "POST", `${session.path}/interrupt`)).interrupted, null);
});

const BAD_BODIES: [title: string, path: string, body: string, status: number, code: string][] = [
  ["is not JSON", "/api/execute", `{"code": "1",\n  # comment\n}`, 400, "invalid_json"],
  ["is an array", "/api/execute", "[]", 400, "invalid_request"],
  ["has no code", "/api/execute", `{"language": "python"}`, 400, "invalid_request"],
  ["has no language", "/api/execute", `{"code": "1"}`, 400, "invalid_request"],
  ["has an unknown language", "/api/execute", `{"code": "1", "language": "cobol"}`, 400, "unknown_language"],
  ["has a number for code", "/api/execute", `{"code": 1, "language": "python"}`, 400, "invalid_request"],
  [
    "has a negative limit",
    "/api/execute",
    `{"code": "1", "language": "python", "timeout": -1}`,
    400,
    "invalid_request",
  ],
  [
    "has a limit in words",
    "/api/sessions/bad/run",
    `{"code": "1", "timeout": "long"}`,
    400,
    "invalid_request",
  ],
  ["has a number in env", "/api/sessions/bad/run", `{"code": "1", "env": {"A": 1}}`, 400, "invalid_request"],
  [
    "has a bad name in env",
    "/api/sessions/bad/run",
    `{"code": "1", "env": {"A=B": "1"}}`,
    400,
    "invalid_request",
  ],
  ["has an array as data", "/api/sessions", `{"language": "python", "data": []}`, 400, "invalid_request"],
  ["has a bad id", "/api/sessions", `{"language": "python", "session_id": "a/b"}`, 400, "invalid_session_id"],
  ["has an empty id", "/api/sessions", `{"language": "python", "session_id": ""}`, 400, "invalid_session_id"],
  [
    "asks for too much memory",
    "/api/sessions",
    `{"language": "python", "memory_mib": 99999999}`,
    400,
    "invalid_request",
  ],
  [
    "asks for packages in another form",
    "/api/sessions",
    `{"language": "python", "setup": {"pip": "x"}}`,
    400,
    "invalid_request",
  ],
  [
    "puts a file outside",
    "/api/execute",
    `{"code": "1", "language": "python", "files": {"../x": ""}}`,
    400,
    "invalid_request",
  ],
  [
    "has a lone surrogate in env",
    "/api/sessions/bad/run",
    `{"code": "1", "env": {"A": "\\ud800"}}`,
    400,
    "invalid_request",
  ],
  [
    "has too many names in env",
    "/api/sessions/bad/run",
    JSON.stringify({
      code: "1",
      env: Object.fromEntries(Array.from({ length: 2000 }, (_, at) => [`A${at}`, 1])),
    }),
    400,
    "invalid_request",
  ],
  [
    "has a file that is also a folder",
    "/api/execute",
    `{"code": "1", "language": "python", "files": {"a": "", "a/b": ""}}`,
    400,
    "invalid_request",
  ],
  [
    "has metadata nested too deep",
    "/api/sessions",
    `{"language": "python", "metadata": {"a": ${"[".repeat(1200)}${"]".repeat(1200)}}}`,
    400,
    "invalid_request",
  ],
  [
    "has data nested without end",
    "/api/sessions",
    `{"language": "python", "data": {"a": ${"[".repeat(50_000)}${"]".repeat(50_000)}}}`,
    400,
    "invalid_request",
  ],
  ["is open brackets without end", "/api/execute", "[".repeat(3_000_000), 400, "invalid_json"],
  ["runs nothing in no session", "/api/sessions/unknown/run", "{}", 404, "session_not_found"],
];

for (const [title, path, body, status, code] of BAD_BODIES) {
  test(`a body that ${title} is refused with ${status} ${code} and one sentence`, async () => {
    const answer = await it.client.call("POST", path, body);
    assert.deepEqual([answer.status, answer.body.code], [status, code]);
    assert.match(answer.body.error, /^[A-Z].*[^.]$/);
  });
}

test("a body that is not JSON is told the line, the column and the character", async () => {
  const { body } = await it.client.call("POST", "/api/execute", `{"code": "1",\n  # comment\n}`);
  assert.match(body.error, /line 2, column 3, at "#"/);
});

test("an over-long body, a wrong method, an unknown route, a bad id in a path", async () => {
  const long = await it.client.call("POST", "/api/execute", {
    code: "#".repeat(11 << 20),
    language: "python",
  });
  assert.deepEqual([long.status, long.body.code], [413, "body_too_large"]);
  const method = await it.client.call("PUT", "/api/execute", {});
  assert.deepEqual(
    [method.status, method.body.code, method.headers.get("allow")],
    [405, "method_not_allowed", "POST"],
  );
  assert.equal((await it.client.call("GET", "/api/nowhere")).body.code, "route_not_found");
  assert.equal(
    (await it.client.call("POST", "/api/sessions/a%2Fb/run", { code: "1" })).body.code,
    "invalid_session_id",
  );
  assert.equal((await it.client.call("GET", "/api/sessions/a%20b")).body.code, "invalid_session_id");
});

test("neither code nor stored code is refused with a hint", async () => {
  const session = await it.client.create(newId());
  const { code, hint } = await it.client.expect(400, "POST", `${session.path}/run`, "");
  assert.deepEqual([code, typeof hint], ["no_code", "string"]);
});

test("a page of another origin is refused, and a local one is not", async () => {
  const from = (origin: string) => it.client.call("GET", "/api/sessions", undefined, { origin });
  assert.deepEqual(
    [(await from("https://evil.example")).status, (await from("http://localhost:5173")).status],
    [403, 200],
  );
});

test("one-shot runs take files and variables, and a body of many megabytes", async () => {
  const answer = await it.client.execute(
    `import os\nprint(open("in/a.txt").read(), os.environ["A"], "ERA_SESSION" in os.environ)`,
    {
      files: { "in/a.txt": "héllo" },
      envs: { A: "b" },
    },
  );
  assert.deepEqual([answer.stdout, answer.language], ["héllo b False\n", "python"]);
  for (const field of ["session_id", "vm_id", "duration", "execution_time_ms"])
    assert.ok(field in answer, field);
  const long = await it.client.execute(`x = "${"y".repeat(5 << 20)}"\nprint(len(x))`, { language: "PY" });
  assert.equal(long.stdout, `${5 << 20}\n`);
});

test("a stream sends what is printed while it runs, and can be read again from any event", async () => {
  const session = await it.client.create(newId());
  const response = await fetch(`${it.client.url}${session.path}/stream`, {
    method: "POST",
    body: JSON.stringify({
      code: `import time\nfor i in range(3):\n    print("line", i)\n    time.sleep(0.15)\nprint("tok", end="")`,
    }),
  });
  assert.match(response.headers.get("content-type") ?? "", /^text\/event-stream/);
  let text = "";
  let chunks = 0;
  for await (const chunk of response.body ?? []) {
    text += Buffer.from(chunk).toString();
    chunks += 1;
  }
  const events = text
    .trim()
    .split("\n\n")
    .map((block) => JSON.parse(block.split("data: ")[1] ?? ""));
  assert.deepEqual(
    events.map(({ type, content }) => [type, content]),
    [
      ["stdout", "line 0\n"],
      ["stdout", "line 1\n"],
      ["stdout", "line 2\n"],
      ["stdout", "tok"],
      ["done", ""],
    ],
  );
  assert.ok(chunks >= 4);
  assert.equal(events.at(-1).exit_code, 0);
  const again = await fetch(`${it.client.url}/api/runs/${events[0].run_id}/stream`, {
    headers: { "last-event-id": String("line 0\n".length * 3) },
  });
  assert.match(await again.text(), /^id: 24\nevent: stdout\ndata: .*"tok".*\n\nevent: done\n/);
});

test("deleting all leaves no session and no folder", async () => {
  await it.client.create(newId());
  const { deleted_count, deleted_sessions, success } = await it.client.expect(200, "DELETE", "/api/sessions");
  assert.ok(success && deleted_count === deleted_sessions.length && deleted_count > 0);
  assert.equal((await it.client.expect(200, "GET", "/api/sessions")).count, 0);
  await until("only warm sandboxes have folders", () => it.server.folders().length <= 2);
});

test("an explicit create that claims a session keeps what it does not give", async () => {
  const session = it.client.session("claimed");
  await session.run(`import json; json.dump({"kept": 1}, open(".session_data.json", "w"))`);
  const claimed = await it.client.expect(201, "POST", "/api/sessions", {
    session_id: "claimed",
    language: "python",
    default_timeout: 7,
  });
  assert.deepEqual([claimed.data, claimed.default_timeout], [{ kept: 1 }, 7]);
  await session.prints("{'kept': 1}\n", `import json; print(json.load(open(".session_data.json")))`);
});

test("another method on a path of a file or folder is refused with those that there are", async () => {
  const path = "/api/sessions/x/files";
  const cases: [string, string, string][] = [
    ["PATCH", `${path}/a/b.txt`, "GET, DELETE, PUT"],
    ["PATCH", path, "GET"],
    ["GET", "/api/sessions/x/folders/a", "POST"],
  ];
  for (const [method, at, allowed] of cases) {
    const answer = await it.client.call(method, at);
    assert.deepEqual([answer.status, answer.headers.get("allow")], [405, allowed], `${method} ${at}`);
  }
});

test("a typing error is refused with the field that was meant, and an empty id deletes nothing", async () => {
  const session = await it.client.create("strict", { allow_internet_access: false });
  const refused = await it.client.call("POST", `${session.path}/run`, { code: "1", time_out: 3 });
  assert.deepEqual([refused.status, refused.body.code], [400, "invalid_request"]);
  assert.deepEqual(
    [refused.body.error, refused.body.hint],
    ["Cannot use 'time_out': there is no such field", "Did you mean 'timeout'?"],
  );
  const other = await it.client.call("POST", `${session.path}/run`, { code: "1", language: "node" });
  assert.deepEqual(
    [other.status, other.body.error],
    [400, "Cannot run node in 'strict': it is a session of python"],
  );
  await it.client.expect(200, "POST", `${session.path}/run`, { code: "1", language: "py" });
  for (const path of ["/api/sessions/", "/api/sessions/?all=1"]) {
    const { status, body } = await it.client.call("DELETE", path);
    assert.deepEqual([status, body.code], [400, "invalid_session_id"], path);
  }
  await session.prints("", "still = 'there'");
});
