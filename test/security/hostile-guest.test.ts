/** A guest that attacks the server itself: through what the server reads, and through the agent's own protocol. */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { listFiles } from "../../src/files/list.ts";
import { GuestChannel } from "../../src/guest/channel.ts";
import { GUEST_PROTOCOL } from "../../src/protocol/guest.ts";
import { oneServer } from "../support/one-server.ts";

const it = oneServer();
let next = 0;
const newSession = () => it.client.create(`hostile-${next++}`);

test("links, FIFOs and devices in the workspace are neither followed nor waited for", async () => {
  const session = await newSession();
  await session.run(`import os, socket
os.symlink("/etc", "etc"); os.symlink("/etc/passwd", "passwd"); os.symlink("..", "up"); os.symlink("loop", "loop")
os.mkfifo("fifo"); socket.socket(socket.AF_UNIX).bind("sock")
open("real", "w").write("12345")`);
  const seen = await session.get();
  assert.deepEqual(
    [seen.file_count, seen.total_size_bytes, seen.files.map(({ path }: { path: string }) => path)],
    [1, 5, ["real"]],
  );
});

test("a folder that is swapped for a link while it is listed leads nowhere", async () => {
  const session = await newSession();
  const swapping = session.run(`import os, time
os.makedirs("a/b"); os.symlink("/", "l"); os.rename("a", "x"); end = time.time() + 2
while time.time() < end:
    os.rename("x", "a"); os.rename("a", "x"); os.rename("l", "a"); os.rename("a", "l")`);
  for (let at = 0; at < 100; at++) {
    const { files } = await session.get();
    assert.deepEqual(files, []);
  }
  await swapping;
});

test("control: walking finds what is there, and not what a link leads to", async () => {
  const root = mkdtempSync(join(tmpdir(), "era-walk-"));
  mkdirSync(join(root, "sub"));
  writeFileSync(join(root, "sub", "file"), "abc");
  symlinkSync("/etc", join(root, "link"));
  const tree = await listFiles(root, { maxListed: 10, signal: AbortSignal.timeout(10_000) });
  assert.deepEqual(
    tree.files.map(({ path, sizeBytes }) => [path, sizeBytes]),
    [["sub/file", 3]],
  );
});

test("the agent's socket takes nobody after the agent", async () => {
  const session = await newSession();
  await session.prints(
    "refused\n",
    `import socket
try:
    socket.socket(socket.AF_UNIX).connect("/run/era/agent.sock")
    print("connected")
except OSError:
    print("refused")`,
  );
});

test("a program that writes to every descriptor it has loses its own kernel at most", async () => {
  const session = await newSession();
  const junk = `import os, struct
for n in range(3, 256):
    for data in (b"junk" * 64, struct.pack(">II", 2, 0) + b"{}", struct.pack(">II", 1 << 31, 1 << 31)):
        try: os.write(n, data)
        except OSError: pass`;
  const answer = await session.run(junk);
  assert.ok(["ok", "lost"].includes(answer.outcome), answer.outcome);
  await session.prints("1\n", "print(1)");
});

test("an answer that a program forges on the kernel's line is its own loss", async () => {
  const session = await newSession();
  const forged = `import os, struct, json
reply = json.dumps({"run": "run_other", "outcome": "ok", "exit_code": 0, "error": None}).encode()
for n in range(3, 256):
    try: os.write(n, struct.pack(">II", len(reply), 0) + reply)
    except OSError: pass`;
  const answer = await session.run(forged);
  assert.equal(answer.outcome, "lost");
  await session.prints("1\n", "print(1)");
});

/** Finds the kernel's own line in the frames that called the program, and answers in its place. */
const FORGE = `import json, struct, sys
frame = sys._getframe()
while "request" not in frame.f_locals or "header" not in frame.f_locals: frame = frame.f_back
kernel, run = frame.f_locals["self"], frame.f_locals["header"]["run"]
def answer(results=b"", **fields):
    head = json.dumps({"run": run, "outcome": "ok", "exit_code": 0, "error": None, **fields}).encode()
    kernel.line.sendall(struct.pack(">II", len(head), len(results)) + head + results)
`;
const FORGED_ANSWERS: [title: string, call: string][] = [
  ["results nested without end", `answer(b'[{"main":true,"text":' + b"[" * 100000 + b"]" * 100000 + b"}]")`],
  ["results of unknown shape", `answer(b'[{"main":true,"text":"x","x":1}]')`],
  ["a million results", `answer(b"[" + b'{"main":true,"text":"x"},' * 900000 + b"null]")`],
  ["results that are no JSON", `answer(b"\\xff\\xfe")`],
  ["an exit code out of range", "answer(exit_code=300)"],
  ["an exit code that is no number", "answer(exit_code='0')"],
  ["an outcome of its own", "answer(outcome='root')"],
  ["an error without end", "answer(error={'name': 'x' * 100000, 'message': '', 'traceback': ''})"],
  ["an error of another shape", "answer(error=[1])"],
];

