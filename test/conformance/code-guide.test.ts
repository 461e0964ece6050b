/** The examples of stored code and of callbacks: C and W. */
import assert from "node:assert/strict";
import type { Client, SessionClient } from "../support/client.ts";
import { conformance } from "./rounds.ts";

const store = (session: SessionClient, code: string, description?: string) =>
  session.client.expect(200, "PUT", `${session.path}/code`, { code, description });

async function ask(client: Client, id: string, path: string, init: RequestInit = {}) {
  const response = await fetch(`${client.url}/proxy/${id}/8000${path}`, init);
  const text = await response.text();
  return {
    status: response.status,
    type: response.headers.get("content-type"),
    headers: response.headers,
    text,
  };
}

conformance("stored code", {
  "C1, C2, C3: store, run, ask, store anew": async (client, name) => {
    const session = await client.create(name("my-api"), { allowPublicAccess: true });
    const code = `print("Hello from ERA!")`;
    const stored = await store(session, code, "My first API");
    assert.deepEqual([stored.success, stored.code_length], [true, code.length]);
    assert.equal((await client.expect(200, "POST", `${session.path}/run`, {})).stdout, "Hello from ERA!\n");
    const { type, text } = await ask(client, session.id, "/test");
    assert.match(String(type), /text\/plain/);
    assert.equal(text, "Hello from ERA!\n");
    await store(session, `print("Updated version 2!")`);
    assert.equal((await client.expect(200, "POST", `${session.path}/run`)).stdout, "Updated version 2!\n");
    assert.equal((await client.expect(200, "GET", `${session.path}/code`)).description, "My first API");
  },
  "C4: a webhook in three versions": async (client, name) => {
    const session = await client.create(name("stripe-webhook"));
    await store(session, `import json\nprint(json.dumps({"status": "received", "version": 1}))`);
    const first = await ask(client, session.id, "/webhook", { method: "POST", body: "{}" });
    assert.deepEqual([first.status, JSON.parse(first.text)], [200, { status: "received", version: 1 }]);
    await store(
      session,
      `import json, os\nif os.environ["ERA_HTTP_METHOD"] != "POST":\n    print(json.dumps({"error": "Method not allowed"}))\nelse:\n    print(json.dumps({"status": "received", "version": 2}))`,
    );
    assert.deepEqual(JSON.parse((await ask(client, session.id, "/webhook")).text), {
      error: "Method not allowed",
    });
    await store(
      session,
      `import json, os\nevent = json.loads(os.environ["ERA_HTTP_BODY"])\nprint(json.dumps({"status": "processed", "event": event["type"], "version": 3}))`,
    );
    const third = await ask(client, session.id, "/webhook", { method: "POST", body: `{"type": "payment"}` });
    assert.deepEqual(JSON.parse(third.text), { status: "processed", event: "payment", version: 3 });
  },
  "C5, C10: what is stored is read again": async (client, name) => {
    const session = await client.create(name("c5"));
    const code = `print("Hello, ERA! é")`;
    await store(session, code, "d");
    const read = await client.expect(200, "GET", `${session.path}/code`);
    assert.deepEqual([read.code, read.description, read.code_length], [code, "d", code.length]);
    assert.ok(read.updated_at);
  },
  "C6, W2: routes in python": async (client, name) => {
    const session = await client.create(name("c6"));
    await store(
      session,
      `import json, os\nroute = os.environ["ERA_HTTP_METHOD"] + " " + os.environ["ERA_HTTP_PATH"]\nif route == "GET /users":\n    print(json.dumps({"users": ["Alice", "Bob"]}))\nelif route == "POST /webhook":\n    print(json.dumps({"status": "received", "body": json.loads(os.environ["ERA_HTTP_BODY"])}))\nelif route == "GET /status":\n    print(json.dumps({"status": "online"}))\nelse:\n    print(json.dumps({"error": "Not found", "available": ["/users", "/status"]}))`,
    );
    const json = async (path: string, init?: RequestInit) =>
      JSON.parse((await ask(client, session.id, path, init)).text);
    assert.deepEqual(await json("/users"), { users: ["Alice", "Bob"] });
    assert.deepEqual(await json("/status"), { status: "online" });
    assert.deepEqual(await json("/webhook", { method: "POST", body: `{"n": 1}` }), {
      status: "received",
      body: { n: 1 },
    });
    assert.equal((await json("/nothing")).error, "Not found");
  },
  "C7, W3, W6: handlers in node and typescript": async (client, name) => {
    const node = await client.create(name("c7-node"), { language: "node" });
    await store(
      node,
      `const body = JSON.parse(process.env.ERA_HTTP_BODY || "{}");\nif (process.env.ERA_HTTP_PATH === "/api/echo") console.log(JSON.stringify({ received: body }));\nelse console.log(JSON.stringify({ message: "Hello", method: process.env.ERA_HTTP_METHOD }));`,
    );
    const echo = await ask(client, node.id, "/api/echo", { method: "POST", body: `{"x":1}` });
    assert.deepEqual(JSON.parse(echo.text), { received: { x: 1 } });
    assert.deepEqual(JSON.parse((await ask(client, node.id, "/api/data")).text), {
      message: "Hello",
      method: "GET",
    });
    const typed = await client.create(name("w6-ts"), { language: "typescript" });
    await store(
      typed,
      `const query: string = process.env.ERA_HTTP_QUERY ?? "";\nfunction fibonacci(n: number): number { return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2) }\nif (query.includes("demo=fibonacci")) console.log(JSON.stringify({ result: fibonacci(10) }));`,
    );
    assert.deepEqual(JSON.parse((await ask(client, typed.id, "/?demo=fibonacci")).text), { result: 55 });
    assert.equal((await ask(client, typed.id, "/")).text, "");
  },
  "C8, C9: given code, and none": async (client, name) => {
    const session = await client.create(name("c8"));
    await client.expect(400, "POST", `${session.path}/run`, {});
    await store(session, `print("stored")`);
    await session.prints("given\n", `print("given")`);
    assert.equal((await client.expect(200, "GET", `${session.path}/code`)).code, `print("stored")`);
    await client.expect(404, "POST", "/api/sessions/never-made/run", {});
  },
  "W1, W4: a handler that keeps state": async (client, name) => {
    const session = await client.create(name("webhook-handler"), { data: { prs: [] } });
    await store(
      session,
      `import json, os\nbody = json.loads(os.environ.get("ERA_HTTP_BODY") or "{}")\ndata = json.load(open(".session_data.json"))\nif body.get("action") == "opened":\n    data["prs"].append(body["number"])\n    json.dump(data, open(".session_data.json", "w"))\nprint(json.dumps({"message": "ok", "method": os.environ["ERA_HTTP_METHOD"], "prs": data["prs"]}))`,
    );
    const host = await client.expect(200, "GET", `${session.path}/host?port=8000`);
    assert.equal(host.url, `${client.url}/proxy/${session.id}/8000`);
    const answer = await ask(client, session.id, "/", {
      method: "POST",
      body: `{"action":"opened","number":7}`,
    });
    assert.deepEqual(JSON.parse(answer.text), { message: "ok", method: "POST", prs: [7] });
    assert.deepEqual((await session.get()).data, { prs: [7] });
  },
  "W5, W7: status, headers, content type": async (client, name) => {
    const session = await client.create(name("w7"));
    await store(
      session,
      `import json\nprint(json.dumps({"status": 201, "contentType": "application/json", "headers": {"X-Custom": "v", "Access-Control-Allow-Origin": "*"}, "data": {"a": 1}}))`,
    );
    const answer = await ask(client, session.id, "/");
    assert.deepEqual(
      [
        answer.status,
        answer.type,
        answer.headers.get("x-custom"),
        answer.headers.get("access-control-allow-origin"),
      ],
      [201, "application/json; charset=utf-8", "v", "*"],
    );
    assert.deepEqual(JSON.parse(answer.text).data, { a: 1 });
  },
  "W8, W9: not public, bad ports": async (client, name) => {
    const session = await client.create(name("w8"), { allowPublicAccess: false });
    await store(session, "print(1)");
    assert.equal((await ask(client, session.id, "/")).status, 403);
    await client.expect(400, "GET", `${session.path}/host`);
    await client.expect(400, "GET", `${session.path}/host?port=70000`);
  },
});
