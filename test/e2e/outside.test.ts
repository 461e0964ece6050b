/** What programs change outside their variables, in libraries and modules of the workspace, is kept over sleep. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { SessionClient } from "../support/client.ts";
import { oneServer } from "../support/one-server.ts";
import { until } from "../support/server.ts";

const it = oneServer();

/** Each changes something, and shows it, which may change it once more. */
const CHANGES: Readonly<Record<string, readonly [change: string, show: string]>> = {
  "a function set on a class of a library": [
    "import pandas as pd\ndef rows(self): return len(self) * factor\nfactor = 10\npd.DataFrame.rows = rows",
    "factor += 1; print(pd.DataFrame({'a': [1, 2]}).rows(), pd.DataFrame.rows is rows)",
  ],
  "a number set on a module, by a function": [
    "import numpy as np\ndef mark(target, value): target.mark = value\nmark(np, 5)",
    "np.mark += 1; print(np.mark)",
  ],
  "an attribute set by its name": [
    "import json\nsetattr(json, 'house_style', {'indent': 2})",
    "json.house_style['indent'] += 1; print(json.dumps([1], **json.house_style))",
  ],
  "an attribute set through the module's dictionary": [
    "import json\nvars(json)['more'] = 3",
    "print(json.more)",
  ],
  "a method of the standard library replaced": [
    "import json\nclass Odd: pass\njson.JSONEncoder.default = lambda self, value: type(value).__name__",
    "print(json.dumps([Odd()]))",
  ],
  "an attribute of a module deleted": [
    "import textwrap\ndel textwrap.shorten",
    "print(hasattr(textwrap, 'shorten'))",
  ],
  "an attribute of a module of the interpreter": [
    "import math\nmath.tau2 = math.tau * 2",
    "print(math.tau2)",
  ],
  "a hook of the interpreter": [
    "import sys\ndef told(kind, value, trace): print('told', value)\nsys.excepthook = told",
    "print(sys.excepthook is told); sys.excepthook(ValueError, ValueError(1), None)",
  ],
  "a hook for warnings": [
    "import warnings\nwarnings.showwarning = lambda message, *rest: print('warned:', message)",
    "warnings.simplefilter('always'); warnings.warn('x')",
  ],
  "a builtin replaced, and one added": [
    "import builtins\nbuiltins.answer = 42\nbuiltins.abs = lambda value: 'abs'",
    "print(answer, abs(-1), [answer for _ in '.'])",
  ],
  "a list shared by a variable and a module": [
    "import statistics\nshared = [1]\nstatistics.shared = shared",
    "shared.append(len(shared) + 1); print(statistics.shared, shared is statistics.shared)",
  ],
  "a class registered with an abstract one": [
    "import numbers, collections.abc\nclass Money: pass\nnumbers.Number.register(Money)\n@collections.abc.Sequence.register\nclass Row: pass",
    "print(isinstance(Money(), numbers.Number), isinstance(Row(), collections.abc.Sequence), isinstance(Row(), numbers.Number))",
  ],
  "an open figure without a variable": [
    "import matplotlib.pyplot as plt\nplt.figure(7); plt.plot([1, 2, 3])\nplt.figure(3, figsize=(2, 1)); plt.plot([5, 5])",
    "print(plt.get_fignums(), plt.gcf().number, len(plt.gca().lines)); plt.plot([1]); plt.title('t')",
  ],
  "an open figure with a variable": [
    "import matplotlib.pyplot as plt\nfigure, axes = plt.subplots(num=4)",
    "axes.plot([1]); print(plt.gcf() is figure, plt.gca() is axes, len(plt.gca().lines), plt.get_fignums())",
  ],
  "finalizers of objects": [
    "import weakref\nclass Thing: pass\ndef gone(*rest): print('gone', *rest)\none, two = Thing(), Thing()\nweakref.finalize(one, gone, 1)\nkept = weakref.finalize(two, gone, 2)\nover = weakref.finalize(two, gone); over.detach(); n = 0",
    "n += 1; print(n, kept.alive, over.alive)\nif n == 2: del one\nif n == 3: kept()",
  ],
  "registries of the standard library": [
    "import copyreg, mimetypes, sqlite3, xml.etree.ElementTree as ET\nclass P:\n    def __init__(self, n): self.n = n\ncopyreg.pickle(P, lambda p: (P, (p.n + 1,)))\nsqlite3.register_adapter(P, lambda p: f'P{p.n}')\nET.register_namespace('own', 'urn:own')\nmimetypes.add_type('text/own', '.own')",
    "import copy; print(copy.copy(P(1)).n, sqlite3.connect(':memory:').execute('select ?', (P(4),)).fetchone(), ET.tostring(ET.Element('{urn:own}a')), mimetypes.guess_type('a.own'))",
  ],
  "data of a module in the workspace": [
    "open('till.py', 'w').write('count = 0\\nsales = []\\ndef sell(what):\\n    global count\\n    count += 1\\n    sales.append(what)\\n    return count\\n')\nimport till\ntill.sell('a')",
    "print(till.sell('b'), till.count, till.sales)",
  ],
  "data of a module that was imported by its parts": [
    "open('bank.py', 'w').write('class Account:\\n    opened = 0\\n    by_name = {}\\n    def __init__(self, name):\\n        Account.opened += 1\\n        self.by_name[name] = self\\n')\nfrom bank import Account\none = Account('one')",
    "Account(f'more {Account.opened}'); print(Account.opened, list(Account.by_name), Account.by_name['one'] is one)",
  ],
  "what a decorator of a module remembers": [
    "open('deco.py', 'w').write('import functools\\ndef counted(f):\\n    n = 0\\n    @functools.wraps(f)\\n    def inner():\\n        nonlocal n\\n        n += 1\\n        return n\\n    return inner\\n@counted\\ndef tick(): pass\\n')\nimport deco\ndeco.tick()",
    "print(deco.tick(), deco.tick.__name__)",
  ],
  "containers of a module's own classes": [
    "open('boxes.py', 'w').write('class R(dict): pass\\nclass L(list): pass\\nreg = R()\\nitems = L()\\n')\nimport boxes\nboxes.reg['a'] = 1; boxes.items.append(1)",
    "boxes.items.append(2); print(boxes.reg, boxes.items, type(boxes.items).__name__)",
  ],
  "what functions of a module remember": [
    "open('memo.py', 'w').write('def seen(x, known=[]):\\n    known.append(x)\\n    seen.calls = getattr(seen, \"calls\", 0) + 1\\n    return known\\ndef counter():\\n    n = 0\\n    def step():\\n        nonlocal n\\n        n += 1\\n        return n\\n    return step\\nstep = counter()\\n')\nimport memo\nmemo.seen(1); memo.step()",
    "print(memo.seen(2), memo.seen.calls, memo.step())",
  ],
  "a package of the workspace": [
    "import os\nos.mkdir('shop'); open('shop/__init__.py', 'w').write('from .stock import items, add\\n'); open('shop/stock.py', 'w').write('items = {}\\ndef add(name): items[name] = items.get(name, 0) + 1\\n')\nimport shop\nshop.add('pen')",
    "shop.add('pen'); import shop.stock; print(shop.items, shop.stock.items is shop.items)",
  ],
};

