/**
 * What strangers and clients may send: requests as they are, byte for byte, against a session that holds what a hostile
 * program may have left there. Held is what is refused, by its status, and quickly.
 */
import { connect } from "node:net";
import { gzipSync } from "node:zlib";
import type { Finding, Target } from "./try-probes.ts";

type Sent = { method?: string; path: string; headers?: Record<string, string>; body?: string | Buffer };
type ClientProbe = {
  title: string;
  sent: Sent | Buffer;
  statuses: readonly number[];
  /** A stranger: without the key. */
  withoutKey?: boolean;
};

const PATIENCE_MS = 10_000;
const REFUSED = [400, 401, 403, 404, 405, 409, 411, 413, 414, 415, 417, 426, 431, 501, 505];
const SESSION = "era-attack-clients";
const FILES = `/api/sessions/${SESSION}/files`;

/** What is in the workspace: links out of it, things that are no files, and names that are no text. */
const LEFT_BEHIND = `import os
os.symlink("/etc/passwd", "link")
os.symlink("/", "root")
os.symlink("/proc/self/environ", "environ")
os.symlink("loop", "loop")
os.mkfifo("fifo")
os.mkdir(b"\\xff\\xfe")
open(b"\\xff\\xfe/x", "w").close()
os.makedirs("/".join(["deep"] * 200))
open("mine", "w").write("mine")
import socket
socket.socket(socket.AF_UNIX).bind("socket")`;