for (const [title, call] of FORGED_ANSWERS) {
  test(`a kernel that answers ${title} harms its own session at most`, async () => {
    const forger = await newSession();
    const other = await newSession();
    const others = Array.from({ length: 10 }, (_, at) => other.run(`print(${at})`));
    const forged = await forger.run(`${FORGE}${call}`);
    assert.ok(["ok", "lost"].includes(forged.outcome), forged.outcome);
    assert.deepEqual(forged.results, []);
    for (const { run_id } of await Promise.all(others)) {
      assert.equal((await it.client.expect(200, "GET", `/api/runs/${run_id}`)).status, "done");
    }
    assert.equal((await it.client.expect(200, "GET", `/api/runs/${forged.run_id}`)).status, "done");
    await forger.prints("1\n", "print(1)");
  });
}

test("data that would grow a hundredfold when written out does not", async () => {
  const session = await newSession();
  const startedAt = performance.now();
  for (let at = 0; at < 3; at++) {
    await session.run(
      `open("/workspace/.session_data.json", "w").write('{"a":' + "[" * 61 + ("1," * 900000)[:-1] + "]" * 61 + "}")`,
    );
    await session.prints("1\n", "print(1)");
  }
  assert.ok(performance.now() - startedAt < 10_000);
});

test("a tree that is deeper than a path may be long stands in nobody's way", async () => {
  const dig = "for i in range(1500): os.mkdir('d' * 9); os.chdir('d' * 9)\nos.chdir('/workspace')";
  const session = await it.client.create(`hostile-${next++}`, { data: { kept: 1 } });
  await session.run(
    `import os\nos.mkdir('.session_data.json.new'); os.chdir('.session_data.json.new')\n${dig}\nos.unlink('.session_data.json')`,
  );
  await session.prints("{'kept': 1}\n", "import json; print(json.load(open('.session_data.json')))");
  const forgetful = await it.client.create(`hostile-${next++}`, { persistent: false });
  await forgetful.run(`import os\n${dig}`);
  await forgetful.prints("['.session_data.json']\n", "print(os.listdir('.'))");
});

test("data that grows when it is written out again is refused whole", async () => {
  const session = await it.client.create(`hostile-${next++}`, { data: { kept: 1 } });
  const answer = await session.run(
    `open('.session_data.json', 'w').write('{"a":[' + ','.join(['1e20'] * 400000) + ']}')`,
  );
  assert.deepEqual(answer.data, { kept: 1 });
});

test("a session whose folder was closed before its sandbox ended starts again", async () => {
  const session = await newSession();
  await session.run(
    "import os\nopen('precious', 'w').write('1')\nos.chmod('/workspace', 0)\nos.chmod('/root', 0)",
  );
  const forged = await session.run(`${FORGE}answer(exit_code=9999)`);
  assert.equal(forged.outcome, "lost");
  await session.prints("1\n", "print(open('precious').read())");
});

test("a program that closes its folders to itself and dies is opened up again", async () => {
  const session = await newSession();
  await session.run("import os\nos.chmod('/workspace', 0)\nos.chmod('/root', 0)\nos.kill(os.getpid(), 9)");
  await session.prints("1\n", `open("f", "w").write("1")\nprint(open("f").read())`);
  const forgetful = await it.client.create(`hostile-${next++}`, { persistent: false });
  await forgetful.run(
    "import os\nos.makedirs('a/b')\nopen('a/b/c', 'w').close()\nos.chmod('a/b', 0)\nos.chmod('a', 0)",
  );
  await forgetful.prints("['.session_data.json']\n", "print(os.listdir('.'))");
});

