/** Public addresses: programs that listen inside, reached from outside; stored code that answers; and who may not. */
import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import net from "node:net";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { oneServer } from "../support/one-server.ts";
import { until } from "../support/server.ts";

const it = oneServer({ ERA_POOL: "python=1" });
const address = (id: string, port: number, path = "/") => `${it.server.url}/proxy/${id}/${port}${path}`;

const PYTHON_SERVER = `import http.server, threading, json
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self, body=b""):
        text = json.dumps({"method": self.command, "path": self.path, "body": body.decode(), "headers": dict(self.headers)}).encode()
        self.send_response(201 if self.command == "POST" else 200)
        self.send_header("content-length", str(len(text))); self.send_header("x-own", "yes"); self.send_header("content-security-policy", "none")
        self.end_headers(); self.wfile.write(text)
    def do_GET(self): self.answer()
    def do_POST(self): self.answer(self.rfile.read(int(self.headers["content-length"])))
    def log_message(self, *args): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 8000), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()`;

test("a program that a run has started goes on serving, and is reached with method, path, query, headers and body", async () => {
  const session = await it.client.create("server");
  await session.prints("", PYTHON_SERVER);
  const got = await fetch(address("server", 8000, "/a/b%20c?x=1&y=2"), { headers: { "x-mine": "m" } });
  const { method, path, headers } = (await got.json()) as Record<string, Record<string, string>>;
  assert.deepEqual([got.status, method, path, headers?.["x-mine"]], [200, "GET", "/a/b%20c?x=1&y=2", "m"]);
  assert.equal(got.headers.get("x-own"), "yes");
  assert.match(String(got.headers.get("content-security-policy")), /^sandbox/);
  const posted = await fetch(address("server", 8000, "/p"), { method: "POST", body: "hello" });
  assert.deepEqual([posted.status, ((await posted.json()) as { body: string }).body], [201, "hello"]);
  await session.prints("1\n", "print(1)");
  const many = await Promise.all(
    Array.from({ length: 40 }, () => fetch(address("server", 8000)).then((r) => r.status)),
  );
  assert.deepEqual(new Set(many), new Set([200]));
});

test("bodies of megabytes pass in both directions, and a slow reader holds up nobody", async () => {
  const session = await it.client.create("big");
  await session.prints(
    "",
    `${PYTHON_SERVER.replaceAll("8000", "8001")}\nHandler.do_POST = lambda self: (lambda data: (self.send_response(200), self.send_header("content-length", str(len(data))), self.end_headers(), self.wfile.write(data)))(self.rfile.read(int(self.headers["content-length"])))`,
  );
  const body = Buffer.alloc(8 << 20, "0123456789abcdef");
  const slow = net.connect(Number(new URL(it.server.url).port), "127.0.0.1");
  slow.write(`POST /proxy/big/8001/ HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${body.length}\r\n\r\n`);
  slow.write(body);
  slow.pause();
  const answer = await fetch(address("big", 8001), { method: "POST", body });
  assert.ok(Buffer.from(await answer.arrayBuffer()).equals(body));
  slow.destroy();
});

test("what a program sends before it hangs up arrives whole, also at a reader who takes its time", async () => {
  const session = await it.client.create("hangs-up");
  await session.prints(
    "",
    `import socket, threading
s = socket.create_server(("127.0.0.1", 7100))
def loop():
    while True:
        c, _ = s.accept(); c.recv(65536); c.sendall(b"HTTP/1.1 200 OK\\r\\n\\r\\n" + b"x" * 3_000_000); c.close()
threading.Thread(target=loop, daemon=True).start()`,
  );
  const response = await fetch(address("hangs-up", 7100));
  await sleep(300);
  assert.equal((await response.arrayBuffer()).byteLength, 3_000_000);
});

