/** Programs beside the runs: their output by places, input, terminals, signals, and what becomes of them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Body, SessionClient } from "../support/client.ts";
import { readEvents } from "../support/events.ts";
import { oneServer } from "../support/one-server.ts";
import { Screen } from "../support/screen.ts";
import { TestServer, until } from "../support/server.ts";

const it = oneServer({ ERA_POOL: "python=1" });

/** Prints how many programs of this name there are. */
const SLEEPERS =
  "import subprocess; print(subprocess.run(['pgrep', '-c', 'sleep'], capture_output=True, text=True).stdout.strip())";
type Fields = Record<string, unknown>;

class Process {
  readonly session: SessionClient;
  readonly path: string;
  readonly id: string;

  constructor(session: SessionClient, { process_id }: Body) {
    this.session = session;
    this.id = process_id;
    this.path = `${session.path}/processes/${process_id}`;
  }

  call(status: number, method: string, path = "", body?: Fields): Promise<Body> {
    return this.session.client.expect(status, method, this.path + path, body);
  }

  type(text: string, end = false): Promise<Body> {
    return this.call(200, "POST", "/stdin", { text, end });
  }

  async *events(query = "", headers: Record<string, string> = {}) {
    const response = await fetch(`${this.session.client.url}${this.path}/output${query}`, { headers });
    assert.equal(response.status, 200);
    yield* readEvents(response);
  }

  /** All that it prints until a text is there, or until it ends. */
  async prints(until: string | null = null): Promise<string> {
    let text = "";
    for await (const { event, data } of this.events()) {
      if (event === "exit") return text;
      text += data.content ?? "";
      if (until !== null && text.includes(until)) return text;
    }
    throw new Error(`it never ended: ${text}`);
  }
}

async function start(session: SessionClient, fields: Fields): Promise<Process> {
  const url = `${session.path}/processes`;
  return new Process(session, await session.client.expect(201, "POST", url, fields));
}

test("a program goes on beside runs, in the same files, and says how it has ended", async () => {
  const session = await it.client.create("beside");
  const server = await start(session, { command: "exec python3 -m http.server 8000" });
  await session.prints("1\n", "open('page', 'w').write('hello'); print(1)");
  await until(
    "it serves",
    async () => (await fetch(`${it.server.url}/proxy/beside/8000/page`)).status === 200,
  );
  const slow = session.run("import time; time.sleep(1.5); print('slept')");
  const meanwhile = await start(session, {
    command: "echo out; echo err >&2; echo $NAME; exit 3",
    env: { NAME: "n" },
  });
  const ended = await meanwhile.call(200, "GET", "?wait=5");
  assert.deepEqual([ended.status, ended.exit_code, ended.output_to], ["ended", 3, 10]);
  const events = await Array.fromAsync(meanwhile.events());
  const of = (name: string) =>
    events
      .filter(({ event }) => event === name)
      .map(({ data }) => data.content)
      .join("");
  assert.deepEqual([of("stdout"), of("stderr"), events.at(-1)?.event], ["out\nn\n", "err\n", "exit"]);
  assert.equal((await slow).stdout, "slept\n", "it did not wait for the run, nor the run for it");
  const { processes } = await it.client.expect(200, "GET", `${session.path}/processes`);
  assert.deepEqual(
    processes.map(({ status }: Body) => status),
    ["running", "ended"],
  );
  await server.call(200, "POST", "/signal", { signal: "TERM" });
  assert.equal((await server.call(200, "GET", "?wait=5")).exit_code, 143);
  await server.call(409, "POST", "/signal", { signal: "TERM" });
  await server.call(200, "DELETE");
  await server.call(404, "GET");
});

test("a run that is ended for its time leaves it alone, with what it has started", async () => {
  const session = await it.client.create("spared");
  const slow = session.run("import subprocess\nsubprocess.run(['sleep', '50'])", { timeout: 1.5 });
  const started = await start(session, { command: "sleep 100 & echo begun; wait" });
  await started.prints("begun");
  assert.equal((await slow).exit_code, 124);
  assert.equal((await started.call(200, "GET")).status, "running");
  await session.prints("1\n", SLEEPERS);
  await started.call(200, "DELETE");
  await until("all of it is gone", async () => (await session.run(SLEEPERS)).stdout === "0\n");
});

