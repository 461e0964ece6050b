/** What a program prints and shows arrives whole, in order and bounded. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { oneServer } from "../support/one-server.ts";

const it = oneServer();
let next = 0;
const session = (fields: object = {}) => it.client.create(`output-${next++}`, fields);

test("output of the program, of its children and of descriptors is one stream in order", async () => {
  const answer = await (await session()).run(
    `import os, subprocess, sys\nprint("one")\nos.system("echo two")\nos.write(1, b"three\\n")\nsubprocess.run(["echo", "four"])\nprint("five", end="")\nprint("err", file=sys.stderr)\nos.system("echo err2 >&2")`,
  );
  assert.deepEqual([answer.stdout, answer.stderr], ["one\ntwo\nthree\nfour\nfive", "err\nerr2\n"]);
});

test("what is not UTF-8 is replaced, and characters split between writes are not", async () => {
  const it = await session();
  await it.prints("a\ufffdb\n", `import os; os.write(1, b"a\\xffb\\n")`);
  await it.prints(
    "é€\n",
    `import time\nfor b in "é€\\n".encode():\n    os.write(1, bytes([b]))\n    time.sleep(0.02)`,
  );
  await it.prints("nul \0, cr \r, lone \\ud800\n", `print("nul \\0, cr \\r, lone \\ud800")`);
});

test("a stream is cut at its limit, and the answer says how much was left out", async () => {
  const it = await session();
  const answer = await it.run(`import sys\nprint("x" * (3 << 20))\nprint("err", file=sys.stderr)`);
  assert.equal(answer.stdout.length, 1 << 20);
  assert.deepEqual(answer.truncated, { stdout: (2 << 20) + 1 });
  assert.equal(answer.stderr, "err\n");
  await it.prints("next\n", `print("next")`);
});

test("a flood of output does not keep a run from ending at its limit", async () => {
  const it = await session();
  const answer = await it.run(`import os\nos.system("yes")`, { timeout: 1 });
  assert.deepEqual([answer.exit_code, answer.stdout.length], [124, 1 << 20]);
  await it.prints("next\n", `print("next")`);
});

test("output that comes after its run is kept with that run, and not in the next", async () => {
  const it = await session();
  const first = await it.run(
    `import subprocess\nsubprocess.Popen("sleep 0.3; echo late; echo later >&2", shell=True)\nprint("in time")`,
  );
  await it.prints("second\n", `import time\ntime.sleep(0.6)\nprint("second")`);
  const record = await it.client.expect(200, "GET", `/api/runs/${first.run_id}`);
  assert.deepEqual(
    [record.stdout, record.late_output.split("\n").sort()],
    ["in time\n", ["", "late", "later"]],
  );
});

test("standard input is empty", async () => {
  const it = await session();
  await it.fails(/EOFError/, "input()");
  await it.prints("''\n", "import sys; print(repr(sys.stdin.read()))");
});

test("the value of a last expression is a result, and nothing is printed", async () => {
  const it = await session();
  const answer = await it.prints("", "x = [1, 2]\nx");
  assert.deepEqual(answer.results, [{ main: true, text: "[1, 2]" }]);
  assert.deepEqual((await it.prints("", "None")).results, []);
  assert.deepEqual((await it.prints("", "x = 5")).results, []);
});

test("a data frame is shown as HTML, a figure as PNG, an object in whatever form it offers", async () => {
  const it = await session();
  const frame = await it.prints("", "import pandas as pd\npd.DataFrame({'a': [1, 2]})", { timeout: 60 });
  assert.match(frame.results[0].html, /<table/);
  assert.match(frame.results[0].text, /a\n0/);
  const plot = await it.prints(
    "",
    "import matplotlib.pyplot as plt\nfig, ax = plt.subplots()\nax.plot([1, 2])\nfig",
    { timeout: 60 },
  );
  assert.match(Buffer.from(plot.results[0].png, "base64").toString("latin1"), /^\x89PNG/);
  const shown = await it.prints("", "plt.plot([3, 4])\nplt.show()");
  assert.equal(shown.results.at(-1).main, false);
  assert.ok(shown.results.at(-1).png.length > 1000);
  const svg = await it.prints(
    "",
    "class Shape:\n    def _repr_svg_(self): return '<svg/>'\ndisplay(Shape())\nShape()",
  );
  assert.deepEqual(
    svg.results.map(({ svg }: { svg: string }) => svg),
    ["<svg/>", "<svg/>"],
  );
});

test("a representation that fails, or is too large, does not fail its run", async () => {
  const it = await session();
  const failing = await it.prints(
    "",
    "class Bad:\n    def __repr__(self): raise ValueError\n    def _repr_html_(self): raise ValueError\nBad()",
  );
  assert.match(failing.results[0].text, /its repr\(\) raised ValueError/);
  const large = await it.prints("", "class Big:\n    def _repr_html_(self): return 'x' * (5 << 20)\nBig()");
  assert.deepEqual(large.results[0].omitted, ["html"]);
});

test("variables of a run reach its children and are gone on the next run, whatever the code did", async () => {
  const it = await session();
  const code = `import os, subprocess\nshow = lambda: print(subprocess.run("echo $A-$B-$C", shell=True, capture_output=True, text=True).stdout.strip())\nshow()\nos.environ["B"] = "kept?"\nos.putenv("C", "kept?")\nos.environ.pop("PATH")`;
  await it.prints("1--\n", code, { env: { A: "1" } });
  await it.prints("--\nTrue\n", "show()\nprint('PATH' in os.environ and 'A' not in os.environ)");
  await it.prints("", "os.environ = {}");
  await it.prints("2--\n", "show()", { env: { A: "2" } });
});

test("a workspace module that changed is imported again, also under its alias, and an installed one is not", async () => {
  const it = await session();
  await it.prints(
    "",
    `open("tool.py", "w").write("VALUE = 1\\nimport other\\n")\nopen("other.py", "w").write("N = 10\\n")\nopen("still.py", "w").write("import random; R = random.random()\\n")`,
  );
  await it.prints(
    "1 10\n",
    "import json, tool as t, still\nfrom other import N\nold = still.R\njson.mark = 1\nprint(t.VALUE, t.other.N)",
  );
  await it.prints(
    "",
    `open("tool.py", "w").write("VALUE = 2\\nimport other\\n")\nopen("other.py", "w").write("N = 20\\n")`,
  );
  await it.prints("2 20\n", "print(t.VALUE, t.other.N)");
  await it.prints(
    "20 True 1\n",
    "from other import N\nimport still, json\nprint(N, still.R == old, json.mark)",
  );
  await it.prints("", `open("tool.py", "w").write("VALUE = (\\n")`);
  const broken = await it.run("print(t.VALUE)");
  assert.deepEqual(
    [broken.stdout, /tool changed but cannot be imported again/.test(broken.stderr)],
    ["2\n", true],
  );
});

test("a session has the names of a plain interpreter for its own modules", async () => {
  const it = await session();
  for (const name of ["run", "wire", "output", "display", "kernel", "workspace", "processes"]) {
    await it.prints("", `open("${name}.py", "w").write("MINE = True\\n")`);
    await it.prints("True\n", `import ${name}\nprint(${name}.MINE)`);
  }
  await it.prints(
    "__main__ True\n",
    "import sys\nprint(__name__, sys.modules['__main__'].__dict__ is globals())",
  );
});

test("inspect finds the source of what a session defined", async () => {
  const it = await session();
  await it.prints("", "import inspect\ndef f(x):\n    return x + 1");
  await it.prints("def f(x):\n    return x + 1\n", "print(inspect.getsource(f), end='')");
});