test("a WebSocket passes through, in both directions", async () => {
  const session = await it.client.create("ws", { language: "node" });
  await session.prints(
    "",
    `const server = require("node:http").createServer().on("upgrade", (request, socket) => {
  socket.write("HTTP/1.1 101 Switching Protocols\\r\\nupgrade: " + request.headers.upgrade + "\\r\\nconnection: upgrade\\r\\n\\r\\n" + request.url + " ");
  socket.on("data", (data) => socket.write("echo " + data)).on("error", () => {});
}).listen(3000); await new Promise((resolve) => server.on("listening", resolve));`,
  );
  const request = http.get(address("ws", 3000, "/chat?room=1"), {
    headers: { connection: "Upgrade", upgrade: "echo" },
  });
  const [, socket, head] = (await once(request, "upgrade")) as [http.IncomingMessage, net.Socket, Buffer];
  let said = head.toString();
  socket.on("data", (chunk: Buffer) => {
    said += chunk.toString();
  });
  const strange = http.get(`${it.server.url}/proxy/%zz/3000/`, {
    headers: { connection: "Upgrade", upgrade: "echo" },
  });
  const [refused] = (await once(strange, "response")) as [http.IncomingMessage];
  assert.equal(refused.statusCode, 400);
  socket.write("one");
  await until("it was echoed", () => said === "/chat?room=1 echo one");
  await session.patch({ allowPublicAccess: false });
  await until("it is closed with the session", () => socket.destroyed);
});

test("what is sent in pieces arrives in pieces", async () => {
  const session = await it.client.create("pieces", { language: "node" });
  await session.prints(
    "",
    `require("node:http").createServer((q, r) => { r.write("first\\n"); globalThis.finish = () => r.end("last\\n"); }).listen(3001); await new Promise(r => setTimeout(r, 50))`,
  );
  const response = await fetch(address("pieces", 3001));
  const reader = response.body?.getReader();
  const first = await reader?.read();
  assert.equal(Buffer.from(first?.value ?? []).toString(), "first\n");
  await session.run("finish()");
  const last = await reader?.read();
  assert.equal(Buffer.from(last?.value ?? []).toString(), "last\n");
});

test("stored code answers where nothing listens, and keeps state", async () => {
  const session = await it.client.create("relay", { data: { visits: 0 } });
  const put = (code: string) => it.client.expect(200, "PUT", `${session.path}/code`, { code });
  await put(`import os, json
data = json.load(open(".session_data.json")); data["visits"] += 1; json.dump(data, open(".session_data.json", "w"))
print(json.dumps({"status": "success", "visits": data["visits"], "method": os.environ["ERA_HTTP_METHOD"], "path": os.environ["ERA_HTTP_PATH"], "query": os.environ["ERA_HTTP_QUERY"], "body": os.environ["ERA_HTTP_BODY"], "mine": json.loads(os.environ["ERA_HTTP_HEADERS"])["x-mine"], "mode": os.environ["ERA_REQUEST_MODE"]}))`);
  await (await fetch(address("relay", 8000), { headers: { "x-mine": "1" } })).text();
  const answer = await fetch(address("relay", 8000, "/hook?a=1"), {
    method: "POST",
    body: "{}",
    headers: { "x-mine": "2" },
  });
  assert.equal(answer.headers.get("content-type"), "application/json; charset=utf-8");
  assert.deepEqual(await answer.json(), {
    status: "success",
    visits: 2,
    method: "POST",
    path: "/hook",
    query: "?a=1",
    body: "{}",
    mine: "2",
    mode: "proxy",
  });
  await put(
    `print('{"status": 418, "contentType": "text/x-tea", "headers": {"X-Custom": "c", "Access-Control-Allow-Origin": "*", "bad\\\\nname": "x"}, "data": 1}')`,
  );
  const tea = await fetch(address("relay", 1));
  assert.deepEqual(
    [
      tea.status,
      tea.headers.get("content-type"),
      tea.headers.get("x-custom"),
      tea.headers.get("access-control-allow-origin"),
    ],
    [418, "text/x-tea", "c", "*"],
  );
  await put(`print("plain")`);
  assert.equal(await (await fetch(address("relay", 1))).text(), "plain\n");
  await put("1 / 0");
  const failed = await fetch(address("relay", 1));
  assert.deepEqual([failed.status, /ZeroDivisionError/.test(await failed.text())], [500, true]);
});

