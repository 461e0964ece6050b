/** However a program ends, its run has a defined result and its session goes on. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { oneServer } from "../support/one-server.ts";
import { until } from "../support/server.ts";

const it = oneServer();
let next = 0;
const session = () => it.client.create(`outcomes-${next++}`);

const ENDINGS: [title: string, code: string, exitCode: number, outcome: string][] = [
  ["reaches its end", "x = 1", 0, "ok"],
  ["calls exit(3)", "exit(3)", 3, "exited"],
  ["calls sys.exit()", "import sys; sys.exit()", 0, "exited"],
  ["calls sys.exit with a large number", "import sys; sys.exit(257)", 1, "exited"],
  ["raises", "1 / 0", 1, "raised"],
  ["is no Python", "def f(:", 1, "raised"],
  ["calls os._exit(7)", "import os; os._exit(7)", 7, "exited"],
  ["crashes", "import ctypes; ctypes.string_at(0)", 139, "signalled"],
  ["kills itself", "import os; os.kill(os.getpid(), 9)", 137, "signalled"],
  ["aborts", "import os; os.abort()", 134, "signalled"],
  ["closes all its descriptors", "import os; os.closerange(0, 1024)", 1, "lost"],
];

for (const [title, code, exitCode, outcome] of ENDINGS) {
  test(`a program that ${title} ends with ${exitCode} (${outcome}), and the next one runs`, async () => {
    const it = await session();
    const answer = await it.run(code);
    assert.deepEqual([answer.exit_code, answer.outcome], [exitCode, outcome]);
    await it.prints("still here\n", `print("still here")`);
  });
}

test("variables survive every ending; that of the interpreter takes them back to before the run, and says so", async () => {
  const it = await session();
  await it.prints("", "x = 1");
  for (const code of [
    "exit(1)",
    "raise ValueError(x)",
    "def f(:",
    "import time\nwhile True: time.sleep(1)",
  ]) {
    const answer = await it.run(code, { timeout: 0.3 });
    assert.equal(answer.state.rolled_back, null);
    await it.prints("1\n", "print(x)");
  }
  const lost = await it.run("import os; x = 2; os._exit(0)");
  assert.match(lost.state.rolled_back.reason, /exit status 0/);
  assert.equal(lost.state.rolled_back.version, lost.state.version - 1);
  const next = await it.prints("1\n", "print(x)");
  assert.equal(next.state.rolled_back, null);
});

test("a traceback shows the program's frames and not the kernel's", async () => {
  const it = await session();
  await it.prints("", "def inner():\n    raise ValueError('deep')");
  const answer = await it.run(
    "try:\n    inner()\nexcept ValueError as e:\n    raise KeyError('outer') from e",
  );
  assert.match(answer.stderr, /File "<run 1>", line 2, in inner\n {4}raise ValueError\('deep'\)/);
  assert.match(answer.stderr, /File "<run 2>", line 4, in <module>/);
  assert.doesNotMatch(answer.stderr, /opt\/era/);
  assert.deepEqual([answer.error.name, answer.error.message], ["KeyError", "'outer'"]);
  assert.equal(answer.error.traceback, answer.stderr);
});

test("an exception with a very long text that is not ASCII leaves the session as it was", async () => {
  const it = await session();
  await it.prints("", "x = 1");
  for (const text of ["'\\u00e9' * 70000", "'\\U0001f600' * 70000", "type('N' * 5000, (Exception,), {})"]) {
    assert.equal(
      (await it.run(`e = ${text}\nraise e if isinstance(e, type) else ValueError(e)`)).exit_code,
      1,
    );
  }
  await it.prints("1\n", "print(x)");
});

test("sys.exit with a text prints it and ends with 1", async () => {
  const answer = await (await session()).run(`import sys; sys.exit("no way")`);
  assert.deepEqual([answer.exit_code, answer.stderr], [1, "no way\n"]);
});

const ENDLESS: [title: string, code: string][] = [
  ["loops", "while True: pass"],
  ["sleeps", "import time; time.sleep(100)"],
  [
    "catches every exception",
    "import time\nwhile True:\n    try: time.sleep(0.01)\n    except BaseException: pass",
  ],
  ["ignores signals", "import signal\nfor s in (2, 15): signal.signal(s, signal.SIG_IGN)\nwhile True: pass"],
  ["waits for a child", "import subprocess; subprocess.run(['sleep', '100'])"],
  ["waits in a shell", "import os; os.system('sleep 100')"],
  [
    "waits for a thread",
    "import threading, time; t = threading.Thread(target=time.sleep, args=(100,)); t.start(); t.join()",
  ],
  ["is stuck in a regular expression", "import re; re.match(r'(a+)+$', 'a' * 40 + 'b')"],
  ["awaits", "import asyncio; await asyncio.sleep(100)"],
];

for (const [title, code] of ENDLESS) {
  test(`a program that ${title} is stopped at its limit, with everything that it started`, async () => {
    const it = await session();
    const startedAt = performance.now();
    const answer = await it.run(code, { timeout: 0.5 });
    assert.deepEqual([answer.exit_code, answer.outcome], [124, "timed_out"]);
    assert.ok(performance.now() - startedAt < 4_000);
    await it.prints(
      "0\n",
      `import subprocess; print(subprocess.run("pgrep -c sleep", shell=True, capture_output=True, text=True).stdout.strip())`,
    );
  });
}

test("a program with a handler for SIGTERM may save its progress before it is stopped", async () => {
  const it = await session();
  const answer = await it.run(
    `import signal, sys, time\ndef save(*_):\n    open("progress", "w").write("half")\n    sys.exit(0)\nsignal.signal(signal.SIGTERM, save)\ntime.sleep(100)`,
    { timeout: 0.5 },
  );
  assert.equal(answer.exit_code, 124);
  await it.prints("half\n", `print(open("progress").read())`);
});

test("a program that needs more memory than it may have is ended, and only it", async () => {
  const it = await it_with({ memory_mib: 128 });
  const answer = await it.run("x = bytearray(1 << 30)\nfor i in range(0, len(x), 4096): x[i] = 1");
  assert.deepEqual([answer.exit_code, answer.outcome], [137, "out_of_memory"]);
  await it.prints("fine\n", `print("fine")`);
});

async function it_with(fields: object) {
  return it.client.create(`outcomes-${next++}`, fields);
}

test("a run tells the processor time and the memory of all its processes, and nothing of the runs before it", async () => {
  const session = await it.client.create("measured");
  const large = await session.run("import subprocess\nb = bytearray(150 << 20)\ndel b");
  assert.ok(large.memory_peak_bytes > 150 << 20, String(large.memory_peak_bytes));
  const small = await session.run("1");
  assert.ok(
    small.memory_peak_bytes > 1 << 20 && small.memory_peak_bytes < 100 << 20,
    String(small.memory_peak_bytes),
  );
  const busy =
    "end = __import__('time').process_time() + 0.3\nwhile __import__('time').process_time() < end: pass";
  const child = await session.run(`subprocess.run(["python3", "-c", ${JSON.stringify(busy)}])`);
  assert.ok(child.cpu_time_ms >= 300 && child.cpu_time_ms < 3_000, String(child.cpu_time_ms));
  const idle = await session.run("import time; time.sleep(0.3)");
  assert.ok(idle.cpu_time_ms < 200, String(idle.cpu_time_ms));
  const record = await it.client.expect(200, "GET", `/api/runs/${child.run_id}`);
  assert.deepEqual(
    [record.cpu_time_ms, record.memory_peak_bytes],
    [child.cpu_time_ms, child.memory_peak_bytes],
  );
  const alone = await it.client.execute("b = bytearray(120 << 20)", { language: "python" });
  assert.ok(alone.memory_peak_bytes > 120 << 20 && alone.cpu_time_ms > 0);
});

test("a forked child that comes to the program's end just ends", async () => {
  const it = await session();
  await it.prints("True\n", "import os\npid = os.fork()\nif pid:\n    print(os.waitpid(pid, 0)[1] == 0)");
  await it.prints("2\n", "print(1 + 1)");
});

test("a program that replaces builtins changes its session, not the kernel", async () => {
  const it = await session();
  await it.prints(
    "",
    "import builtins, os, sys\nfor name in ('len', 'open', 'compile', 'eval', 'isinstance', 'type', 'repr', 'print'):\n    setattr(builtins, name, None)\nos.write = os.dup2 = os.close = None\nsys.stdout = sys.stderr = None",
  );
  const answer = await it.run("import sys\nsys.stdout.write('ok')\n[1]");
  assert.deepEqual([answer.stdout, answer.results[0]?.text], ["ok", "[1]"]);
});

test("a thread goes on after its run, and the session can still be used", async () => {
  const it = await session();
  await it.prints(
    "",
    "import threading, time\ncount = 0\ndef work():\n    global count\n    while True:\n        count += 1\n        time.sleep(0.001)\nthreading.Thread(target=work, daemon=True).start()",
  );
  await it.prints("True\n", "before = count\ntime.sleep(0.1)\nprint(count > before)");
});

test("top-level await works, on one event loop for the session", async () => {
  const it = await session();
  await it.prints(
    "",
    "import asyncio\nasync def double(x):\n    await asyncio.sleep(0.01)\n    return 2 * x\ntask = asyncio.ensure_future(double(4)) if False else None",
  );
  const answer = await it.run(
    "queue = asyncio.Queue()\nawait queue.put(await double(21))\nawait queue.get()",
  );
  assert.deepEqual([answer.results[0]?.text, answer.stderr], ["42", ""]);
  await it.prints("7\n", "print(asyncio.run(asyncio.sleep(0, 7)))");
});

test("a program that makes a folder of its data, closes its output, or is rolled back again and again keeps its session", async () => {
  const session = await it.client.create("odd");
  await session.prints(
    "",
    'import os\nos.unlink(".session_data.json"); os.mkdir(".session_data.json")\nx = 1',
  );
  await session.prints("1\n", "print(x)");
  await until("it is saved", async () => (await session.get()).state.saved_version === 2);
  for (let time = 0; time < 12; time++)
    await it.client.expect(200, "POST", `${session.path}/rollback`, { version: 2 });
  await session.prints("1\n", "print(x)");
  const node = await it.client.create("odd-node", { language: "node" });
  await node.run("let x = 1; require('fs').closeSync(1)");
  assert.equal((await node.run("x")).results[0]?.text, "1");
});

test("what a save takes is not the next program's time", async () => {
  const large: [string, string, string][] = [
    ["node", "kept = Buffer.alloc(128 << 20, 7)", "0"],
    ["bash", `kept=$(head -c 64M /dev/zero | tr '\\0' a)`, ":"],
  ];
  for (const [language, makes, next] of large) {
    const session = await it.client.create(`saves-${language}`, { language, memory_mib: 2048 });
    assert.equal((await session.run(makes)).exit_code, 0);
    const startedAt = performance.now();
    const answer = await session.run(next, { timeout: 30 });
    const waited = performance.now() - startedAt;
    assert.ok(
      answer.execution_time_ms < waited / 2,
      `${language}: ${answer.execution_time_ms} of ${waited} ms`,
    );
  }
});

test("a child that takes long to end does not take the session's variables with it", async () => {
  const it = await session();
  const child = `import time; b = bytearray(b"x") * 300_000_000; time.sleep(30)`;
  for (let time = 1; time <= 3; time++) {
    const answer = await it.run(
      `v = ${time}\nimport subprocess, sys, time\np = subprocess.Popen([sys.executable, "-c", '${child}'])\ntime.sleep(20)`,
      { timeout: 1 },
    );
    assert.deepEqual([answer.exit_code, answer.state.rolled_back], [124, null]);
    await it.prints(`${time}\n`, "print(v)");
  }
});
