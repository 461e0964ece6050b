/** Terminals over WebSockets, with the client that Node and browsers have. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { test } from "node:test";
import { summarise } from "../../bench/statistics.ts";
import { measureYardstick } from "../../bench/yardstick.ts";
import type { SessionClient } from "../support/client.ts";
import { oneServer } from "../support/one-server.ts";
import { until } from "../support/server.ts";

const NOMINAL_MS = 0.2;
const ECHO_P50_MS = 5;
const it = oneServer({ ERA_POOL: "python=1" });

type Message = { type: string } & Record<string, unknown>;

class Terminal {
  readonly socket: WebSocket;
  text = "";
  bytes = 0;
  readonly messages: Message[] = [];

  constructor(path: string, protocols: string[] = ["era"]) {
    this.socket = new WebSocket(`${it.server.url.replace("http", "ws")}${path}`, protocols);
    this.socket.binaryType = "arraybuffer";
    const decoder = new TextDecoder();
    this.socket.addEventListener("message", ({ data }) => {
      if (typeof data === "string") this.messages.push(JSON.parse(data));
      else {
        this.bytes += data.byteLength;
        this.text += decoder.decode(data, { stream: true });
      }
    });
  }

  async opened(): Promise<this> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.socket.addEventListener("open", () => resolve());
    this.socket.addEventListener("error", () => reject(new Error("it was refused")));
    await promise;
    return this;
  }

  type(text: string): void {
    this.socket.send(Buffer.from(text));
  }

  tell(message: object): void {
    this.socket.send(JSON.stringify(message));
  }

  prints(text: string): Promise<void> {
    return until(`it prints ${JSON.stringify(text)}`, () => this.text.includes(text));
  }

  async closed(): Promise<number> {
    if (this.socket.readyState === WebSocket.CLOSED) return 0;
    const [event] = (await once(this.socket, "close")) as [CloseEvent];
    return event.code;
  }
}

async function shell(session: SessionClient): Promise<string> {
  const fields = { argv: ["bash", "--norc", "-i"], terminal: { columns: 90, rows: 20 }, env: { PS1: "$ " } };
  const url = `${session.path}/processes`;
  const { process_id } = await session.client.expect(201, "POST", url, fields);
  return `${url}/${process_id}`;
}

test("a shell is typed into, resized and left, and says how it has ended", async () => {
  const session = await it.client.create("shell");
  const path = await shell(session);
  const terminal = await new Terminal(`${path}/terminal`).opened();
  terminal.type("stty size\r");
  await terminal.prints("20 90");
  terminal.tell({ type: "resize", columns: 120, rows: 40 });
  terminal.type("stty size; echo \u00e4\u6f22\r");
  await terminal.prints("40 120");
  await terminal.prints("\u00e4\u6f22\r\n");
  const second = await new Terminal(`${path}/terminal`).opened();
  await second.prints("40 120");
  second.type("exit 4\r");
  await until("the first is told", () => terminal.messages.some(({ type }) => type === "exit"));
  const [begin, exit] = terminal.messages;
  assert.deepEqual([begin?.type, begin?.place], ["begin", 0]);
  assert.equal((exit?.process as Message).exit_code, 4);
  assert.equal(terminal.text, second.text);
});

test("a client that comes back goes on where it was, and hears what is gone", async () => {
  const session = await it.client.create("back");
  const path = await shell(session);
  const first = await new Terminal(`${path}/terminal`).opened();
  first.type("echo $((40 + 2))\r");
  await first.prints("42\r\n");
  first.socket.close();
  const back = await new Terminal(`${path}/terminal?after=${first.bytes}`).opened();
  back.type("echo $((50 + 3))\r");
  await back.prints("53\r\n");
  assert.ok(!back.text.includes("42\r\n"), back.text);
  back.type("head -c 3000000 /dev/zero | tr '\\0' x; echo; echo o''ver\r");
  await back.prints("over\r\n");
  const late = await new Terminal(`${path}/terminal`).opened();
  await late.prints("over\r\n");
  assert.equal(late.messages[1]?.type, "gap");
  assert.ok(Number(late.messages[1]?.missed_bytes) > 1_900_000);
});

test("who may not, or says nonsense, is refused; who reads nothing holds up nobody", async () => {
  const session = await it.client.create("refused");
  const path = await shell(session);
  for (const wrong of [
    `${session.path}/processes/proc_none/terminal`,
    "/api/sessions/none/processes/x/terminal",
  ])
    await assert.rejects(new Terminal(wrong).opened());
  const { key } = await it.client.expect(201, "POST", "/api/keys", { name: "reader", scope: "read" });
  const other = await it.client.expect(201, "POST", "/api/keys", { name: "other" });
  for (const text of [key, other.key, "era_kaaaaaaaa_wrong"])
    await assert.rejects(new Terminal(`${path}/terminal`, ["era", `era.key.${text}`]).opened());
  const nonsense = await new Terminal(`${path}/terminal`).opened();
  nonsense.tell({ type: "resize", columns: -1, rows: 1 });
  await until("it is told", () => nonsense.messages.some(({ type }) => type === "error"));
  const deaf = connect(Number(new URL(it.server.url).port), "127.0.0.1");
  deaf.write(
    `GET ${path}/terminal HTTP/1.1\r\nhost: localhost\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`,
  );
  deaf.pause();
  const busy = await new Terminal(`${path}/terminal`).opened();
  busy.type("head -c 30000000 /dev/zero | tr '\\0' x; echo; echo d''one\r");
  await busy.prints("done\r\n");
  deaf.destroy();
  await session.prints("1\n", "print(1)");
});

test("a large paste waits until it is read", async () => {
  const session = await it.client.create("paste");
  const { process_id } = await it.client.expect(201, "POST", `${session.path}/processes`, {
    command: "sleep 1; wc -c",
  });
  const terminal = await new Terminal(`${session.path}/processes/${process_id}/terminal`).opened();
  for (let at = 0; at < 4; at++) terminal.type("x".repeat(1 << 20));
  terminal.tell({ type: "end" });
  await terminal.prints(`${4 << 20}\n`);
});

test("a key's holder types by it, as a browser sends it", async () => {
  const { key } = await it.client.expect(201, "POST", "/api/keys", { name: "typist" });
  const headers = { authorization: `Bearer ${key}` };
  const fields = { command: "read a; echo got $a", terminal: true };
  const { body } = await it.client.call("POST", "/api/sessions/mine/processes", fields, headers);
  const path = `/api/sessions/mine/processes/${body.process_id}/terminal`;
  const terminal = await new Terminal(path, ["era", `era.key.${key}`]).opened();
  assert.equal(terminal.socket.protocol, "era");
  terminal.type("it\r");
  await terminal.prints("got it");
});

test("what is typed is back soon", async (t) => {
  const slowness = Math.max(1, (await measureYardstick()) / NOMINAL_MS);
  const session = await it.client.create("echo");
  const { process_id } = await it.client.expect(201, "POST", `${session.path}/processes`, {
    argv: ["cat"],
    terminal: true,
  });
  const terminal = await new Terminal(`${session.path}/processes/${process_id}/terminal`).opened();
  const times: number[] = [];
  for (let at = 0; at < 300; at++) {
    const heard = once(terminal.socket, "message");
    const startedAt = performance.now();
    terminal.type("x");
    await heard;
    times.push(performance.now() - startedAt);
  }
  const figures = summarise(times);
  t.diagnostic(JSON.stringify(figures));
  assert.ok(figures.p50 <= ECHO_P50_MS * slowness, JSON.stringify(figures));
});
