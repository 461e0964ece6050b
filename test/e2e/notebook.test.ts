/** What people write in notebooks, cell by cell in one session, and what comes of it; asleep in between at the end. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Body, SessionClient } from "../support/client.ts";
import { oneServer } from "../support/one-server.ts";

const it = oneServer({ ERA_POOL: "python=1" });

/** A cell, and what is expected: its output, whole or as a pattern; its last value; a check of its answer. */
type Cell = {
  code: string;
  out?: string | RegExp;
  err?: RegExp;
  value?: string | RegExp;
  exit?: number;
  fields?: object;
  check?: (answer: Body) => void;
};
const has = (form: string, pattern: RegExp) => (answer: Body) =>
  assert.match(String(answer.results.at(-1)?.[form]), pattern);

const CELLS: Record<string, Cell> = {
  "a value": { code: "6 * 7", value: "42" },
  "the last value": { code: "_ + 1", value: "43" },
  "the two before": { code: "(_, __)", value: "(43, 42)" },
  "a value by its number": { code: "_1", value: "42" },
  "a variable of that name is one's own": { code: "for _ in range(3): pass\nprint(_)", out: "2\n" },
  "it is gone": { code: "del _" },
  "and names the last value again": { code: "_", value: "42" },
  imports: {
    code: "import numpy as np\nimport pandas as pd\nimport matplotlib.pyplot as plt\n%matplotlib inline",
  },
  "a frame": {
    code: 'df = pd.DataFrame({"a": [1, 2, 3], "b": list("xyz")})\ndf',
    check: has("html", /<table/),
  },
  "a description": { code: "df.describe()", check: has("html", /mean/) },
  "a plot": { code: "df.plot(y='a')\nplt.show()", check: has("png", /^iVBOR/) },
  "time of a statement": { code: "%time x = sum(range(1000))", out: /^CPU times: .*\nWall time: .*\n$/ },
  "its variable is there": { code: "x", value: "499500" },
  "time of an expression": { code: "%time x + 1", out: /Wall time/, value: "499501" },
  "time of a cell": { code: "%%time\ny = [n * n for n in range(10)]\nlen(y)", out: /Wall time/, value: "10" },
  "many times": { code: "%timeit -n 10 -r 2 sum(y)", out: /per loop .*of 2 runs, 10 loops each/ },
  "a cell many times": { code: "%%timeit -n5 -r1 z = 3\nz + 1", out: /per loop .*of 1 run, 5 loops each/ },
  "a command": { code: "!echo hello $((1 + 2))", out: "hello 3\n" },
  "a command with a value": { code: 'who = "ada"\n!echo {who} $who {1 + 1}', out: "ada ada 2\n" },
  "a command's lines": { code: "lines = !printf 'a\\nb\\n'\nlines", value: "['a', 'b']" },
  "a command that fails": { code: "!exit 3\n_exit_code", value: "3" },
  "a command in a loop": {
    code: "for n in range(2):\n    !echo line {n}\nprint('done')",
    out: "line 0\nline 1\ndone\n",
  },
  "a command in a function": {
    code: "def say(word):\n    !echo {word} $word\nsay('no'); say(who)",
    out: "no no\nada ada\n",
  },
  "a command over two lines": { code: "!echo one \\\n  two", out: "one two\n" },
  "a pipe": { code: "!seq 5 | tail -1", out: "5\n" },
  "two marks": { code: "!!seq 2", value: "['1', '2']" },
  "bash, a cell": { code: "%%bash\nfor i in 1 2; do echo $i; done", out: "1\n2\n" },
  "bash that fails": { code: "%%bash\nexit 4", exit: 1, err: /CalledProcessError.*4/ },
  "another program": { code: "%%script awk 1\nas it is", out: "as it is\n" },
  "a file": { code: "%%writefile hello.py\nprint('from a file')\nvalue = 7", out: "Writing hello.py\n" },
  "it is run": { code: "%run hello.py\nvalue", out: "from a file\n", value: "7" },
  "it is imported": { code: "import hello; hello.value", out: "from a file\n", value: "7" },
  "more of a file": { code: "%%writefile -a hello.py\n# more", out: "Appending to hello.py\n" },
  "its text, when it was loaded anew": { code: "!tail -1 hello.py", out: "from a file\n# more\n" },
  "a folder": { code: "!mkdir -p sub\n%cd sub", out: "/workspace/sub\n" },
  "where one is": { code: "%pwd", value: "'/workspace/sub'" },
  "and back": { code: "%cd ..", out: "/workspace\n" },
  files: { code: "%ls hello.py", out: "hello.py\n" },
  "the environment": {
    code: "%env GREETING=hi\nimport os; os.environ['GREETING']",
    out: /env: GREETING=hi/,
    value: "'hi'",
  },
  "of one run": { code: "%env GREETING", exit: 1, err: /There is no variable GREETING/ },
  "who is there": { code: "%who", out: /df .*lines .*who/ },
  "with their values": { code: "%whos", out: /df +DataFrame +shape 3x2/ },
  "a question": { code: "len?", out: /Type: builtin_function_or_method[\s\S]*Signature: len\(obj, \/\)/ },
  "a question before": { code: "?df", out: /Type: DataFrame/ },
  "its source": { code: "def area(w, h):\n    '''Of a rectangle.'''\n    return w * h\n", out: "" },
  "a question for it": { code: "area??", out: /Source: ?\ndef area\(w, h\)/ },
  "a question for nothing": { code: "nothing?", out: "Object `nothing` not found.\n" },
  "a question for a command": { code: "%timeit?", out: /%timeit \[-n LOOPS\]/ },
  "a command that there is not": {
    code: "%tme 1",
    exit: 1,
    err: /There is no command %tme. Did you mean %time\?[\s\S]*There are: .*%who/,
  },
  "a cell's command that there is not": {
    code: "%%perl\n1",
    exit: 1,
    err: /There is no command %%perl.*There are: .*%%bash/,
  },
  "the commands": { code: "%lsmagic", out: /%cd FOLDER[\s\S]*%%bash/ },
  "text, HTML, Markdown": {
    code: "from IPython.display import display, HTML, Image, Markdown, JSON, SVG, Latex, clear_output\ndisplay(HTML('<b>x</b>'), Markdown('*y*'))\nJSON({'a': [1]})",
    check: ({ results }) =>
      assert.deepEqual(
        [results[0].html, results[1].markdown, results[2].json],
        ["<b>x</b>", "*y*", '{"a": [1]}'],
      ),
  },
  "a picture of a file": {
    code: "plt.figure(); plt.plot([1, 2]); plt.savefig('p.png'); plt.close()\nImage('p.png')",
    check: has("png", /^iVBOR/),
  },
  "SVG and Latex": {
    code: "display(SVG('<svg></svg>'))\nLatex('$x$')",
    check: ({ results }) => assert.deepEqual([results[0].svg, results[1].latex], ["<svg></svg>", "$x$"]),
  },
  "a handle": {
    code: "h = display('begun', display_id=True)\nh.update('done')",
    check: ({ results }) => assert.deepEqual([results.length, results[0].text], [1, "'done'"]),
  },
  "taken back": {
    code: "display(1)\nclear_output(wait=True)\ndisplay(2)",
    check: ({ results }) =>
      assert.deepEqual(
        results.map(({ text }: Body) => text),
        ["2"],
      ),
  },
  "HTML, a cell": { code: "%%html\n<i>z</i>", check: has("html", /<i>z<\/i>/) },
  "kept output": { code: "%%capture got\nprint('quiet')", out: "" },
  "that output": { code: "got.stdout", value: "'quiet\\n'" },
  "all of a cell": { code: "%%capture all\n!echo hidden\ndisplay(3)\nprint('p')", out: "" },
  "shown later": {
    code: "all.show()",
    out: "hidden\np\n",
    check: ({ results }) => assert.equal(results[0].text, "3"),
  },
  "kept output of a cell that fails": {
    code: "%%capture\nprint('seen')\n1 / 0",
    out: "seen\n",
    err: /line 3, in <module>\n.*1 \/ 0/,
    exit: 1,
  },
  "a line's number in a cell": { code: "%%time\nx = 1\n\n1 / 0", err: /line 4/, out: /Wall/, exit: 1 },
  "a program that ends itself": {
    code: "%%writefile ends.py\nimport sys\nprint(__file__)\nsys.exit(3)",
    out: /Writing/,
  },
  "and nothing else": {
    code: "%run ends.py\n'on'",
    out: "ends.py\n",
    err: /has ended with 3/,
    value: "'on'",
  },
  "a loop over the last value's name": { code: "2\n" },
  "that value": { code: "for _ in range(3): pass", out: "" },
  "is a variable": { code: "print(_); del _", out: "2\n" },
  "the last value in a command": { code: "%time (_, 5)[1]", out: /Wall/, value: "5" },
  "a handle of the builtin": {
    code: "import builtins\nhandle = builtins.display('a', display_id=True)",
    check: ({ results }) => assert.equal(results.length, 1),
  },
  "used by a later cell": {
    code: "handle.update('b')",
    check: ({ results }) => assert.deepEqual([results[0].text, results.length], ["'b'", 1]),
  },
  "a picture of SVG": {
    code: "open('p.svg', 'w').write('<svg xmlns=\"x\"></svg>')\nImage('p.svg')",
    check: has("svg", /^<svg/),
  },
  "changed through the shell": {
    code: "changed = []\nget_ipython().user_ns['changed'].append(1); get_ipython().ev('changed').append(2)",
  },
  "by a command": { code: "!echo {changed.append(3)}", out: "None\n" },
  "by what is timed": { code: "%timeit -n1 -r1 changed.append(4)", out: /per loop/ },
  "the shell": { code: "get_ipython().run_line_magic('pwd', '')", value: "'/workspace'" },
  "of a library": { code: "from IPython import get_ipython\nget_ipython() is not None", value: "True" },
  progress: {
    code: "from tqdm.auto import tqdm\nfor _n in tqdm(range(3), desc='work'): pass",
    err: /work: 100%\|.*\| 3\/3/,
  },
  "a question to the user": {
    code: "name = input('name? ')\nname",
    fields: { stdin: "ada\n" },
    out: "name? ",
    value: "'ada'",
  },
  "a remainder is no command": { code: "a = 7\nb = (a\n%4)\nb", value: "3" },
  "a text is no command": { code: 's = """\n!ls\n%time\nwhat?\n"""\nlen(s)', value: "17" },
  "and beside a command": { code: 's = """\n!ls\n"""\n!echo {len(s)}', out: "5\n" },
  "no Python at all": { code: "this is no Python", exit: 1, err: /SyntaxError/ },
  "no Python beside a command": { code: "!echo x\nthis is not", exit: 1, err: /SyntaxError/ },
  await: { code: "import asyncio\nawait asyncio.sleep(0, 'slept')", value: "'slept'" },
  "a package that is not to be had": {
    code: "%pip install nothing-of-this-name",
    exit: 1,
    err: /CalledProcessError|No matching/,
  },
  digits: { code: "%precision 2\nnp.array([3.14159])", value: "array([3.14])" },
  "an extension": { code: "%load_ext autoreload\n%autoreload 2" },
  "another extension": { code: "%load_ext rpy2", exit: 1, err: /needs IPython/ },
};

