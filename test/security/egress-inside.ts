/** The tests of egress.test.ts, inside of the network that it makes. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { SessionClient } from "../support/client.ts";
import { ADDRESSES, type Internet, startInternet } from "../support/internet.ts";
import { TestServer, until } from "../support/server.ts";

let internet: Internet;
let server: TestServer;

before(async () => {
  internet = await startInternet();
  server = await TestServer.start({ ERA_POOL: "python=1,node=1" });
});

after(async () => {
  assert.deepEqual(internet.intrusions, [], "somebody got through");
  await server.stop();
  await server.removeData();
  await internet[Symbol.asyncDispose]();
});

const open = (id: string, fields: object = {}) =>
  server.client.create(id, { allowInternetAccess: true, ...fields });
const connections = (session: SessionClient) =>
  server.client.expect(200, "GET", `${session.path}/connections`);

/** Defines get(url): status and body, or what went wrong; also for addresses that tools ask no proxy for. */
const GET = `import os, ssl, urllib.request
for name in ("no_proxy", "NO_PROXY"): os.environ.pop(name, None)
tls = ssl._create_unverified_context()
def get(url):
    try:
        with urllib.request.urlopen(url, timeout=10, context=tls) as answer: return f"{answer.status} {answer.read().decode()}"
    except urllib.error.HTTPError as error: return f"{error.code} {error.read().decode().strip()}"
    except Exception as error: return f"{type(error).__name__}: {error}"`;
const RAW = `import socket
def raw(data, timeout=5):
    connection = socket.create_connection(("127.0.0.1", 3128), timeout)
    connection.sendall(data)
    answer = b""
    try:
        while chunk := connection.recv(65536): answer += chunk
    except TimeoutError: answer += b"(still open)"
    except ConnectionResetError: pass
    return answer.decode("latin1")`;

test("programs of every language reach the web, encrypted and not", async () => {
  const python = await open("python", { data: {} });
  await python.run(GET);
  await python.prints(
    "200 GET site.test /a\n200 GET site.test /b\n200 GET 93.184.215.14 /c\n",
    `for url in ("http://site.test/a", "https://site.test/b", "http://93.184.215.14/c"): print(get(url))`,
  );
  await python.prints(
    "GET site.test /d",
    `import subprocess; print(subprocess.run(["curl", "-sk", "https://site.test/d"], capture_output=True, text=True).stdout, end="")`,
  );
  const node = await open("node", { language: "node" });
  const fetched = `console.log(await (await fetch("http://site.test/e")).text())`;
  await node.prints("GET site.test /e\n", fetched);
  await (await open("deno", { language: "deno" })).prints("GET site.test /e\n", fetched);
  const go = await open("go", { language: "go" });
  await go.prints(
    "GET site.test /f",
    `package main\nimport ("fmt"; "io"; "net/http")\nfunc main() { answer, err := http.Get("http://site.test/f"); if err != nil { panic(err) }; body, _ := io.ReadAll(answer.Body); fmt.Print(string(body)) }`,
  );
});

test("every destination is recorded, with its bytes", async () => {
  const session = await open("recorded");
  await session.run(
    `${GET}\nget("http://site.test/a"); get("https://other.test/b"); get("http://private.test/")`,
  );
  await until("all are recorded", async () => (await connections(session)).totals.connections === 3);
  const { connections: seen, totals } = await connections(session);
  assert.deepEqual(seen.map((one: { host: string; port: number }) => `${one.host}:${one.port}`).sort(), [
    "other.test:443",
    "private.test:80",
    "site.test:80",
  ]);
  assert.equal(totals.refused, 1);
  for (const one of seen) {
    if (one.refused !== null) assert.match(one.refused, /not on the public internet \(10\.0\.0\.1\)/);
    else assert.ok(one.bytes_sent > 50 && one.bytes_received > 50, JSON.stringify(one));
  }
  const page = await server.client.expect(200, "GET", `${session.path}/connections?limit=2`);
  assert.equal(page.connections.length, 2);
  const rest = await server.client.expect(
    200,
    "GET",
    `${session.path}/connections?limit=2&cursor=${page.next_cursor}`,
  );
  assert.equal(rest.connections.length, 1);
});