/** What a forged agent says, and what the server must make of it. */
const FORGERIES: [title: string, bytes: Buffer][] = [
  ["rubbish", Buffer.from("GET / HTTP/1.1\r\n\r\n")],
  ["an oversized header", frame("x".repeat(300 << 10))],
  ["an oversized payload", Buffer.from([0, 0, 0, 2, 0xff, 0xff, 0xff, 0xff])],
  ["a header that is not JSON", frame("{nope")],
  ["a header that is no object", frame("[1]")],
  ["an unknown type", frame(`{"type":"shell"}`)],
  [
    "a field too many",
    frame(
      `{"type":"hello","protocol":${GUEST_PROTOCOL},"token":null,"epoch":1,"restored":null,"unrecorded":[],"running":null,"version":0,"extra":1}`,
    ),
  ],
  [
    "another protocol",
    frame(
      `{"type":"hello","protocol":99,"token":null,"epoch":1,"restored":null,"unrecorded":[],"running":null,"version":0}`,
    ),
  ],
  ["an end before the hello", frame(`{"type":"output","run":"r","stream":"stdout"}`)],
  [
    "a prototype",
    frame(
      `{"__proto__":{"type":"hello"},"protocol":${GUEST_PROTOCOL},"token":null,"epoch":1,"restored":null,"unrecorded":[],"running":null,"version":0}`,
    ),
  ],
];

function frame(header: string, payload = ""): Buffer {
  const bytes = Buffer.alloc(8 + header.length + payload.length);
  bytes.writeUInt32BE(Buffer.byteLength(header), 0);
  bytes.writeUInt32BE(payload.length, 4);
  bytes.write(header + payload, 8);
  return bytes;
}

const HELLO = frame(
  `{"type":"hello","protocol":${GUEST_PROTOCOL},"token":null,"epoch":1,"restored":null,"unrecorded":[],"running":null,"version":0}`,
);
const RUN = {
  name: "<run 1>",
  code: "1",
  timeoutMs: 100,
  outputBytes: 10,
  onOutput: () => undefined,
};

async function withAgent(
  work: (channel: GuestChannel, say: (bytes: Buffer) => void) => Promise<void>,
): Promise<void> {
  const path = join(mkdtempSync(join(tmpdir(), "era-agent-")), "s");
  const channel = await GuestChannel.open(path, { token: "t", orphanMs: 0, preload: [], expected: null });
  const socket = connect(path);
  socket.on("error", () => undefined);
  try {
    await work(channel, (bytes) => socket.write(bytes));
  } finally {
    channel.close(new Error("the test is over"));
    socket.destroy();
  }
}

for (const [title, bytes] of FORGERIES) {
  test(`a forged agent that says ${title} is not believed`, async () => {
    await withAgent(async (channel, say) => {
      say(bytes);
      await assert.rejects(
        channel.greeted(AbortSignal.timeout(5_000)),
        /Cannot read a frame|did not say hello/,
      );
      assert.equal(channel.isLost, true);
    });
  });
}

test("frames of a run that is not in progress, or ends that lie about their size, end the line", async () => {
  const end = `{"type":"end","run":"mine","version":1,"outcome":"ok","cause":null,"exit_code":0,"signal":null,"error":null,"elapsed_us":1,"dropped":{},"files":null,"results_bytes":99,"has_data":false,"epoch":1,"saved":null,"restored":null}`;
  for (const bytes of [
    frame(`{"type":"output","run":"other","stream":"stdout"}`, "x"),
    frame(end, "short"),
    HELLO,
  ]) {
    await withAgent(async (channel, say) => {
      say(HELLO);
      await channel.greeted(AbortSignal.timeout(5_000));
      const run = channel.run({ ...RUN, id: "mine" });
      say(bytes);
      await assert.rejects(run, /not in progress|shorter|second hello/);
    });
  }
});

test("an agent that never answers is given up at the limit, and frames in small pieces are read", async () => {
  await withAgent(async (channel, say) => {
    await assert.rejects(channel.greeted(AbortSignal.timeout(50)), /timeout/i);
    for (const byte of HELLO) say(Buffer.from([byte]));
    await channel.greeted(AbortSignal.timeout(5_000));
  });
});

test("an agent that does not end a run in time loses its line", async (context) => {
  await withAgent(async (channel, say) => {
    say(HELLO);
    await channel.greeted(AbortSignal.timeout(5_000));
    context.mock.timers.enable({ apis: ["setTimeout"] });
    const run = channel.run({ ...RUN, id: "mine" });
    context.mock.timers.tick(RUN.timeoutMs + 10_000);
    await assert.rejects(run, /did not end the run in time/);
    assert.equal(channel.isLost, true);
  });
});
