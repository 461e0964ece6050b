/**
 * Requests that nobody meant: every operation with values of all kinds, bodies and archives with changed bytes, heads
 * that are no HTTP, streams that are left. None is a fault of the server, ends it, or stays in its memory.
 * ERA_TEST_FUZZ says how many.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { pack } from "tar-stream";
import { oneServer } from "../support/one-server.ts";
import { Random } from "../support/random.ts";
import { RawClient } from "../support/raw-client.ts";

const REQUESTS = Number(process.env.ERA_TEST_FUZZ ?? 6_000);
const CLIENTS = 6;
const PATIENCE_MS = 60_000;
/** A request whose length is wrong is waited for by the server, as long as the client stays. */
const LEAVE_MS = 300;
const MAX_GROWN_KIB = 64 << 10;
const SETTLE_MS = 3_000;
const MAX_DELAY_MS = 100;
const it = oneServer({
  ERA_POOL: "python=2",
  ERA_MAX_LIVE: "12",
  ERA_SLOT_WAIT_SECONDS: "2",
  ERA_LOG_LEVEL: "error",
  // Else V8 would take four times what it needs before it collects: growth would say nothing.
  NODE_OPTIONS: "--max-old-space-size=128 --max-semi-space-size=4",
});

const IDS = [
  "fuzz-0",
  "fuzz-1",
  "fuzz-2",
  "fuzz-3",
  "nobody",
  "%2e%2e",
  "a%00",
  "%ff",
  "x".repeat(200),
  "__proto__",
  "*",
];
const PATHS = [
  "f",
  "a/b/c",
  "deep/".repeat(60),
  "..",
  "%2e%2e/x",
  "%00",
  "é",
  "a%2fb",
  ".session_data.json",
  "l",
  "",
];
const PROGRAM = { code: "x = 1", language: "python", timeout: 2, env: { A: "1" }, update_data: { k: 1 } };
/** Method, path and body; `:id` and `:path` are filled in. */
const OPERATIONS: readonly (readonly [string, string, object?])[] = [
  [
    "POST",
    "/api/sessions",
    { session_id: "fuzz-1", language: "python", metadata: { a: 1 }, data: { b: 2 }, default_timeout: 3 },
  ],
  ["GET", "/api/sessions?limit=2&cursor=5"],
  ["GET", "/api/sessions/:id"],
  [
    "PATCH",
    "/api/sessions/:id",
    { metadata: { a: [1] }, memory_mib: 256, durability: "sync", imaging: "never", default_timeout: 9 },
  ],
  ["DELETE", "/api/sessions/:id"],
  ["POST", "/api/sessions/:id/run", PROGRAM],
  ["POST", "/api/sessions/:id/run", { ...PROGRAM, language: "bash", code: "echo hi" }],
  ["POST", "/api/sessions/:id/stream", { ...PROGRAM, code: "print('x' * 9999)", cancel_on_disconnect: true }],
  ["POST", "/api/sessions/:id/shell", { command: "echo hi; ls", timeout: 2 }],
  ["POST", "/api/sessions/:id/interrupt"],
  ["POST", "/api/sessions/:id/hibernate"],
  ["POST", "/api/sessions/:id/rollback", { version: 1 }],
  ["POST", "/api/sessions/:id/duplicate", { new_id: "fuzz-2", with_files: true }],
  ["GET", "/api/sessions/:id/versions"],
  ["GET", "/api/sessions/:id/variables"],
  ["GET", "/api/sessions/:id/connections"],
  ["GET", "/api/sessions/:id/host?port=80"],
  ["PUT", "/api/sessions/:id/code", { code: "1", description: "d" }],
  ["GET", "/api/sessions/:id/code"],
  ["GET", "/api/sessions/:id/setup"],
  ["GET", "/api/sessions/:id/runs?limit=3"],
  ["GET", "/api/runs/run_:id"],
  ["GET", "/api/sessions/:id/files?search=f"],
  ["GET", "/api/sessions/:id/files/:path"],
  ["PUT", "/api/sessions/:id/files/:path", { any: "thing" }],
  ["DELETE", "/api/sessions/:id/files/:path"],
  ["POST", "/api/sessions/:id/files/move", { from: "f", to: "g" }],
  ["POST", "/api/sessions/:id/folders/:path"],
  ["GET", "/api/sessions/:id/archive"],
  ["GET", "/proxy/:id/8080/:path"],
  ["POST", "/api/execute", { ...PROGRAM, files: { "a.txt": "b" } }],
  ["GET", "/health"],
];
const HEADERS = [
  ...[
    "range: bytes=0-5",
    "range: bytes=-0",
    "range: bytes=5-2,7-",
    "idempotency-key: k",
    "idempotency-key: ",
    "last-event-id: 5",
  ],
  ...[
    "last-event-id: -1",
    "content-type: text/plain",
    "content-type: multipart/form-data; boundary=x",
    "expect: 100-continue",
  ],
  ...[
    "origin: http://evil.example",
    "accept: */*;q=9",
    "content-encoding: gzip",
    "if-none-match: *",
    "x: \u0001",
  ],
];