test("input is given bit by bit, and ended; what is not read is bounded", async () => {
  const session = await it.client.create("input");
  const sort = await start(session, { argv: ["sort", "-r"] });
  await sort.type("a\nb\n");
  await sort.call(200, "POST", "/stdin", { base64: Buffer.from("c\n").toString("base64"), end: true });
  assert.equal(await sort.prints(), "c\nb\na\n");
  await sort.call(409, "POST", "/stdin", { text: "x" });
  const deaf = await start(session, { command: "sleep 100" });
  const part = "x".repeat(1 << 19);
  const answers: number[] = [];
  for (let at = 0; at < 5; at++)
    answers.push((await it.client.call("POST", `${deaf.path}/stdin`, { text: part })).status);
  assert.deepEqual([answers[0], answers.at(-1)], [200, 429]);
  await deaf.call(200, "DELETE");
});

test("a terminal: what is typed is echoed, keys are signals, its size is known and changes", async () => {
  const session = await it.client.create("terminal");
  const shell = await start(session, {
    argv: ["bash", "--norc", "-i"],
    terminal: { columns: 100, rows: 30 },
    env: { PS1: "$ " },
  });
  await shell.type("stty size; tty; echo $TERM\r");
  assert.match(await shell.prints("xterm-256color"), /30 100\r\n\/dev\/pts\/\d+\r\nxterm-256color/);
  await shell.call(200, "POST", "/resize", { columns: 132, rows: 43 });
  await shell.type("stty size\r");
  await shell.prints("43 132");
  await shell.type("sleep 100\r");
  await until("it sleeps", async () => (await session.run(SLEEPERS)).stdout === "1\n");
  await shell.type("\u0003");
  await shell.type("echo $((6 * 7))\r");
  await shell.prints("42");
  await shell.type("exit 5\r");
  assert.equal((await shell.call(200, "GET", "?wait=5")).exit_code, 5);
  const piped = await start(session, { command: "sleep 100" });
  assert.equal((await piped.call(409, "POST", "/resize", { columns: 1, rows: 1 })).code, "no_terminal");
  await piped.call(200, "DELETE");
});

test("a terminal program is drawn right: cursor, screen and keys of an editor", async () => {
  const session = await it.client.create("editor");
  await session.run("open('notes.txt', 'w').write('one\\ntwo\\n')");
  const code = `import curses
def main(screen):
    curses.curs_set(0); height, width = screen.getmaxyx()
    screen.addstr(0, 0, f"size {height}x{width}"); screen.addstr(height - 1, 5, "bottom", curses.A_REVERSE); screen.refresh()
    key = screen.getch(); screen.addstr(2, 3, f"key {key == curses.KEY_UP}"); screen.refresh(); screen.getch()
curses.wrapper(main)`;
  const program = await start(session, {
    argv: ["python3", "-c", code],
    terminal: { columns: 40, rows: 10 },
  });
  const screen = new Screen(40, 10);
  const keys = [
    { key: "\u001bOA", when: () => screen.line(9).includes("bottom") },
    { key: "q", when: () => screen.line(2).includes("key") },
  ];
  for await (const { event, data } of program.events()) {
    if (event === "exit") break;
    screen.write(String(data.content));
    if (keys[0]?.when()) await program.type(keys.shift()?.key ?? "");
  }
  assert.equal(screen.seen[0], "size 10x40");
  assert.equal(screen.seen[9], "     bottom");
  assert.equal(screen.seen[2], "   key True");
});

test("output has places: a reader comes back, or late, and is told of what is gone", async () => {
  const session = await it.client.create("places");
  const program = await start(session, {
    command: "seq 5; sleep 0.3; seq 6 9; head -c 3000000 /dev/zero | tr '\\0' x; echo end",
  });
  let place = "";
  for await (const { id, data } of program.events()) {
    assert.equal(data.content, "1\n2\n3\n4\n5\n");
    place = id ?? "";
    break;
  }
  await program.call(200, "GET", "?wait=10");
  const rest = await Array.fromAsync(program.events("", { "last-event-id": place }));
  assert.equal(rest[0]?.event, "gap");
  assert.ok(Number(rest[0]?.data.missed_bytes) > 1_900_000);
  const kept = rest
    .filter(({ event }) => event === "stdout")
    .map(({ data }) => data.content)
    .join("");
  assert.ok(kept.length <= 1 << 20 && kept.endsWith("xend\n"), String(kept.length));
  const state = await program.call(200, "GET");
  const tail = await Array.fromAsync(program.events(`?after=${state.output_to - 4}&follow=false`));
  assert.deepEqual(
    tail.map(({ event, data }) => data.content ?? event),
    ["end\n", "exit"],
  );
  assert.deepEqual(
    await Array.fromAsync(program.events(`?after=${state.output_to}&follow=false`)).then((all) => all.length),
    1,
  );
});

