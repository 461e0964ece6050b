/** What programs set of the interpreter and of libraries is as it was after sleep, and what cannot be is named. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { oneServer } from "../support/one-server.ts";
import { until } from "../support/server.ts";

const it = oneServer();

/** Each sets something of its own, and prints what shows it. */
const SETTINGS: Readonly<Record<string, readonly [set: string, show: string]>> = {
  "recursion limit": [
    "import sys; sys.setrecursionlimit(4321)",
    "import sys; print(sys.getrecursionlimit())",
  ],
  "digits of integers": ["import sys; sys.set_int_max_str_digits(9000)", "print(len(str(10 ** 5000)))"],
  umask: [
    "import os; os.umask(0o027)",
    "import os; open('masked', 'w').close(); print(oct(os.stat('masked').st_mode)); os.remove('masked')",
  ],
  "filters of warnings": [
    "import warnings; warnings.filterwarnings('error', 'loud.*', UserWarning); warnings.simplefilter('ignore', FutureWarning)",
    "import warnings\nwarnings.warn('quiet', FutureWarning)\ntry: warnings.warn('loud one'); print('told')\nexcept UserWarning as error: print('raised', error)",
  ],
  "context of decimal": [
    "import decimal; decimal.getcontext().prec = 7; decimal.getcontext().traps[decimal.Inexact] = False; decimal.getcontext().rounding = decimal.ROUND_UP",
    "import decimal; print(decimal.Decimal(1) / 7, decimal.getcontext())",
  ],
  "the usual context of decimal": [
    "import decimal; decimal.DefaultContext.prec = 5; decimal.DefaultContext.traps[decimal.DivisionByZero] = False",
    "import decimal; print(decimal.Context(), decimal.getcontext())",
  ],
  "how much csv takes": ["import csv; csv.field_size_limit(10)", "import csv; print(csv.field_size_limit())"],
  "collection of garbage": [
    "import gc; gc.disable(); gc.set_threshold(5, 6, 7)",
    "import gc; print(gc.isenabled(), gc.get_threshold())",
  ],
  "how long a socket waits": [
    "import socket; socket.setdefaulttimeout(1.5)",
    "import socket; print(socket.getdefaulttimeout())",
  ],
  "dialects of csv": [
    "import csv; csv.register_dialect('semi', delimiter=';', quoting=csv.QUOTE_ALL)",
    "import csv, io; out = io.StringIO(); csv.writer(out, 'semi').writerow([1, 'a']); print(out.getvalue().strip())",
  ],
  logging: [
    "import logging, sys; logging.basicConfig(level=logging.INFO, stream=sys.stdout, format='%(levelname)s|%(message)s'); logging.getLogger('quiet').setLevel(logging.ERROR); logging.addLevelName(15, 'CHATTY')",
    "import logging; logging.info('seen'); logging.debug('unseen'); logging.getLogger('quiet').warning('unseen'); print(logging.getLevelName(15))",
  ],
  "a handler that is a variable, of two loggers": [
    "import logging, sys; handler = logging.StreamHandler(sys.stdout); one = logging.getLogger('one'); one.addHandler(handler); logging.getLogger('two').addHandler(handler); logging.getLogger('three').setLevel(35)",
    "print(handler in one.handlers, handler in logging.getLogger('two').handlers, len(one.handlers), logging.getLogger('three').level)\none.warning('once')",
  ],
  "numpy, how it prints": [
    "import numpy as np; np.set_printoptions(precision=2, suppress=True, linewidth=40)",
    "print(np.array([1 / 3, 1e-9] * 6))",
  ],
  "numpy, what is an error": [
    "import numpy as np; np.seterr(divide='raise')",
    "try: np.array([1.0]) / 0; print('none')\nexcept FloatingPointError as error: print('raised')",
  ],
  "pandas, how it shows": [
    "import pandas as pd; pd.set_option('display.max_rows', 4); pd.options.display.precision = 1",
    "print(pd.DataFrame({'a': [x / 3 for x in range(9)]}))",
  ],
  "matplotlib, its style": [
    "import matplotlib.pyplot as plt; plt.style.use('ggplot'); plt.rcParams['figure.figsize'] = (3, 2)",
    "import matplotlib as m; print(m.rcParams['figure.figsize'], m.rcParams['axes.facecolor'], m.rcParams['axes.prop_cycle'].by_key()['color'][:2])",
  ],
};

