/** Pages of other origins that may use the API, and names of their own for ports of sessions. */
import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import net from "node:net";
import { test } from "node:test";
import { oneServer } from "../support/one-server.ts";

const APP = "https://app.example.com";
const it = oneServer({
  ERA_POOL: "python=1",
  ERA_CORS_ORIGINS: APP,
  ERA_PROXY_DOMAIN: "https://apps.example.com:8443",
});

/** A request with any headers, which fetch() does not let through. */
async function ask(
  path: string,
  headers: Record<string, string>,
  method = "GET",
): Promise<{ status: number; headers: http.IncomingHttpHeaders; text: string }> {
  const request = http.request(it.server.url + path, { headers, method, agent: false }).end();
  const [answer] = (await once(request, "response")) as [http.IncomingMessage];
  const parts = await answer.setEncoding("utf8").toArray();
  return { status: answer.statusCode ?? 0, headers: answer.headers, text: parts.join("") };
}

const PAGE = `import http.server, threading
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("set-cookie", "a=1; Path=/deep; Domain=apps.example.com")
        self.send_header("content-security-policy", "default-src 'self'")
        self.send_header("strict-transport-security", "max-age=9")
        self.end_headers()
        self.wfile.write(f"{self.path} {self.headers['x-forwarded-prefix']} {self.headers['x-forwarded-host']}".encode())
    def log_message(self, *args): pass
threading.Thread(target=http.server.ThreadingHTTPServer(("127.0.0.1", 8000), Handler).serve_forever, daemon=True).start()`;

test("a page of a named origin reads answers, refusals and streams, and is told so before it asks", async () => {
  const asks = {
    origin: APP,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,idempotency-key",
  };
  const before = await ask("/api/execute", asks, "OPTIONS");
  assert.equal(before.status, 204);
  assert.equal(before.headers["access-control-allow-origin"], APP);
  assert.match(String(before.headers["access-control-allow-methods"]), /POST.*DELETE/);
  assert.equal(before.headers["access-control-allow-headers"], asks["access-control-request-headers"]);
  const { status, headers } = await ask("/api/sessions", { origin: APP });
  assert.deepEqual([status, headers["access-control-allow-origin"]], [200, APP]);
  assert.match(String(headers["access-control-expose-headers"]), /x-run-id/);
  assert.match(String(headers.vary), /origin/i);
  const refused = await ask("/api/sessions/nobody", { origin: APP });
  assert.deepEqual([refused.status, refused.headers["access-control-allow-origin"]], [404, APP]);
});

test("paths that there are not stay unknown, and a question without an origin is answered", async () => {
  const { status, headers } = await ask("/nothing", {});
  assert.deepEqual([status, headers.allow], [404, undefined]);
  assert.equal((await ask("/api/sessions", {}, "OPTIONS")).status < 500, true);
});

test("a page of another origin is refused, asks for nothing, and reads nothing", async () => {
  for (const origin of [
    "https://evil.example",
    `${APP}.evil.example`,
    "https://app.example.com:444",
    "null",
  ]) {
    const before = await ask("/api/execute", { origin, "access-control-request-method": "POST" }, "OPTIONS");
    assert.equal(before.headers["access-control-allow-origin"], undefined, origin);
    const { status, headers } = await ask("/api/sessions", { origin });
    assert.deepEqual([status, headers["access-control-allow-origin"]], [403, undefined], origin);
  }
});

test("a port has a name of its own: an origin with its own paths, cookies and policy", async () => {
  const session = await it.client.create("page");
  await session.run(PAGE);
  const { url } = await it.client.expect(200, "GET", `${session.path}/host?port=8000`);
  assert.equal(url, "https://8000-page.apps.example.com:8443");
  const host = new URL(url).host;
  const { status, headers, text } = await ask("/deep/x?y=1", { host: host.toUpperCase() });
  assert.equal(status, 200);
  assert.equal(text, `/deep/x?y=1 None ${host.toUpperCase()}`);
  assert.deepEqual(headers["set-cookie"], ["a=1; Path=/deep"]);
  assert.equal(headers["content-security-policy"], "default-src 'self'");
  assert.equal(headers["strict-transport-security"], undefined);
  const byPath = await ask("/proxy/page/8000/deep", {});
  assert.match(String(byPath.headers["content-security-policy"]), /^sandbox/);
  assert.match(byPath.text, /\/proxy\/page\/8000/);
});

test("below the domain there are ports of sessions, and nothing else", async () => {
  const session = await it.client.create("page-of-api", {});
  await session.run(PAGE.replaceAll("8000", "8001"));
  const { text } = await ask("/api/sessions", { host: "8001-page-of-api.apps.example.com" });
  assert.match(text, /^\/api\/sessions /, "the API is not there");
  for (const name of [
    "nothing",
    "8001-",
    "99999-page-of-api",
    "8001-..",
    "8001-page-of-api.x",
    "x.8001-page-of-api",
  ])
    assert.ok(
      [400, 404].includes((await ask("/api/sessions", { host: `${name}.apps.example.com` })).status),
      name,
    );
  assert.equal((await ask("/health", { host: "8001-nobody.apps.example.com" })).status, 404);
  assert.match((await ask("/dot", { host: "8001-page-of-api.apps.example.com." })).text, /^\/dot /);
  await it.client.create("closed", { allow_public_access: false });
  assert.equal((await ask("/", { host: "8000-closed.apps.example.com" })).status, 403);
  await it.client.create("Mixed_Case");
  const { url } = await it.client.expect(200, "GET", "/api/sessions/Mixed_Case/host?port=8000");
  assert.equal(url, `${it.server.url}/proxy/Mixed_Case/8000`, "no name of a host can say it");
});

test("a session of a key has such a name, too", async () => {
  const { key } = await it.client.expect(201, "POST", "/api/keys", { name: "tenant" });
  const headers = { authorization: `Bearer ${key}` };
  const call = async (method: string, path: string, body?: object) =>
    (await it.client.call(method, path, body, headers)).body;
  await call("POST", "/api/sessions/main/run", { code: PAGE.replaceAll("8000", "8002") });
  const { url } = await call("GET", "/api/sessions/main/host?port=8002");
  assert.match(url, /^https:\/\/8002-k[a-z0-9]{8}--main\.apps\.example\.com:8443$/);
  assert.equal((await ask("/", { host: new URL(url).host })).status, 200);
});

test("a WebSocket is opened by such a name", async () => {
  const session = await it.client.create("socket");
  await session.run(`import socket, threading, hashlib, base64
s = socket.create_server(("127.0.0.1", 8003))
def serve():
    c, _ = s.accept(); head = c.recv(65536).decode()
    key = [line.split(": ")[1] for line in head.split("\\r\\n") if line.lower().startswith("sec-websocket-key")][0]
    accept = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
    c.sendall(f"HTTP/1.1 101 x\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\nSec-WebSocket-Accept: {accept}\\r\\n\\r\\n".encode()); c.sendall(head.split(" ")[1].encode())
threading.Thread(target=serve, daemon=True).start()`);
  const socket = net.connect(Number(new URL(it.server.url).port), "127.0.0.1");
  socket.write(
    "GET /ws HTTP/1.1\r\nhost: 8003-socket.apps.example.com\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
  );
  let heard = "";
  for await (const chunk of socket.setEncoding("utf8")) {
    heard += chunk;
    if (heard.endsWith("/ws")) break;
  }
  assert.match(heard, /^HTTP\/1.1 101[\s\S]*\r\n\r\n\/ws$/);
});