test("stored code that listens is kept, also while its run goes on, and answers the request that started it", async () => {
  const blocking = await it.client.create("blocking", { default_timeout: 20 });
  await it.client.expect(200, "PUT", `${blocking.path}/code`, {
    code: `${PYTHON_SERVER.replace("threading.Thread(target=server.serve_forever, daemon=True).start()", "server.serve_forever()")}`,
  });
  const answer = (await (
    await fetch(address("blocking", 8000, "/x"), { method: "POST", body: "b" })
  ).json()) as Record<string, string>;
  assert.deepEqual([answer.path, answer.body], ["/x", "b"]);
  await it.client.expect(200, "POST", `${blocking.path}/interrupt`);
  const returning = await it.client.create("returning", { language: "node" });
  await it.client.expect(200, "PUT", `${returning.path}/code`, {
    code: `require("node:http").createServer((q, r) => r.end(q.url)).listen(3000); console.log("listening")`,
  });
  assert.equal(await (await fetch(address("returning", 3000, "/y"))).text(), "/y");
});

test("who is not public, unknown, or has nothing to say is told so", async () => {
  const session = await it.client.create("private");
  await session.prints("", PYTHON_SERVER);
  const answer = async (path: string) => {
    const response = await fetch(it.server.url + path);
    return [response.status, ((await response.json()) as { code: string }).code];
  };
  assert.equal((await fetch(address("private", 8000))).status, 200);
  await session.patch({ allowPublicAccess: false });
  assert.deepEqual(await answer("/proxy/private/8000/"), [403, "not_public"]);
  await session.patch({ allowPublicAccess: true });
  assert.equal((await fetch(address("private", 8000))).status, 200);
  assert.deepEqual(await answer("/proxy/nobody/8000/"), [404, "session_not_found"]);
  assert.deepEqual(await answer("/proxy/private/0/"), [400, "invalid_request"]);
  assert.deepEqual(await answer("/proxy/private/99999/x"), [400, "invalid_request"]);
  assert.deepEqual(await answer("/proxy/private/9999/"), [400, "no_code"]);
  const host = await it.client.expect(200, "GET", `${session.path}/host?port=8000`);
  assert.deepEqual(
    [host.url, host.port, host.session_id],
    [address("private", 8000).replace(/\/$/, ""), 8000, "private"],
  );
  for (const query of ["", "?port=0", "?port=x"])
    await it.client.expect(400, "GET", `${session.path}/host${query}`);
});

test("a request without a host, or whose client has gone, leaves no connection behind", async () => {
  const session = await it.client.create("bare");
  await session.prints("", PYTHON_SERVER);
  const { port } = new URL(it.server.url);
  const socket = net.connect(Number(port), "127.0.0.1");
  socket.write("GET /proxy/bare/8000/x HTTP/1.0\r\n\r\n");
  let said = "";
  for await (const chunk of socket) said += chunk;
  assert.match(said, /^HTTP\/1.1 (200|400)/);
  for (let time = 0; time < 300; time++)
    net
      .connect(Number(port), "127.0.0.1")
      .end("GET /proxy/bare/8000/x HTTP/1.1\r\nhost: localhost\r\n\r\n")
      .destroy();
  await sleep(300);
  assert.equal((await fetch(address("bare", 8000))).status, 200);
});

test("a program that answers rubbish, or hangs up, is an error of its own", async () => {
  const session = await it.client.create("rubbish");
  await session.prints(
    "",
    `import socket, threading
def serve(port, data):
    s = socket.create_server(("127.0.0.1", port))
    def loop():
        while True:
            c, _ = s.accept(); c.recv(65536); c.sendall(data); c.close()
    threading.Thread(target=loop, daemon=True).start()
serve(7001, b"no http at all\\r\\n\\r\\n"); serve(7002, b""); serve(7003, b"HTTP/1.1 200 OK\\r\\ncontent-length: 100\\r\\n\\r\\nshort"); serve(7004, b"HTTP/1.1 700 X\\r\\n\\r\\n"); serve(7005, b"HTTP/1.1 101 Switching Protocols\\r\\nupgrade: x\\r\\nconnection: upgrade\\r\\n\\r\\n")`,
  );
  for (const port of [7001, 7002, 7004, 7005]) {
    const response = await fetch(address("rubbish", port));
    assert.deepEqual(
      [response.status, ((await response.json()) as { code: string }).code],
      [502, "proxy_failed"],
    );
  }
  await assert.rejects(fetch(address("rubbish", 7003)).then((response) => response.text()));
  await session.prints("1\n", "print(1)");
});