async function tryCell(session: SessionClient, title: string, cell: Cell): Promise<void> {
  const answer = await session.run(cell.code, cell.fields);
  const shown = `${title}: ${JSON.stringify({ ...answer, results: answer.results.map(({ text }: Body) => text) }).slice(0, 1500)}`;
  assert.equal(answer.exit_code, cell.exit ?? 0, shown);
  if (cell.out instanceof RegExp) assert.match(answer.stdout, cell.out, shown);
  else if (cell.out !== undefined) assert.equal(answer.stdout, cell.out, shown);
  if (cell.err === undefined) assert.equal(answer.stderr, "", shown);
  else assert.match(answer.stderr, cell.err, shown);
  const main = answer.results.find(({ main }: Body) => main)?.text;
  if (cell.value instanceof RegExp) assert.match(main, cell.value, shown);
  else if (cell.value !== undefined) assert.equal(main, cell.value, shown);
  cell.check?.(answer);
}

test(`${Object.keys(CELLS).length} cells, one after the other`, async (t) => {
  const session = await it.client.create("cells");
  const faults: string[] = [];
  for (const [title, cell] of Object.entries(CELLS))
    await tryCell(session, title, cell).catch((error: Error) => faults.push(error.message.slice(0, 1200)));
  t.diagnostic(`${Object.keys(CELLS).length} cells`);
  assert.deepEqual(faults, []);
});