test("what is not on the public internet is refused, however it is written", async () => {
  const session = await open("private");
  await session.run(GET);
  const urls = [
    ...Object.values(ADDRESSES)
      .slice(2)
      .map((address) => `http://${address}/`),
    "http://metadata.test/latest",
    "http://private.test/",
    "http://loopback.test/",
    "http://mixed.test/",
    "http://2852039166/",
    "http://0xa9fea9fe/",
    "http://0251.0376.0251.0376/",
    "http://169.254.43518/",
    "http://127.1/",
    "http://0/",
    "http://[::1]/",
    "http://[::ffff:10.0.0.1]/",
    "http://168.63.129.16/",
    "http://[::ffff:168.63.129.16]/",
    "http://[::ffff:a9fe:a9fe]/",
    "http://[64:ff9b::a00:1]/",
    "http://[2002:a00:1::]/",
    "http://[fd00::1]/",
    "http://[fe80::1]/",
    "http://0.0.0.0/",
    "http://255.255.255.255/",
    "http://224.0.0.1/",
    "http://nowhere.test/",
    "http://private.test./",
    "http://PRIVATE.test/",
  ];
  const answer = await session.run(`for url in ${JSON.stringify(urls)}: print(get(url).split(" ")[0])`);
  assert.deepEqual(
    answer.stdout.trim().split("\n"),
    urls.map(() => "403"),
    answer.stdout,
  );
  const tunnels = [
    "10.0.0.1:80",
    "metadata.test:80",
    "[::1]:80",
    "127.0.0.1:80",
    "site.test:25",
    "site.test:22",
    "site.test:0",
    "site.test:3306",
  ];
  const raws = await session.run(
    `${RAW}\nfor to in ${JSON.stringify(tunnels)}: print(raw(f"CONNECT {to} HTTP/1.1\\r\\nHost: {to}\\r\\n\\r\\n".encode()).split("\\r\\n")[0])`,
  );
  for (const line of raws.stdout.trim().split("\n")) assert.match(line, /^HTTP\/1\.1 40[03] /);
});

test("a name that changes its mind reaches only what it was when it was looked at", async () => {
  const session = await open("rebind");
  const answer = await session.run(`${GET}\nfor _ in range(40): print(get("http://rebind.test/x"))`);
  const lines = answer.stdout.trim().split("\n");
  assert.equal(lines.length, 40);
  for (const line of lines)
    assert.match(line, /^(200 GET rebind\.test \/x|403 'rebind\.test' is not on the public)/);
  assert.ok(
    lines.some((line: string) => line.startsWith("200")) &&
      lines.some((line: string) => line.startsWith("403")),
  );
});

test("redirects lead to nothing else", async () => {
  const session = await open("redirect");
  const targets = ["http://10.0.0.1/", "http://169.254.169.254/latest/meta-data", "http://private.test/"];
  const answer = await session.run(
    `${GET}\nfor to in ${JSON.stringify(targets)}: print(get("http://site.test/redirect?to=" + to).split(" ")[0])\nprint(get("http://site.test/redirect?to=http://other.test/y"))`,
  );
  assert.equal(answer.stdout, "403\n403\n403\n200 GET other.test /y\n");
});

test("requests that mean two things are refused, and harm nobody", async () => {
  const session = await open("smuggler");
  await session.run(RAW);
  const requests = [
    "GET http://site.test/ HTTP/1.1\r\nHost: private.test\r\n\r\n",
    "GET http://site.test/ HTTP/1.1\r\nHost: site.test\r\nHost: private.test\r\n\r\n",
    "GET http://site.test/ HTTP/1.1\r\n\r\n",
    "POST http://site.test/ HTTP/1.1\r\nHost: site.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET http://10.0.0.1/ HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n",
    "POST http://site.test/ HTTP/1.1\r\nHost: site.test\r\nTransfer-Encoding: xchunked\r\n\r\n",
    "GET http://site.test/ HTTP/1.1\r\nHost: site.test\r\nX: a\r\n b\r\n\r\n",
    "GET http://site.test@10.0.0.1/ HTTP/1.1\r\nHost: site.test\r\n\r\n",
    "GET http://10.0.0.1#site.test/ HTTP/1.1\r\nHost: site.test\r\n\r\n",
    "GET /latest HTTP/1.1\r\nHost: metadata.test\r\n\r\n",
    "GET ftp://site.test/ HTTP/1.1\r\nHost: site.test\r\n\r\n",
    "CONNECT site.test HTTP/1.1\r\nHost: site.test\r\n\r\n",
    "CONNECT site.test:443/@10.0.0.1:80 HTTP/1.1\r\nHost: site.test\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    "CONNECT :80 HTTP/1.1\r\n\r\n",
    "\x00\x01\x02 nonsense\r\n\r\n",
  ];
  const answer = await session.run(
    `import json\nfor request in json.loads(${JSON.stringify(JSON.stringify(requests))}): print(raw(request.encode("latin1"), 1).split("\\r\\n")[0])`,
  );
  for (const [at, line] of answer.stdout.trim().split("\n").entries())
    assert.match(line, /^HTTP\/1\.1 (40\d|431|50\d) /, requests[at]);
  const pipelined = `GET http://site.test/one HTTP/1.1\r\nHost: site.test\r\n\r\nGET http://10.0.0.1/two HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n`;
  const both = await session.run(`print(raw(${JSON.stringify(pipelined)}.encode(), 2))`);
  assert.match(both.stdout, /GET site\.test \/one/);
  assert.ok(!both.stdout.includes("secret"));
  const behind = `GET http://site.test/one HTTP/1.1\r\nHost: site.test\r\n\r\nCONNECT other.test:80 HTTP/1.1\r\nHost: other.test:80\r\n\r\n`;
  const tunnel = await session.run(`print(raw(${JSON.stringify(behind)}.encode(), 2))`);
  assert.ok(!tunnel.stdout.includes("Established"), tunnel.stdout);
  const huge = await session.run(
    `print(raw(b"GET http://site.test/ HTTP/1.1\\r\\nHost: site.test\\r\\nX: " + b"x" * (1 << 20) + b"\\r\\n\\r\\n", 2)[:20])`,
  );
  assert.match(huge.stdout, /HTTP\/1\.1 4\d\d|^\n?$/);
  await session.prints("200 GET site.test /fine\n", `${GET}\nprint(get("http://site.test/fine"))`);
});