/** One header block of a tar archive. */
function tarHeader(name: string, type: string, link = "", size = 0): Buffer {
  const header = Buffer.alloc(512);
  header.write(name.slice(0, 100), 0);
  header.write("0000644\0", 100);
  header.write("0000000\0", 108);
  header.write("0000000\0", 116);
  header.write(`${size.toString(8).padStart(11, "0")}\0`, 124);
  header.write("00000000000\0", 136);
  header.write("        ", 148);
  header.write(type, 156);
  header.write(link.slice(0, 100), 157);
  header.write("ustar\x0000", 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return header;
}

const END_OF_TAR = Buffer.alloc(1024);
const archive = (...headers: Buffer[]): Sent => ({
  method: "PUT",
  path: `/api/sessions/${SESSION}/archive`,
  headers: { "content-type": "application/x-tar" },
  body: Buffer.concat([...headers, END_OF_TAR]),
});

const PATHS: Readonly<Record<string, string>> = {
  "a link to a file of the host": "link",
  "a link to the host's root": "root/etc/passwd",
  "a link to an environment": "environ",
  "a link to itself": "loop",
  "a FIFO": "fifo",
  "a socket": "socket",
  dots: "../../../../etc/passwd",
  "encoded dots": "%2e%2e/%2e%2e/%2e%2e/etc/passwd",
  "encoded slashes": "..%2f..%2f..%2f..%2fetc%2fpasswd",
  "dots encoded twice": "%252e%252e/%252e%252e/etc/passwd",
  "an absolute path": "/etc/passwd",
  "an encoded absolute path": "%2fetc%2fpasswd",
  "a NUL": "mine%00.txt",
  "a backslash": "..%5c..%5cetc%5cpasswd",
  "overlong dots": "%c0%ae%c0%ae/etc/passwd",
  "a name that is no text": "%ff%fe/x",
  "the server's own file": ".session_data.json",
  "a path of 10,000 characters": "x".repeat(10_000),
  "a path of 5,000 folders": "x/".repeat(5_000),
};

const ids = [
  "..",
  "%2e%2e",
  "a%2fb",
  "a%00b",
  "x".repeat(129),
  "%ff",
  "a b",
  "a%0d%0ab",
  "%F0%9F%92%A9",
  "a?b",
  "*",
  "$(id)",
];

const readingFiles: ClientProbe[] = Object.entries(PATHS).map(([title, path]) => ({
  title: `a file by ${title}`,
  sent: { path: `${FILES}/${path}` },
  statuses: REFUSED,
}));
const writingFiles: ClientProbe[] = [
  "root/tmp/era-attack",
  "../era-attack",
  "..%2fera-attack",
  "%00",
  "fifo/x",
  "mine/x",
  ".session_data.json",
].map((path) => ({
  title: `writing ${path}`,
  sent: { method: "PUT", path: `${FILES}/${path}`, body: "x" },
  statuses: REFUSED,
}));
const removingFiles: ClientProbe[] = ["root/etc", "..", ".", "%2e%2e", "root/proc/1"].map((path) => ({
  title: `removing ${path}`,
  sent: { method: "DELETE", path: `${FILES}/${path}` },
  statuses: REFUSED,
}));
const ofSessions: ClientProbe[] = ids.map((id) => ({
  title: `a session named ${id.slice(0, 20)}`,
  sent: { method: "DELETE", path: `/api/sessions/${id}` },
  statuses: REFUSED,
}));
const archives: ClientProbe[] = (
  [
    ["a name that leads out", archive(tarHeader("../out", "0"))],
    ["an absolute name", archive(tarHeader("/etc/out", "0"))],
    ["a link", archive(tarHeader("l", "2", "/etc/passwd"))],
    ["a hard link", archive(tarHeader("h", "1", "/etc/passwd"))],
    ["a character device", archive(tarHeader("c", "3"))],
    ["a block device", archive(tarHeader("b", "4"))],
    ["a FIFO", archive(tarHeader("f", "6"))],
    ["a file below a link", archive(tarHeader("root/tmp/out", "0"))],
    ["a size beyond all", archive(tarHeader("s", "0", "", 0o77777777777))],
    ["a name of the server", archive(tarHeader(".session_data.json", "0"))],
    ["rubbish", { ...archive(), body: Buffer.alloc(4096, "rubbish") }],
    ["half a gzip", { ...archive(), body: gzipSync(Buffer.alloc(1 << 16)).subarray(0, 40) }],
    ["a description without end", archive(tarHeader("x", "x", "", 0o7777777))],
  ] as const
).map(([title, sent]) => ({ title: `an archive with ${title}`, sent, statuses: REFUSED }));

const json = (path: string, body: string | Buffer, method = "POST"): Sent => ({
  method,
  path,
  headers: { "content-type": "application/json" },
  body,
});
const RUN = `/api/sessions/${SESSION}/run`;
const bodies: ClientProbe[] = (
  [
    ["50,000 lists in each other", json(RUN, "[".repeat(50_000))],
    ["objects in each other", json(RUN, `{"env":${'{"a":'.repeat(5_000)}1${"}".repeat(5_001)}`)],
    [
      "a field of no kind beside a prototype",
      json("/api/sessions", `{"session_id":"era-attack-p","metadata":{"__proto__":{"x":1}},"nonsense":1}`),
    ],
    ["no JSON", json(RUN, "{code: 1}")],
    ["bytes that are no text", json(RUN, Buffer.from([0x22, 0xff, 0xfe, 0x22]))],
    ["nothing", json(RUN, "")],
    ["a number for a program", json(RUN, `{"code":1e400}`)],
    ["a timeout below zero", json(RUN, `{"code":"1","timeout":-1}`)],
    ["a timeout without end", json(RUN, `{"code":"1","timeout":1e12}`)],
    ["an environment with a NUL", json(RUN, `{"code":"1","env":{"A":"\\u0000"}}`)],
    ["an environment with an equals sign", json(RUN, `{"code":"1","env":{"A=B":"1"}}`)],
    ["a variable of the loader as a list", json(RUN, `{"code":"1","env":{"LD_PRELOAD":["x"]}}`)],
    ["a language that is a path", json(RUN, `{"code":"1","language":"../../bin/sh"}`)],
    ["a language that is a prototype", json(RUN, `{"code":"1","language":"constructor"}`)],
    ["twenty megabytes", json(RUN, `{"code":"${"x".repeat(20 << 20)}"}`)],
    ["a port of nowhere", { path: `/proxy/${SESSION}/99999/` }],
    ["port 0", { path: `/proxy/${SESSION}/0/` }],
    ["a port with a sign", { path: `/proxy/${SESSION}/-1/` }],
    ["another session's address", { path: `/proxy/${SESSION}%2f..%2fother/80/` }],
  ] as const
).map(([title, sent]) => ({ title: `a request with ${title}`, sent, statuses: REFUSED }));

const raw = (...lines: string[]) => Buffer.from(lines.join("\r\n"), "latin1");
const heads: ClientProbe[] = (
  [
    [
      "two lengths",
      raw(
        "POST /api/sessions HTTP/1.1",
        "Host: localhost",
        "Content-Length: 2",
        "Content-Length: 4",
        "",
        "{}{}",
      ),
    ],
    [
      "a length and chunks",
      raw(
        "POST /api/sessions HTTP/1.1",
        "Host: localhost",
        "Content-Length: 4",
        "Transfer-Encoding: chunked",
        "",
        "0",
        "",
        "",
      ),
    ],
    [
      "chunks by another name",
      raw("POST /api/sessions HTTP/1.1", "Host: localhost", "Transfer-Encoding: xchunked", "", "0", "", ""),
    ],
    [
      "a chunk of no size",
      raw(
        "POST /api/sessions HTTP/1.1",
        "Host: localhost",
        "Transfer-Encoding: chunked",
        "",
        "zz",
        "x",
        "0",
        "",
        "",
      ),
    ],
    [
      "a length that is no number",
      raw("POST /api/sessions HTTP/1.1", "Host: localhost", "Content-Length: +2", "", "{}"),
    ],
    [
      "a header without end",
      raw("GET /health HTTP/1.1", "Host: localhost", `X: ${"x".repeat(100_000)}`, "", ""),
    ],
    [
      "3,000 headers",
      raw(
        "GET /health HTTP/1.1",
        "Host: localhost",
        ...Array.from({ length: 3_000 }, (_, at) => `X-${at}: 1`),
        "",
        "",
      ),
    ],
    ["a line without end", raw(`GET /${"x".repeat(100_000)} HTTP/1.1`, "Host: localhost", "", "")],
    ["a folded header", raw("GET /api/sessions HTTP/1.1", "Host: localhost", "X: a", " b", "", "")],
    ["a NUL in a header", raw("GET /api/sessions HTTP/1.1", "Host: localhost", "X: a\0b", "", "")],
    ["a method of no kind", raw("BREW /api/sessions HTTP/1.1", "Host: localhost", "", "")],
    ["a version of no kind", raw("GET /api/sessions HTTP/9.9", "Host: localhost", "", "")],
    ["a tunnel", raw("CONNECT 169.254.169.254:80 HTTP/1.1", "Host: 169.254.169.254", "", "")],
    [
      "another server's address",
      raw("GET http://169.254.169.254/ HTTP/1.1", "Host: 169.254.169.254", "", ""),
    ],
    [
      "an upgrade to nothing",
      raw(
        "GET /api/sessions HTTP/1.1",
        "Host: localhost",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "",
        "",
      ),
    ],
    ["no HTTP at all", raw("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")],
  ] as const
).map(([title, sent]) => ({ title: `a head with ${title}`, sent, statuses: REFUSED }));

const WAYS_IN = [
  ...[
    "/api/sessions",
    "//api/sessions",
    "/api//sessions",
    "/API/SESSIONS",
    "/api/sessions/",
    "/api/sessions/../sessions",
  ],
  ...[
    "/api/%73essions",
    "/api/sessions?health",
    "/health/../api/sessions",
    "/api/sessions;/health",
    "/health%2f..%2fapi/sessions",
  ],
  ...[
    "/api/sessions#/health",
    "/./api/sessions",
    `${FILES}/mine`,
    `/api/sessions/${SESSION}/archive`,
    "/api/runs/run_x",
  ],
];
const strangers: ClientProbe[] = WAYS_IN.map((path) => ({
  title: `without the key: ${path}`,
  sent: { path },
  statuses: REFUSED,
  withoutKey: true,
}));

const CLIENT_GROUPS: readonly { name: string; probes: readonly ClientProbe[] }[] = [
  { name: "files by their addresses", probes: [...readingFiles, ...writingFiles, ...removingFiles] },
  { name: "names of sessions", probes: ofSessions },
  { name: "archives", probes: archives },
  { name: "bodies and addresses", probes: bodies },
  { name: "heads of requests", probes: heads },
  { name: "strangers", probes: strangers },
];

/** What must be answered: what is refused is refused for what it is. */
const CONTROLS: readonly ClientProbe[] = [
  { title: "a file", sent: { path: `${FILES}/mine` }, statuses: [200] },
  {
    title: "a file written",
    sent: { method: "PUT", path: `${FILES}/own/file`, body: "x" },
    statuses: [200, 201, 204],
  },
  { title: "a file removed", sent: { method: "DELETE", path: `${FILES}/own/file` }, statuses: [200, 204] },
  { title: "an archive", sent: archive(tarHeader("fine", "0")), statuses: [200, 201, 204] },
  { title: "a program", sent: json(RUN, `{"code":"1"}`), statuses: [200] },
  {
    title: "a head",
    sent: raw("GET /health HTTP/1.1", "Host: localhost", "Connection: close", "", ""),
    statuses: [200],
  },
];

/** Each finding as soon as it is there; the session that it is tried on is gone at the end. */
export async function* tryClients(target: Target): AsyncGenerator<Finding> {
  const run = json(RUN, JSON.stringify({ code: LEFT_BEHIND }));
  const made = await send(target, { title: "", sent: run, statuses: [] });
  const groups = [{ name: "controls: answered to clients", probes: CONTROLS }, ...CLIENT_GROUPS];
  try {
    if (made !== 200) throw new Error(`the session to be attacked could not be made: ${made}`);
    for (const { name, probes } of groups)
      for (const probe of probes) {
        const status = await send(target, probe);
        yield {
          group: name,
          title: probe.title,
          held: probe.statuses.includes(status),
          said: `status ${status}`,
        };
      }
  } finally {
    await send(target, {
      title: "",
      sent: { method: "DELETE", path: `/api/sessions/${SESSION}` },
      statuses: [],
    });
  }
}

/** The status of the answer; 400 for a connection that was closed without one, 0 when neither came in time. */
function send({ url, headers }: Target, { sent, withoutKey = false }: ClientProbe): Promise<number> {
  const { hostname, port } = new URL(url);
  const bytes = Buffer.isBuffer(sent) ? sent : requestOf(sent, withoutKey ? {} : headers);
  return new Promise((resolve) => {
    const socket = connect(Number(port), hostname);
    let said = "";
    const end = (status: number) => {
      socket.destroy();
      resolve(status);
    };
    socket.setTimeout(PATIENCE_MS, () => end(0));
    socket.on("data", (chunk) => {
      said += chunk.toString("latin1");
      const status = /^HTTP\/1\.[01] (\d{3})/.exec(said)?.[1];
      if (status !== undefined && status !== "100") end(Number(status));
    });
    socket.on("error", () => end(400));
    socket.on("close", () => end(400));
    socket.write(bytes);
  });
}

function requestOf(
  { method = "GET", path, headers = {}, body = "" }: Sent,
  own: Record<string, string>,
): Buffer {
  const content = Buffer.from(body);
  const all = {
    host: "localhost",
    connection: "close",
    ...own,
    ...headers,
    "content-length": String(content.length),
  };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}`);
  return Buffer.concat([raw(`${method} ${path} HTTP/1.1`, ...lines, "", ""), content]);
}