test("what cannot be started is refused, and how many there are is bounded", async () => {
  const session = await it.client.create("refused");
  const url = `${session.path}/processes`;
  const refuse = async (status: number, fields: Fields) =>
    (await it.client.expect(status, "POST", url, fields)).error;
  assert.match(await refuse(422, { argv: ["/no/such"] }), /No such file/);
  assert.match(await refuse(422, { command: "true", cwd: "/no/such" }), /No such file/);
  assert.match(await refuse(400, {}), /'command'/);
  assert.match(await refuse(400, { command: "a", argv: ["b"] }), /'command'/);
  assert.match(await refuse(400, { command: "a", terminal: { columns: 0, rows: 1 } }), /columns/);
  assert.match(await refuse(400, { command: "a\0b" }), /NUL/);
  for (let at = 0; at < 32; at++) await it.client.expect(201, "POST", url, { command: "sleep 100" });
  assert.equal((await it.client.expect(429, "POST", url, { command: "true" })).code, "too_many_processes");
  const { processes } = await it.client.expect(200, "GET", url);
  for (const { process_id } of processes) await it.client.expect(200, "DELETE", `${url}/${process_id}`);
  await until(
    "all are gone",
    async () =>
      (await session.run("import os; print(sum(n.isdigit() for n in os.listdir('/proc')))")).stdout.trim() ===
      "2",
  );
});

test("a thousand are started and end, and leave nothing", { timeout: 120_000 }, async () => {
  const session = await it.client.create("thousand");
  const url = `${session.path}/processes`;
  const one = async () => {
    const { process_id } = await it.client.expect(201, "POST", url, { command: "echo x" });
    await it.client.expect(200, "GET", `${url}/${process_id}?wait=20`);
    await it.client.expect(200, "DELETE", `${url}/${process_id}`);
  };
  for (let at = 0; at < 125; at++) await Promise.all(Array.from({ length: 8 }, one));
  assert.equal((await it.client.expect(200, "GET", url)).count, 0);
  await session.prints("2\n", "import os; print(sum(n.isdigit() for n in os.listdir('/proc')))");
  const { stdout } = await session.run("print(len(os.listdir('/proc/self/fd')))");
  assert.ok(Number(stdout) < 12, stdout);
});

test(
  "one outlives two kills of the server, with its output and its terminal",
  { timeout: 60_000 },
  async () => {
    let server = await TestServer.start({ ERA_POOL: "python=1" });
    const session = await server.client.create("outlives", { imaging: "never" });
    await session.run("x = 1");
    const ticks = await start(session, { command: "for n in $(seq 1000); do echo tick $n; sleep 0.1; done" });
    const shell = await start(session, { argv: ["bash", "--norc", "-i"], terminal: true });
    await shell.type("here=kept\r");
    for (let round = 0; round < 2; round++) {
      await ticks.prints(`tick ${3 + 5 * round}\n`);
      await server.kill();
      server = await TestServer.start({ ERA_POOL: "python=1" }, server.dataDir);
      session.client.url = server.url;
    }
    assert.match(await ticks.prints("tick 20\n"), /^tick 1\ntick 2\n/);
    await shell.type("echo $here$here\r");
    await shell.prints("keptkept");
    await session.hibernate();
    const { processes } = await server.client.expect(200, "GET", `${session.path}/processes`);
    assert.deepEqual(processes, [], "they end with the sandbox");
    await ticks.call(404, "GET");
    await session.prints("1\n", "print(x)");
    await server.stop();
    await server.removeData();
  },
);

test("one goes on after sleep where processes are kept, with what it has printed", async () => {
  const session = await it.client.create("kept", { imaging: "always" });
  const { supported, detail } = (await session.get()).state.imaging;
  assert.equal(supported, true, detail);
  const program = await start(session, {
    command: "n=0; while read line; do n=$((n + 1)); echo $n $line; done",
  });
  await program.type("one\n");
  await program.prints("1 one\n");
  const shell = await start(session, { argv: ["bash", "--norc", "-i"], terminal: true });
  await shell.type("here=kept\r");
  const { image, lost } = (await session.hibernate()).state.imaging;
  assert.ok(image !== null, lost);
  await program.type("two\n");
  assert.match(await program.prints("2 two\n"), /^1 one\n2 two\n/);
  await shell.type("echo $here$here\r");
  await shell.prints("keptkept");
  await program.call(200, "POST", "/stdin", { end: true });
  assert.equal((await program.call(200, "GET", "?wait=5")).exit_code, 0);
  await shell.call(200, "DELETE");
});