test("an allow list opens what it names and nothing else", async () => {
  const session = await open("listed", {
    allowInternetAccess: { allow: ["other.test", "*.site.test", "site.test:8443"] },
  });
  await session.run(GET);
  await session.prints(
    "200\n200\n403\n200\n403\n403\n",
    `for url in ("http://other.test/", "http://api.site.test/", "http://site.test/", "http://site.test:8443/", "http://other.test:8443/", "http://xsite.test/"): print(get(url).split(" ")[0])`,
  );
  assert.deepEqual((await session.get()).allowInternetAccess, {
    allow: ["other.test", "*.site.test", "site.test:8443"],
  });
  for (const allow of [["*"], ["http://x"], ["a b"], ["x:0"], ["x:70000"], [""], ["*.*.x"]])
    await server.client.expect(400, "PATCH", session.path, { allowInternetAccess: { allow } });
});

test("a change takes effect at once, on open connections too", async () => {
  const session = await open("patched");
  await session.run(GET);
  const running = session.run(
    `import time
answer = urllib.request.urlopen("http://site.test/slow", timeout=20)
open("begun", "w").close()
began = time.time()
try:
    while chunk := answer.read(5): pass
except Exception: pass
print(round(time.time() - began) < 5, get("http://site.test/"))`,
    { timeout: 30 },
  );
  await until("it reads", async () =>
    (await session.get()).files.some((file: { path: string }) => file.path === "begun"),
  );
  await session.patch({ allowInternetAccess: { allow: ["site.test"] } });
  await new Promise((resolve) => setTimeout(resolve, 300));
  await session.patch({ allowInternetAccess: false });
  const answer = await running;
  assert.match(answer.stdout, /^True 403 Internet access is off/);
});

test("access is off unless it is asked for; a one-shot run may ask", async () => {
  const off = await server.client.create("off");
  await off.prints(
    "403 Internet access is off for this session (allowInternetAccess)\n",
    `${GET}\nprint(get("http://site.test/"))`,
  );
  const asked = await server.client.execute(`${GET}\nprint(get("http://site.test/z"))`, {
    allowInternetAccess: true,
  });
  assert.equal(asked.stdout, "200 GET site.test /z\n");
  const unasked = await server.client.execute(`${GET}\nprint(get("http://site.test/z")[:3])`);
  assert.notEqual(unasked.stdout, "200\n");
  const direct = await off.run(
    `import socket\nfor to in ("93.184.215.14", "127.0.0.1"):\n    try: socket.create_connection((to, 80), 2); print("open")\n    except OSError as error: print(type(error).__name__)`,
  );
  assert.ok(!direct.stdout.includes("open"), direct.stdout);
});

test("many connections of one session take nothing from another", async () => {
  const greedy = await open("greedy", { language: "python" });
  const modest = await open("modest");
  await modest.run(GET);
  const flood = greedy.run(
    `import socket, time
held = []
for _ in range(400):
    try: held.append(socket.create_connection(("127.0.0.1", 3128), 1)); held[-1].sendall(b"GET http://site.test/slow HTTP/1.1\\r\\nHost: site.test\\r\\n\\r\\n")
    except OSError: pass
time.sleep(3)`,
    { timeout: 20 },
  );
  for (let time = 0; time < 10; time++)
    await modest.prints("200 GET site.test /m\n", `print(get("http://site.test/m"))`);
  await flood;
});

test("a session that a new server adopts still has its way out", async () => {
  const session = await open("adopted");
  await session.prints("200 GET site.test /1\n", `${GET}\nprint(get("http://site.test/1"))`);
  await server.kill();
  server = await TestServer.start({ ERA_POOL: "python=1,node=1" }, server.dataDir);
  await server.client.session("adopted").prints("200 GET site.test /2\n", `print(get("http://site.test/2"))`);
});
