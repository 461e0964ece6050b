/**
 * A server that is short of something, under honest work and attacks at once: what may be refused is refused, nobody
 * hears of a fault, and one who only works, session by session, is answered right and soon.
 */
import assert from "node:assert/strict";
import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "./client.ts";
import { Random } from "./random.ts";
import type { TestServer } from "./server.ts";

export type Pressure = {
  /** Runs of the neighbour: all it had right, in milliseconds each. */
  neighbourMs: number[];
  /** How often each status was answered, with the code of a refusal. */
  statuses: Map<string, number>;
};

const SESSIONS = 10;
const WORKERS = 3;
const STRANGERS = 150;
const PAUSE_MS = 20;
/** What may be said to who asks for more than there is now, besides what a request did wrong. */
const REFUSALS = new Set([
  "host_exhausted",
  "no_slot",
  "sandbox_failed",
  "save_failed",
  "host_disk_full",
  "disk_full",
]);

/** Programs that take all they can get. Each ends by itself, or by its limit of time. */
const ATTACKS: readonly string[] = [
  "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
  "blocks = []\nwhile True: blocks.append(bytearray(b'x' * (8 << 20)))",
  "i = 0\nwhile True:\n    open(f'f{i}', 'wb').write(bytes(4 << 20)); i += 1",
  "i = 0\nwhile True:\n    open(f'n{i}', 'w').close(); i += 1",
  "import os\nwhile True: os.write(1, b'x' * 65536)",
  "for _ in range(300): display('y' * 100_000)",
  `import socket
held = []
for path in ("/run/era/egress.sock", "/run/era/ports.sock"):
    for _ in range(400):
        try:
            s = socket.socket(socket.AF_UNIX); s.settimeout(1); s.connect(path); held.append(s)
        except OSError: pass`,
  "import os\nfor _ in range(900):\n    os.makedirs('d' * 200, exist_ok=True); os.chdir('d' * 200)",
  "import subprocess\nkept = [subprocess.Popen(['sleep', '1000']) for _ in range(50)]",
  "import threading, time\nfor _ in range(200): threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()",
  "import os, signal\nos.kill(1, signal.SIGKILL); os.kill(os.getppid(), signal.SIGSTOP)\nwhile True: pass",
  "x = bytearray(60 << 20)",
];

export async function underPressure(server: TestServer, seconds: number): Promise<Pressure> {
  const endsAt = performance.now() + seconds * 1000;
  const isOver = () => performance.now() > endsAt || server.process.exitCode !== null;
  const pressure: Pressure = { neighbourMs: [], statuses: new Map() };
  const strangers = Array.from({ length: STRANGERS }, () => stranger(server.url));
  const workers = Array.from({ length: WORKERS }, (_, at) =>
    worker(server.client, pressure, new Random(at + 1), isOver),
  );
  await Promise.all([...workers, neighbour(server.client, pressure, isOver)]);
  for (const socket of strangers) socket.destroy();
  assert.equal(server.process.exitCode, null, server.log);
  return pressure;
}

/** Holds a connection open, and says nothing. */
function stranger(url: string): Socket {
  const { port, hostname } = new URL(url);
  const socket = connect(Number(port), hostname);
  socket.on("error", () => socket.destroy());
  return socket;
}

/** Counts: each answer that it gets is one more, unless the one before is said to be lost or rolled back. */
async function neighbour(client: Client, pressure: Pressure, isOver: () => boolean): Promise<void> {
  let counted = 0;
  while (!isOver()) {
    const startedAt = performance.now();
    const { status, body } = await client.call("POST", "/api/sessions/neighbour/run", {
      code: "n = globals().get('n', 0) + 1\nprint(n)",
      timeout: 30,
    });
    const tookMs = performance.now() - startedAt;
    if (status !== 200) count(pressure, { status, body }, "neighbour ");
    if (status === 200 && body.exit_code === 0) {
      pressure.neighbourMs.push(tookMs);
      const isTold = body.state?.rolled_back != null;
      assert.ok(isTold || Number(body.stdout) === counted + 1, `${counted}, then ${JSON.stringify(body)}`);
      counted = Number(body.stdout);
    } else assert.ok(status !== 500 && isRefusal(status, body), `${status} ${JSON.stringify(body)}`);
    await sleep(PAUSE_MS);
  }
}

async function worker(
  client: Client,
  pressure: Pressure,
  random: Random,
  isOver: () => boolean,
): Promise<void> {
  while (!isOver()) {
    const path = `/api/sessions/pressed-${random.below(SESSIONS)}`;
    const [method, target, body] = random.of(operations(path, random));
    const answer = await client.call(method, target, body);
    count(pressure, answer);
    const isFine = answer.status < 500 || isRefusal(answer.status, answer.body);
    assert.ok(
      isFine,
      `${method} ${target} ${JSON.stringify(body)?.slice(0, 300)}: ${answer.status} ${JSON.stringify(answer.body)}`,
    );
  }
}

function count(
  { statuses }: Pressure,
  { status, body }: { status: number; body: { code?: string } | null },
  who = "",
): void {
  const name = `${who}${status}${body?.code === undefined ? "" : ` ${body.code}`}`;
  statuses.set(name, (statuses.get(name) ?? 0) + 1);
}

/** A run that was lost with its sandbox is an answer; a refusal says by its code that something is short. */
const isRefusal = (status: number, body: { code?: string; outcome?: string } | null) =>
  status === 200 ||
  (status >= 500 && status !== 500 && REFUSALS.has(body?.code ?? "")) ||
  (status >= 400 && status < 500);

function operations(path: string, random: Random): readonly (readonly [string, string, unknown?])[] {
  const run = (code: string, fields: object = {}) =>
    ["POST", `${path}/run`, { code, timeout: 2, ...fields }] as const;
  return [
    run("x = globals().get('x', 0) + 1; open('f', 'w').write(str(x)); print(x)"),
    run("import math; [math.sqrt(n) for n in range(100_000)]"),
    run(random.of(ATTACKS)),
    run(random.of(ATTACKS)),
    ["POST", "/api/execute", { code: "print(1)", language: "python" }],
    ["POST", "/api/execute", { code: random.of(ATTACKS), language: "python", timeout: 1 }],
    ["PUT", `${path}/files/a/b.txt`, "x".repeat(random.below(200_000))],
    ["GET", `${path}/files`],
    ["GET", `${path}`],
    ["GET", `${path}/variables`],
    ["POST", `${path}/hibernate`],
    ["POST", `${path}/duplicate`, { new_id: `pressed-${random.below(SESSIONS)}` }],
    ["DELETE", path],
    ["GET", "/api/sessions"],
  ];
}