const sleep = (session: SessionClient) => it.client.expect(200, "POST", `${session.path}/hibernate`);

/** What a session prints that does all of it awake. */
async function awake(id: string, [change, show]: readonly [string, string], times: number) {
  const session = await it.client.create(id, { imaging: "never", memory_mib: 512 });
  const outputs: string[] = [];
  await session.prints("", change);
  for (let at = 0; at < times; at++) outputs.push((await session.run(show)).stdout);
  return outputs;
}

test(
  "what was changed is as it was, after sleep, in a copy, and where nobody asked",
  { timeout: 300_000 },
  async () => {
    const rows = Object.entries(CHANGES);
    for (const [at, [title, pair]] of rows.entries()) {
      const expected = await awake(`awake-${at}`, pair, 3);
      const session = await it.client.create(`asleep-${at}`, { imaging: "never", memory_mib: 512 });
      await session.prints("", pair[0]);
      for (const [time, output] of expected.entries()) {
        const { state } = await sleep(session);
        assert.deepEqual(state.not_kept, [], title);
        await session.prints("", "unrelated = 1");
        await sleep(session);
        assert.equal((await session.run(pair[1])).stdout, output, `${title}, time ${time}`);
      }
      await it.client.expect(200, "DELETE", session.path);
      await it.client.expect(200, "DELETE", `/api/sessions/awake-${at}`);
    }
  },
);

test("a version that is gone back to has what modules had then, also after a kill of the kernel", async () => {
  const session = await it.client.create("versions", { imaging: "never" });
  await session.prints("", "open('till.py', 'w').write('count = 0')\nimport till, json");
  await session.prints("", "till.count = json.mark = 1");
  await session.prints("", "till.count = json.mark = 2");
  await until("all is saved", async () => (await session.get()).state.saved_version === 3);
  await session.run("import os; os.kill(os.getpid(), 9)");
  await session.prints("2 2\n", "print(till.count, json.mark)");
  await it.client.expect(200, "POST", `${session.path}/rollback`, { version: 2 });
  await session.prints("1 1\n", "print(till.count, json.mark)");
});