test(
  "settings are as they were after sleep, twice over, also where nobody asked in between",
  { timeout: 120_000 },
  async () => {
    const sessions = await Promise.all(
      Object.entries(SETTINGS).map(async ([title, [set, show]], at) => {
        const session = await it.client.create(`setting-${at}`, { imaging: "never", memory_mib: 512 });
        await session.prints("", set);
        const before = await session.run(show);
        assert.equal(before.exit_code, 0, `${title}: ${before.stderr}`);
        return { title, session, show, before };
      }),
    );
    const sleep = (id: string) => it.client.expect(200, "POST", `/api/sessions/${id}/hibernate`);
    for (const { title, session, show, before } of sessions) {
      const { state } = await sleep(session.id);
      assert.deepEqual(state.not_kept, [], title);
      await session.prints("", "x = 1");
      await sleep(session.id);
      const after = await session.run(show);
      assert.deepEqual([after.stdout, after.stderr], [before.stdout, before.stderr], title);
    }
  },
);

test("settings go with a version that is gone back to, and with a copy", async () => {
  const session = await it.client.create("versions", { imaging: "never" });
  await session.prints("", "import sys; sys.setrecursionlimit(2000)");
  await session.prints("", "import sys; sys.setrecursionlimit(3000)");
  await until("both are saved", async () => (await session.get()).state.saved_version === 2);
  await it.client.expect(200, "POST", `${session.path}/rollback`, { version: 1 });
  await session.prints("2000\n", "print(sys.getrecursionlimit())");
  await it.client.expect(201, "POST", `${session.path}/duplicate`, { new_id: "versions-copy" });
  await it.client.session("versions-copy").prints("2000\n", "print(sys.getrecursionlimit())");
});

test("one setting that cannot be put back is named, and takes no other with it", async () => {
  const session = await it.client.create("gone", { imaging: "never" });
  await session.prints(
    "",
    "import logging, os; os.mkdir('/dev/shm/logs'); logging.getLogger('a').addHandler(logging.FileHandler('/dev/shm/logs/a')); logging.getLogger('b').setLevel(35)",
  );
  await it.client.expect(200, "POST", `${session.path}/hibernate`);
  await session.prints("35\n", "import logging; print(logging.getLogger('b').level)");
  const { state } = await it.client.expect(200, "POST", `${session.path}/hibernate`);
  assert.deepEqual(
    state.not_kept.map(({ name }: { name: string }) => name),
    ["logging: a handler of a"],
  );
});

test("a list of filters that holds anything at all harms no save", async () => {
  const session = await it.client.create("odd", { imaging: "never" });
  await session.prints(
    "",
    "import warnings\nclass Own(UserWarning): pass\nwarnings.filters[:0] = [7, ('ignore', None, Own, None, 0), ('error', object(), UserWarning, None, 0)]\nkept = 1",
  );
  const { state } = await it.client.expect(200, "POST", `${session.path}/hibernate`);
  assert.deepEqual(
    state.not_kept.map(({ name }: { name: string }) => name),
    ["warnings: filter of None", "warnings: filter of Own"],
  );
  await session.prints("1\n", "print(kept)");
});

test("a library whose settings cannot be told is named; a module of the program's own that has its name is not", async () => {
  const namesAfter = async (id: string, code: string) => {
    const session = await it.client.create(id, { imaging: "never" });
    await session.prints("", code);
    const { state } = await it.client.expect(200, "POST", `${session.path}/hibernate`);
    return state.not_kept.map(({ name }: { name: string }) => name);
  };
  assert.deepEqual(await namesAfter("broken", "import numpy; del numpy.geterr"), ["numpy"]);
  const own = "open('csv.py', 'w').write('x = 1')\nimport csv; assert csv.x == 1";
  assert.deepEqual(await namesAfter("own-csv", own), []);
});

test("what cannot be set again is named", async () => {
  const session = await it.client.create("named", { imaging: "never" });
  await session.prints(
    "",
    "import logging\nclass Own(logging.Handler):\n    def emit(self, record): pass\nlogging.getLogger().addHandler(Own())",
  );
  const { state } = await it.client.expect(200, "POST", `${session.path}/hibernate`);
  assert.deepEqual(
    state.not_kept.map(({ name, type }: { name: string; type: string }) => [name, type]),
    [["logging: handlers of root", "setting"]],
  );
  const timer = await it.client.create("timer", { imaging: "never" });
  await timer.prints("", "import signal; signal.alarm(1000)");
  const timed = await it.client.expect(200, "POST", `${timer.path}/hibernate`);
  assert.deepEqual(
    timed.state.not_kept.map(({ name }: { name: string }) => name),
    ["signal: a timer"],
  );
  const zone = await it.client.create("zone", { imaging: "never" });
  await zone.prints("", "import os, time; os.environ['TZ'] = 'Asia/Tokyo'; time.tzset()");
  const asleep = await it.client.expect(200, "POST", `${zone.path}/hibernate`);
  assert.deepEqual(
    asleep.state.not_kept.map(({ name }: { name: string }) => name),
    ["time: tzset"],
  );
});