test("what cells have made outlives sleep, and the last values are named where they are gone", async () => {
  const session = await it.client.create("asleep", { imaging: "never" });
  await session.run(
    "from IPython.display import HTML, display\nh = display('x', display_id='one')\npage = HTML('<b>x</b>')",
  );
  await session.run("%time big = [1] * 10\nlines = !seq 3");
  await session.run("%%capture got\nprint('kept')");
  await session.run("41 + 1");
  await session.hibernate();
  await session.prints(
    "10 ['1', '2', '3'] kept\n <b>x</b> one\n",
    "print(len(big), lines, got.stdout, page.data, h.display_id)",
  );
  const gone = await session.run("_1");
  assert.equal(gone.exit_code, 1);
  assert.match(gone.stderr, /NameError: name '_1' is not defined\n.*while the session is awake/);
  await session.run("h.update('y')");
  const { variables } = await it.client.expect(200, "GET", `${session.path}/variables`);
  assert.ok(!variables.some(({ name }: Body) => name === "_"), "the last value is no variable");
});

test("what is changed by the shell's ways is saved with its run", async () => {
  const session = await it.client.create("by-the-shell");
  const ways = [
    "get_ipython().user_ns['changed'].append(0)",
    "get_ipython().ev('changed').append(1)",
    "!true {changed.append(2)}",
    "%timeit -n1 -r1 changed.append(3)",
    "%time changed.append(4)",
    "def f():\n    !true {changed.append(5)}\nf()",
  ];
  await session.run("changed = []");
  for (const [at, way] of ways.entries()) {
    await session.run(way);
    assert.equal((await session.run("import os; os._exit(1)")).exit_code, 1);
    const expected = `[${Array.from({ length: at + 1 }, (_, number) => number).join(", ")}]\n`;
    await session.prints(expected, "print(changed)");
  }
});

test("ten thousand lines that are no Python are read in a moment", async () => {
  const session = await it.client.create("many-lines");
  const open = await session.run(`'''\n${"what?\n".repeat(12_000)}`);
  assert.match(open.stderr, /SyntaxError/);
  assert.ok(open.execution_time_ms < 1_500, `${open.execution_time_ms} ms`);
  const commands = await session.run(`x = 0\n${"%who_ls\n".repeat(3_000)}x`);
  assert.equal(commands.results.at(-1).text, "0");
});

test("colours and bars are for terminals: programs print plain text", async () => {
  const session = await it.client.create("plain");
  const { stdout } = await it.client.expect(200, "POST", `${session.path}/shell`, {
    command:
      "ls --color=auto / | head -2; git config --get color.ui; python3 -c 'def f(: pass' 2>&1; echo $TERM $NO_COLOR",
  });
  assert.ok(!stdout.includes("\u001b"));
  assert.match(stdout, /dumb 1\n$/);
});