type Sent = { bytes: Buffer; leaveAfter?: number; leaveAfterMs?: number };

class Fuzzer {
  readonly #random = new Random(23);
  readonly #archive: Buffer;

  constructor(archive: Buffer) {
    this.#archive = archive;
  }

  next(): Sent {
    const random = this.#random;
    const kind = random.next();
    if (kind < 0.08) return { bytes: this.#unpacking() };
    const [method, path, body] = random.of(OPERATIONS);
    const content =
      body === undefined
        ? random.chance(0.1)
          ? "{}"
          : ""
        : (JSON.stringify(random.chance(0.3) ? body : random.mutated(body)) ?? "");
    const target = path.replace(":id", random.of(IDS)).replace(":path", random.of(PATHS));
    const bytes = this.#request(
      method,
      target,
      Buffer.from(random.chance(0.05) ? content.slice(0, content.length / 2) : content),
    );
    if (kind < 0.2) return { bytes: random.mutatedBytes(bytes), leaveAfterMs: LEAVE_MS };
    const leaves = path.endsWith("/stream") ? random.chance(0.5) : random.chance(0.03);
    return leaves ? { bytes, leaveAfter: random.below(400) } : { bytes };
  }

  #request(method: string, path: string, body: Buffer, headers: string[] = []): Buffer {
    const random = this.#random;
    const lines = [
      `${method} ${path} HTTP/1.1`,
      "host: localhost",
      ...headers,
      `content-length: ${body.length}`,
    ];
    if (random.chance(0.15)) lines.splice(2, 0, random.of(HEADERS));
    return Buffer.concat([Buffer.from(`${lines.join("\r\n")}\r\n\r\n`, "latin1"), body]);
  }

  #unpacking(): Buffer {
    const random = this.#random;
    const tar = random.chance(0.7) ? random.mutatedBytes(this.#archive) : this.#archive;
    const zipped = random.chance(0.5) ? gzipSync(tar) : tar;
    const body = random.chance(0.3) ? random.mutatedBytes(zipped) : zipped;
    return this.#request("PUT", `/api/sessions/${random.of(IDS)}/archive`, body);
  }
}

async function tarOfAll(): Promise<Buffer> {
  const archive = pack();
  archive.entry({ name: "folder", type: "directory" });
  archive.entry({ name: "folder/file.txt", mode: 0o755 }, "content");
  archive.entry({ name: `${"long/".repeat(40)}name` }, "x".repeat(2_000));
  archive.entry({ name: "link", type: "symlink", linkname: "/etc/passwd" });
  archive.finalize();
  const parts: Buffer[] = [];
  for await (const part of archive) parts.push(part as Buffer);
  return Buffer.concat(parts);
}

/** A stored program that fails answers 500 at a session's public address. */
const isOfProgram = (bytes: Buffer) => bytes.subarray(0, 20).includes(" /proxy/");

/** Resident memory of the server, in KiB. */
const memoryOf = (pid: number) =>
  Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0);