test("a module of another text begins anew; what cannot be kept of one is named", async () => {
  const session = await it.client.create("texts", { imaging: "never" });
  await session.prints("", "open('one.py', 'w').write('n = 0\\n')\nimport one\none.n = 5");
  await sleep(session);
  await it.client.expect(200, "PUT", `${session.path}/files/one.py`, "n = 100\n");
  await session.prints("100\n", "print(one.n)");
  await session.prints(
    "",
    "open('two.py', 'w').write('steps = (n for n in range(9))\\n')\nimport two\nnext(two.steps)",
  );
  const { state } = await sleep(session);
  assert.deepEqual(
    state.not_kept.map(({ name, reason }: Record<string, string>) => [name, /generator/.test(reason ?? "")]),
    [["two:steps", true]],
  );
  await session.prints("0\n", "print(next(two.steps))");
});

test("whatever programs put where modules are looked for, the variables are saved", async () => {
  const session = await it.client.create("odd", { imaging: "never" });
  await session.prints(
    "",
    `import sys, types
odd = types.ModuleType("odd"); odd.__name__ = []; sys.modules["odd"] = odd
sys.modules["lazy"] = 5
open("lazy2.py", "w").write("""import sys
class Lazy:
    __file__ = __file__
    def __getattr__(self, name): raise KeyError(name)
sys.modules[__name__] = Lazy()""")
import lazy2
odd.x = 1
globals()["a:b"] = 1
kept = [1]`,
  );
  const { state } = await sleep(session);
  const names = state.not_kept.map(({ name }: { name: string }) => name);
  assert.ok(names.includes("a:b"), JSON.stringify(state.not_kept));
  await session.prints("[1]\n", "print(kept)");
});

test("a list that a module's function has as a default and a variable stay one, whoever is looked at", async () => {
  const session = await it.client.create("defaults", { imaging: "never" });
  await session.prints(
    "",
    "open('memo.py', 'w').write('def seen(x, known=[]):\\n    known.append(x)\\n    return known\\n')\nimport memo\nmine = memo.seen(1)",
  );
  await sleep(session);
  for (let n = 2; n < 5; n++) {
    await session.prints("", `mine.append(${n})`);
    await sleep(session);
  }
  await session.prints("[1, 2, 3, 4, 5] True\n", "again = memo.seen(5); print(again, again is mine)");
});

test("a finalizer of what nothing else holds after sleep is named, and not called", async () => {
  const session = await it.client.create("finalizers", { imaging: "never" });
  await session.prints(
    "",
    "import weakref\nclass Conn: pass\ndef gone(): open('called', 'w').close()\ndef gen():\n    o = Conn(); weakref.finalize(o, gone); yield o; yield o\ng = gen(); next(g)",
  );
  const { state } = await sleep(session);
  assert.deepEqual(
    state.not_kept.map(({ name }: { name: string }) => name),
    ["g", "weakref:finalize.of other objects"],
  );
  await session.prints("False\n", "import weakref, os; print(os.path.exists('called'))");
});

test("a text in a program that also looks into a dictionary is no attribute of every module", async () => {
  const session = await it.client.create("texts-of", { imaging: "never" });
  await session.prints(
    "",
    "import os, sys, re, json, subprocess, collections\nclass A: pass\na = A(); a.x = 1\nrow = {'name': 1, 'path': 2, 'version': 3, 'append': 4, 'args': 5}\nprint(end='' if vars(a)['x'] else 'no')\nsetattr(a, 'platform', 1)",
  );
  await sleep(session);
  const { changed } = (await it.client.expect(200, "GET", `${session.path}/versions`)).versions[0];
  assert.deepEqual(
    changed.filter((name: string) => name.includes(":")),
    [],
  );
});

test("what programs of libraries set themselves is not taken for a change", async () => {
  const session = await it.client.create("libraries", { imaging: "never", memory_mib: 512 });
  await session.prints(
    "",
    "import pandas as pd, numpy as np, matplotlib.pyplot as plt, logging, decimal, unittest.mock\nframe = pd.DataFrame({'a': [1]})\nframe.columns = ['b']\nframe.index.name = 'i'\nfigure, axes = plt.subplots()\naxes.title = axes.title\nplt.close(figure)\nwith unittest.mock.patch('json.dumps', lambda value: 'x'):\n    import json; assert json.dumps(1) == 'x'",
  );
  await sleep(session);
  const changed = (await it.client.expect(200, "GET", `${session.path}/versions`)).versions[0].changed;
  assert.deepEqual(
    changed.filter((name: string) => name.includes(":")),
    [],
  );
});