test("cookies of a program reach its own addresses, and no other session's", async () => {
  const session = await it.client.create("cookies", { language: "node" });
  await session.prints(
    "",
    `require("http").createServer((_, answer) => answer.setHeader("set-cookie", ["a=1; Path=/; Domain=localhost", "b=2"]).end()).listen(3001)`,
  );
  const answer = await fetch(address("cookies", 3001));
  assert.deepEqual(answer.headers.getSetCookie(), [
    `a=1; Path=/proxy/${session.id}/3001/`,
    `b=2; Path=/proxy/${session.id}/3001/`,
  ]);
});

test("stored code cannot say what this server's own pages may do", async () => {
  const own = await it.client.create("own-page");
  const headers = {
    "content-security-policy": "default-src * 'unsafe-inline'",
    "Clear-Site-Data": '"*"',
    "service-worker-allowed": "/",
    NEL: '{"report_to":"g","max_age":86400}',
    "Report-To": "{}",
    "Reporting-Endpoints": 'g="https://example.org"',
    "Strict-Transport-Security": "max-age=31536000",
    "Alt-Svc": 'h3=":443"',
    "Content-Security-Policy-Report-Only": "report-uri https://example.org",
    "Public-Key-Pins": "x",
    "Expect-CT": "max-age=1",
    "Accept-CH": "DPR",
    "Origin-Agent-Cluster": "?1",
    "Unheard-Of": "1",
    trailer: "x",
    "x-own": "yes",
    "mcp-session-id": "s1",
    "cache-control": "max-age=5",
  };
  const page = JSON.stringify({ contentType: "text/html", headers, x: "<script>1</script>" });
  await it.client.expect(200, "PUT", `${own.path}/code`, { code: `print(${JSON.stringify(page)})` });
  const answer = await fetch(address("own-page", 9000));
  assert.equal(answer.status, 200);
  assert.match(String(answer.headers.get("content-security-policy")), /^sandbox (?!.*allow-same-origin)/);
  const passed = new Set(["content-security-policy", "x-own", "mcp-session-id", "cache-control"]);
  for (const [name, value] of Object.entries(headers))
    if (!passed.has(name)) assert.equal(answer.headers.get(name), null, name);
    else if (name !== "content-security-policy") assert.equal(answer.headers.get(name), value, name);
});

test("a body without a length stays one body, also of methods that seldom have one", async () => {
  const session = await it.client.create("chunked");
  await session.prints(
    "",
    `${PYTHON_SERVER.replaceAll("8000", "8002")}
def do_DELETE(self):
    body = b""
    while size := int(self.rfile.readline(), 16):
        body += self.rfile.read(size)
        self.rfile.readline()
    self.answer(body)
Handler.do_DELETE = do_DELETE`,
  );
  const request = http.request(address("chunked", 8002), {
    method: "DELETE",
    headers: { "transfer-encoding": "chunked", connection: "content-length" },
  });
  request.end("GET /smuggled HTTP/1.1\r\n\r\n");
  const [response] = (await once(request, "response")) as [http.IncomingMessage];
  const { method, body } = JSON.parse(Buffer.concat(await Array.fromAsync(response)).toString());
  assert.deepEqual([method, body], ["DELETE", "GET /smuggled HTTP/1.1\r\n\r\n"]);
});

test("a program that answers before it has read all is heard by a client that writes first", async () => {
  const session = await it.client.create("early");
  await session.prints(
    "",
    `import socket, threading
listener = socket.create_server(("127.0.0.1", 8003))
def serve():
    while True:
        peer, _ = listener.accept()
        peer.recv(1000)
        peer.sendall(b"HTTP/1.1 413 Too Large\\r\\ncontent-length: 2\\r\\n\\r\\nno")
        peer.close()
threading.Thread(target=serve, daemon=True).start()`,
  );
  const client = net.connect(Number(new URL(it.server.url).port), "127.0.0.1");
  const size = 30 << 20;
  client.write(`POST /proxy/early/8003/ HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${size}\r\n\r\n`);
  const written = new Promise((resolve) => client.write(Buffer.alloc(size), resolve));
  await Promise.race([written, sleep(20_000, undefined, { ref: false })]);
  const [said] = (await once(client, "data", { signal: AbortSignal.timeout(5_000) })) as [Buffer];
  assert.match(said.toString(), /^HTTP\/1.1 (413|502) /);
  client.destroy();
});