test(`${REQUESTS} requests that nobody meant`, { timeout: 3_600_000 }, async () => {
  const pid = it.server.process.pid ?? 0;
  const fuzzer = new Fuzzer(await tarOfAll());
  const tally = new Map<number, number>();
  const faults: string[] = [];
  const send = async (count: number) => {
    let left = count;
    const client = async () => {
      const raw = new RawClient(it.server.url, PATIENCE_MS);
      while (left-- > 0) {
        const { bytes, ...leaving } = fuzzer.next();
        const { status, body } = await raw.send(bytes, leaving);
        tally.set(status, (tally.get(status) ?? 0) + 1);
        if (status === 500 && !isOfProgram(bytes))
          faults.push(`${bytes.subarray(0, 2_000).toString("latin1")}\n-> ${body.slice(0, 500)}`);
      }
      raw.close();
    };
    await Promise.all(Array.from({ length: CLIENTS }, client));
  };
  await send(Math.min(REQUESTS / 3, 10_000)); // what a server comes to hold in any case
  await sleep(SETTLE_MS);
  const before = memoryOf(pid);
  await send(REQUESTS);
  await sleep(SETTLE_MS);
  const grown = memoryOf(pid) - before;
  assert.deepEqual(faults.slice(0, 3), [], `${faults.length} faults\n${it.server.log.slice(-4_000)}`);
  assert.equal(it.server.process.exitCode, null, it.server.log);
  const answered = [...tally.keys()].filter((status) => status >= 200).length;
  assert.ok(answered >= 6, `only these statuses: ${JSON.stringify([...tally])}`);
  assert.ok((tally.get(200) ?? 0) > REQUESTS / 20, `few were let in: ${JSON.stringify([...tally])}`);
  assert.ok(grown < MAX_GROWN_KIB, `${grown} KiB more than ${before}`);
  const { body: health } = await it.client.call("GET", "/health");
  assert.ok(health.event_loop.longest_delay_ms <= MAX_DELAY_MS, JSON.stringify(health.event_loop));
  await it.client.session("after").prints("1\n", "print(1)");
});

const REPORT = {
  ...{
    type: "saved",
    version: 1,
    written: 1,
    bytes: 1,
    failed: null,
    staged: false,
    complete: false,
    background: 0,
  },
  not_kept: [{ name: "x", type: "int", reason: "r" }],
};
const DONE = { type: "done", run: "RUN", outcome: "ok", exit_code: 0, error: null, saved: null };
const KERNEL_FRAMES: readonly object[] = [
  DONE,
  {
    ...DONE,
    outcome: "raised",
    exit_code: 1,
    error: { name: "E", message: "m", traceback: "t" },
    saved: REPORT,
  },
  { ...DONE, outcome: "exited", restored: { version: 1, run: "r", result: null, not_kept: [], damage: [] } },
  { type: "saving", pid: 1 },
  { type: "shell", pid: 2 },
  REPORT,
  { type: "late", run: "RUN", stream: "stdout" },
  { type: "ready", restored: null },
];

/** Finds the name of its run and its kernel's line, as a hostile program does, and writes a frame on it. */
const forging = (frame: object) => `import os, stat, struct, sys, time
at, run = sys._getframe(), ""
while at is not None:
    header = at.f_locals.get("header")
    if type(header) is dict and "run" in header: run = header["run"]
    at = at.f_back
text = ${JSON.stringify(JSON.stringify(frame))}.replace("RUN", run).encode("utf-8", "replace")
for descriptor in range(3, 64):
    try:
        if stat.S_ISSOCK(os.fstat(descriptor).st_mode): os.write(descriptor, struct.pack(">II", len(text), 0) + text)
    except OSError: pass
time.sleep(0.02)`;

test("a frame of any form on its kernel's line costs a program its kernel at most, never its sandbox", async () => {
  const random = new Random(5);
  const told = new Map<string, number>();
  for (let at = 0; at < REQUESTS / 60; at++) {
    const frame = random.of(KERNEL_FRAMES);
    const forged = random.chance(0.2) ? frame : (random.mutated(frame) as object);
    const answer = await it.client.session("forger").run(forging(forged), { timeout: 10 });
    const end = answer.error?.name ?? answer.outcome;
    assert.notEqual(end, "SandboxLost", `${JSON.stringify(forged)}: ${answer.error?.message}`);
    told.set(end, (told.get(end) ?? 0) + 1);
  }
  assert.ok((told.get("KernelLost") ?? 0) > 10 && (told.get("ok") ?? 0) > 2, JSON.stringify([...told]));
});
