/**
 * Programs of Python whose second part, after sleep, does what it would in one process: each in a session of its own.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { oneServer } from "../support/one-server.ts";

const it = oneServer({ ERA_POOL: "python=0" });

type Program = { what: string; before: string; after: string; prints: string };
const PROGRAMS: readonly Program[] = [
  {
    what: "flags of decimal's context, and the context itself, by functions alone",
    before: "from decimal import *\ngetcontext().prec = 6; Decimal(1) / 7\nc = getcontext()",
    after: "print(getcontext().flags[Inexact], getcontext().prec, c.prec, type(c) is Context)",
    prints: "True 6 6 True\n",
  },
  {
    what: "a context of decimal that is current and a variable",
    before: "from decimal import *\nc = getcontext()",
    after:
      "c.traps[FloatOperation] = True\ntry: Decimal(3.14)\nexcept FloatOperation: print('trapped', getcontext() is c)",
    prints: "trapped True\n",
  },
  {
    what: "the order in which variables were made",
    before: "zebra = 1; apple = 2; mango = [3]\nimport json\nbanana = 4",
    after:
      "mango.append(1); print([name for name in globals() if name in ('zebra', 'apple', 'mango', 'json', 'banana')])",
    prints: "['zebra', 'apple', 'mango', 'json', 'banana']\n",
  },
  {
    what: "classes and modules that print as they are restored",
    before:
      "open('loud.py', 'w').write('print(1)')\nimport loud\nclass Loud:\n    def __new__(cls): print('new'); return object.__new__(cls)\n    def __setstate__(self, state): print('state'); vars(self).update(state)\nloud = Loud(); loud.n = 1",
    after: "print(loud.n)",
    prints: "1\n",
  },
  {
    what: "enumerations with other names for their members",
    before:
      "from enum import Enum, Flag\nclass Shape(Enum):\n    SQUARE = 2\n    CIRCLE = 3\n    ALIAS = 2\nclass Day(Flag):\n    SAT = 1\n    SUN = 2\n    WEEKEND = SAT | SUN\nday = Day.WEEKEND",
    after:
      "print(Shape.ALIAS is Shape.SQUARE, list(Shape), list(Shape.__members__), day is Day.WEEKEND, day, list(day))",
    prints:
      "True [<Shape.SQUARE: 2>, <Shape.CIRCLE: 3>] ['SQUARE', 'CIRCLE', 'ALIAS'] True Day.WEEKEND [<Day.SAT: 1>, <Day.SUN: 2>]\n",
  },
  {
    what: "finalizers that were called",
    before: "import weakref\nclass T: pass\nt = T(); f = weakref.finalize(t, print, 'gone'); f()",
    after: "print(f.alive, f())",
    prints: "False None\n",
  },
  {
    what: "marks that modules compare with",
    before:
      "import http.client, socket, inspect, dataclasses\nc = http.client.HTTPConnection('127.0.0.1', 9); own = object(); both = [own, own]\nempty = inspect.Parameter.empty; missing = dataclasses.MISSING",
    after:
      "try: c.request('GET', '/')\nexcept ConnectionRefusedError: print('refused')\nprint(c.timeout is socket._GLOBAL_DEFAULT_TIMEOUT, both[0] is both[1] is own, empty is inspect.Parameter.empty, missing is dataclasses.MISSING)",
    prints: "refused\nTrue True True True\n",
  },
  {
    what: "parameters of generic functions",
    before:
      "from typing import Callable, Generic, ParamSpec, TypeVar, TypeVarTuple\nP = ParamSpec('P'); T = TypeVar('T', bound=int); Ts = TypeVarTuple('Ts')",
    after: "class Z(Generic[T, P]): ...\nprint(P, Ts, T.__bound__, Z[int, [str]])",
    prints: "~P Ts <class 'int'> __main__.Z[int, [str]]\n",
  },
  {
    what: "classes whose metaclass tells whoever looks at them",
    before:
      "class Meta(type):\n    def __getattribute__(*args):\n        print('asked')\n        return type.__getattribute__(*args)\nclass C(metaclass=Meta): pass\nc = C(); c.__len__ = 5",
    after: "class D(C): pass\nd = D(); d.__len__ = 6; print(d.__len__)",
    prints: "6\n",
  },
  {
    what: "submodules",
    before:
      "import urllib.parse, xml.etree.ElementTree, importlib.util\ndef q(s): return urllib.parse.quote(s)",
    after:
      "print(q('a b'), xml.etree.ElementTree.fromstring('<a/>').tag, importlib.util.find_spec('os').name)",
    prints: "a%20b a os\n",
  },
  {
    what: "submodules that a function imports",
    before: "import urllib\ndef f():\n    import urllib.parse\nf()",
    after: "print(urllib.parse.quote('a b'))",
    prints: "a%20b\n",
  },
  {
    what: "submodules of a package of the workspace",
    before:
      "import os; os.makedirs('pk'); open('pk/__init__.py', 'w').close(); open('pk/m.py', 'w').write('V = 3')\nimport pk.m",
    after: "print(pk.m.V)",
    prints: "3\n",
  },
  {
    what: "annotations by built-in types",
    before:
      "def mean(xs: list[float]) -> dict[str, int] | None: return sum(xs) / len(xs)\nclass A:\n    items: tuple[int, ...] = ()\nB = list[int]",
    after: "print(mean([1, 2]), A().items, B, A.__annotations__)",
    prints: "1.5 () list[int] {'items': tuple[int, ...]}\n",
  },
  {
    what: "the random generator",
    before: "import random; random.seed(1); _ = random.random()",
    after: "print(random.random())",
    prints: "0.8474337369372327\n",
  },
  {
    what: "functions of the random generator",
    before: "from random import random, seed; seed(1); _ = random()",
    after: "print(random()); import random as module; print(module.random())",
    prints: "0.8474337369372327\n0.763774618976614\n",
  },
  {
    what: "handlers that do not like to be looked at, and how they are put back",
    before:
      "import signal\nclass W:\n    def __init__(self): self.__dict__['t'] = {}\n    def __getattr__(self, n): return self.t[n]\n    def __call__(self, *_): print('called')\nw = W(); _ = signal.signal(signal.SIGUSR1, w)\nclass T:\n    def __enter__(self): self.old = signal.signal(signal.SIGUSR2, self.__on)\n    def __exit__(self, *_): signal.signal(signal.SIGUSR2, self.old)\n    def __on(self, *_): print('on')\nt = T(); t.__enter__()",
    after:
      "import os; os.kill(os.getpid(), signal.SIGUSR1); os.kill(os.getpid(), signal.SIGUSR2); t.__exit__(); print(signal.getsignal(signal.SIGUSR1) is w, signal.getsignal(signal.SIGUSR2) == signal.SIG_DFL)",
    prints: "called\non\nTrue True\n",
  },
  {
    what: "objects of argparse with slots",
    before: "import argparse\nclass NS(argparse.Namespace): __slots__ = ('q',)\nns = NS(a=1); ns.q = 2",
    after: "print(ns.a, ns.q)",
    prints: "1 2\n",
  },
  {
    what: "argparse",
    before:
      "import argparse; parser = argparse.ArgumentParser(); parser.add_argument('--count', type=int, default=1)\nsub = parser.add_subparsers(dest='c'); s = sub.add_parser('go'); _ = s.add_argument('--fast', action='store_true')",
    after: "print(parser.parse_args(['--count', '3', 'go']))",
    prints: "Namespace(count=3, c='go', fast=False)\n",
  },
  {
    what: "unit tests",
    before: "import unittest\nclass T(unittest.TestCase):\n    def test_a(self): print('ran')",
    after: "r = unittest.main(argv=['x'], exit=False).result; print(r.testsRun)",
    prints: "ran\n1\n",
  },
  {
    what: "mocks",
    before:
      "from unittest.mock import Mock, MagicMock\nm = Mock(); m(3); mm = MagicMock(); mm.x.return_value = 5; mm.__len__.return_value = 7",
    after: "print(m.call_args, mm.x(), len(mm)); m.assert_called_once_with(3)",
    prints: "call(3) 5 7\n",
  },
  {
    what: "objects that look up what they do not have",
    before:
      "class P:\n    def __init__(self): self._d = {'a': 1}\n    def __getattr__(self, n): return self._d[n]\nclass S(P):\n    __slots__ = ('t',)\np, s = P(), S(); s.t = 4",
    after: "print(p.a, s.a, s.t)",
    prints: "1 1 4\n",
  },
  {
    what: "handlers of signals",
    before:
      "import signal, time\ndef h(*_): raise TimeoutError('t')\n_ = signal.signal(signal.SIGALRM, h)\nclass K:\n    n = 0\n    def on(self, *_): self.n += 1\nk = K(); _ = signal.signal(signal.SIGUSR1, k.on)",
    after:
      "import os; os.kill(os.getpid(), signal.SIGUSR1); signal.setitimer(signal.ITIMER_REAL, 0.05)\ntry:\n    time.sleep(5)\nexcept TimeoutError as e: print('caught', e, k.n)",
    prints: "caught t 1\n",
  },
];

for (const [at, { what, before, after, prints }] of PROGRAMS.entries())
  test(`python: ${what}`, async () => {
    const session = await it.client.create(`p-${at}`, { imaging: "never" });
    await session.run("import os; os.makedirs('made', exist_ok=True)");
    const first = await session.run(before);
    assert.deepEqual([first.exit_code, first.stderr], [0, ""]);
    for (const copy of ["once", "twice"]) {
      const { state } = await it.client.expect(200, "POST", `${session.path}/hibernate`);
      assert.deepEqual(state?.not_kept ?? [], [], copy);
      if (copy === "once") await session.run("x = 1");
    }
    const { stdout, exit_code } = await session.run(after);
    assert.deepEqual([stdout, exit_code], [prints, 0]);
  });

test("python: a program that runs alone ends as a process does: with its threads, and what it registered for its end", async () => {
  const code =
    "import atexit, threading, time\natexit.register(print, 'bye')\nthreading.Thread(target=lambda: (time.sleep(0.1), print('thread'))).start()\nprint('main')";
  const { stdout, exit_code } = await it.client.execute(code);
  assert.deepEqual([stdout, exit_code], ["main\nthread\nbye\n", 0]);
  const failed = await it.client.execute(`${code}\nraise SystemExit(3)`);
  assert.deepEqual([failed.stdout, failed.exit_code], ["main\nthread\nbye\n", 3]);
  const stuck = await it.client.execute(
    "import threading\nthreading.Thread(target=threading.Event().wait).start()\nprint('main')",
    { timeout: 0.5 },
  );
  assert.deepEqual([stuck.stdout, stuck.exit_code], ["main\n", 124]);
});

test("python: what tells of an error in a program has its lines, whoever asks", async () => {
  const session = await it.client.create("lines");
  const { stdout } = await session.run(
    "import traceback\ntry:\n    1 / 0\nexcept Exception: print(traceback.format_exc())",
  );
  assert.match(stdout, /1 \/ 0/);
});

test("python: which name was meant is told, also among those that nobody has used since", async () => {
  const session = await it.client.create("meant", { imaging: "never" });
  await session.prints("", "apples = 3");
  await it.client.expect(200, "POST", `${session.path}/hibernate`);
  await session.fails(/Did you mean: 'apples'\?/, "appels");
  await session.prints("3\n", "print(apples)");
});

test("python: figures are the kernel's to show, and programs that it starts draw all the same", async () => {
  const session = await it.client.create("figures");
  const program =
    "import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.savefig('a.png'); print(plt.get_backend())";
  await session.run("import importlib.util; importlib.util.find_spec('matplotlib')"); // who asks changes nothing
  const shown = await session.run(`${program}; plt.show()`);
  assert.deepEqual([shown.exit_code, shown.results.length], [0, 1]);
  await session.prints(
    "agg\n",
    `import subprocess, sys; print(subprocess.run([sys.executable, "-c", ${JSON.stringify(program)}], capture_output=True, text=True).stdout, end="")`,
  );
  const { stdout } = await it.client.expect(200, "POST", `${session.path}/shell`, {
    command: `python3 -c "${program}"`,
  });
  assert.equal(stdout, "agg\n");
});