test("a program that writes a few bytes at a time is read as one that writes many", async () => {
  const session = await it.client.create("small-writes");
  const code = "import os\nfor n in range(150_000): os.write(1, b'%09d\\n' % n)\nos.write(2, b'end')";
  const program = await start(session, { argv: ["python3", "-c", code] });
  assert.equal((await program.call(200, "GET", "?wait=60")).status, "ended");
  const startedAt = performance.now();
  const events = await Array.fromAsync(program.events());
  assert.ok(performance.now() - startedAt < 2_000);
  const text = events
    .filter(({ event }) => event === "stdout")
    .map(({ data }) => data.content)
    .join("");
  assert.ok(text.length > 900_000 && text.endsWith("000149999\n"), String(text.length));
  assert.ok(events.length < 100, `${events.length} parts`);
  const mixed = "import os\nfor n in range(100_000): os.write(1 + n % 2, b'x')";
  const other = await start(session, { argv: ["python3", "-c", mixed] });
  await other.call(200, "GET", "?wait=60");
  const { memory_bytes } = (await session.get()).usage;
  assert.ok(memory_bytes < 60e6, String(memory_bytes));
});

test("a character that comes in two parts is one, also for a reader that comes back between them", async () => {
  const session = await it.client.create("characters");
  const program = await start(session, {
    command: "printf 'caf\\303'; read x; printf '\\251 ok\\n'; printf '\\342\\202'",
  });
  let place = "";
  for await (const { id, data } of program.events()) {
    assert.equal(data.content, "caf");
    place = id;
    break;
  }
  await program.type("\n");
  await program.call(200, "GET", "?wait=10");
  const rest = await Array.fromAsync(program.events("", { "last-event-id": place }));
  assert.equal(rest.map(({ data }) => data.content ?? "").join(""), "\u00e9 ok\n\ufffd");
});

test("more readers than there may be are refused, and those that there are go on", async () => {
  const session = await it.client.create("readers");
  const program = await start(session, { command: "read line; echo got $line" });
  const readers = Array.from({ length: 270 }, () => program.prints().catch((error: Error) => error.message));
  await until("all are there", async () => (await it.client.call("GET", "/health")).status === 200);
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  await program.type("it\n");
  const told = await Promise.all(readers);
  assert.ok(told.filter((text) => text === "got it\n").length >= 250, JSON.stringify(told.slice(0, 3)));
});

test("who waits hears when the session falls asleep, and goes on when it is copied", async () => {
  const session = await it.client.create("waited-for", { imaging: "always" });
  const program = await start(session, { command: "read line; exit 7" });
  const waits = () => it.client.call("GET", `${program.path}?wait=20`);
  const first = waits();
  await it.client.expect(201, "POST", `${session.path}/duplicate`, { new_id: "copied-beside" });
  await program.type("\n");
  assert.equal((await first).body.exit_code, 7, "the copy has its own");
  const other = await start(session, { command: "sleep 100" });
  const second = it.client.call("GET", `${other.path}?wait=20`);
  await new Promise((resolve) => setTimeout(resolve, 200));
  await session.hibernate();
  assert.deepEqual([(await second).status, (await second).body.code], [409, "session_asleep"]);
  await other.call(200, "DELETE");
});

test("a program that is stopped before it begins is refused, and holds up nothing", async () => {
  const session = await it.client.create("stopped");
  await session.run(`import threading, os, signal, time
known = set(os.listdir("/proc"))
def stop():
    until = time.time() + 6
    while time.time() < until:
        for name in os.listdir("/proc"):
            if name.isdigit() and name not in known:
                try: os.kill(int(name), signal.SIGSTOP)
                except OSError: pass
threading.Thread(target=stop, daemon=True).start()`);
  for (let at = 0; at < 2; at++) {
    const { status } = await it.client.call("POST", `${session.path}/processes`, { command: "true" });
    assert.ok([201, 422].includes(status), String(status));
  }
  await session.prints("1\n", "print(1)");
  await session.delete(); // its saves were stopped, too
});

test("an unknown id makes a session, and what starts one that sleeps wakes it", async () => {
  const made = it.client.session("made-by-process");
  const first = await start(made, { command: "echo made", language: "node" });
  assert.equal(await first.prints(), "made\n");
  await made.prints("1\n", "console.log(1)");
  await made.hibernate();
  const second = await start(made, { command: "pwd" });
  assert.equal(await second.prints(), "/workspace\n");
});
