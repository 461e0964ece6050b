/** Modules that warm sandboxes import in their idle time: there for who uses them, and no cost for who does not. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { TestServer, until } from "../support/server.ts";

let server: TestServer;
before(async () => {
  server = await TestServer.start({ ERA_POOL: "python=1", ERA_PRELOAD: "pandas, matplotlib.pyplot" });
});
after(async () => {
  await server.stop();
  await server.removeData();
});

/** Waits until the warm sandbox has a kernel more, which has imported what it is to. */
async function prepared(): Promise<void> {
  const isThere = () => {
    const [group = ""] = server.cgroups().filter((path) => path.includes("/pids/"));
    return readdirSync(group).some((name) => {
      try {
        const pids = readFileSync(`${group}/${name}/cgroup.procs`, "utf8").trim().split("\n");
        const sizes = pids.map((pid) =>
          Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]),
        );
        return pids.length >= 3 && sizes.some((kib) => kib > 60_000);
      } catch {
        return false; // no group of a sandbox, or a process that has ended
      }
    });
  };
  await until("a kernel is prepared", isThere, 30_000);
  await sleep(1_500); // the last of its imports
}

const IMPORTED = "import sys; print('pandas' in sys.modules)";

test("a first run that uses them has them at once, and is like any other in all else", async () => {
  await prepared();
  const session = await server.client.create("uses");
  const first = await session.run("import pandas as pd; df = pd.DataFrame({'a': [1, 2]}); df.a.sum()");
  assert.equal(first.results[0].text, "np.int64(3)");
  assert.ok(first.execution_time_ms < 50, `${first.execution_time_ms} ms`);
  await session.run(
    "pd.set_option('display.max_rows', 7); import numpy as np; np.random.seed(3); a = np.random.rand()",
  );
  await session.run(
    "import matplotlib.pyplot as plt; plt.rcParams['lines.linewidth'] = 9; fig = plt.figure()",
  );
  const { memory_bytes } = (await session.get()).usage;
  await session.hibernate();
  await session.prints(
    "7 9.0 [1, 2] True\n",
    "print(pd.get_option('display.max_rows'), plt.rcParams['lines.linewidth'], list(df.a), np.random.rand() != a)",
  );
  assert.ok(memory_bytes < 150e6, `one kernel is left: ${memory_bytes}`);
});

test("a session that wakes with them has them at once", async () => {
  const session = await server.client.create("wakes", { imaging: "never" });
  await session.run("import pandas as pd; df = pd.DataFrame({'a': [1]})");
  await session.hibernate();
  await prepared();
  const woken = await session.run("len(df)");
  assert.equal(woken.results[0].text, "1");
  assert.ok(woken.execution_time_ms < 100, `${woken.execution_time_ms} ms`);
});

test("who does not use them has nothing of them, not even the memory", async () => {
  await prepared();
  const session = await server.client.create("plain");
  await session.prints("False\n", IMPORTED.replaceAll("pandas", "pan' + 'das"));
  const { memory_bytes } = (await session.get()).usage;
  assert.ok(memory_bytes < 25e6, String(memory_bytes));
  await prepared();
  const shell = await server.client.create("shell-first");
  await server.client.expect(200, "POST", `${shell.path}/shell`, { command: "true" });
  await shell.prints("False\n", IMPORTED);
});

test("a session that had only files when it first wakes has them at once", async () => {
  await prepared();
  const session = await server.client.create("files-first");
  await server.client.expect(200, "PUT", `${session.path}/files/data.csv`, "a\n1\n");
  const first = await session.run("import pandas as pd; len(pd.read_csv('data.csv'))");
  assert.equal(first.results[0].text, "1");
  assert.ok(first.execution_time_ms < 120, `${first.execution_time_ms} ms`);
});

test("a module of the session's own, or what a run says of its environment, comes first", async () => {
  await prepared();
  const own = await server.client.create("own");
  await server.client.expect(200, "PUT", `${own.path}/files/pandas.py`, "mine = 'my own'");
  await own.prints("my own\n", "import pandas; print(pandas.mine)");
  await prepared();
  const behind = await server.client.create("behind");
  await server.client.expect(
    200,
    "PUT",
    `${behind.path}/files/calendar.py`,
    "mine = 'one that pandas imports'",
  );
  await behind.run("import pandas");
  await behind.prints("one that pandas imports\n", "import sys; print(sys.modules['calendar'].mine)");
  await prepared();
  const settings = await server.client.create("settings");
  await server.client.expect(200, "PUT", `${settings.path}/files/matplotlibrc`, "lines.linewidth: 7");
  await settings.prints("7.0\n", "import matplotlib.pyplot as plt; print(plt.rcParams['lines.linewidth'])");
  await prepared();
  const told = await server.client.create("told");
  await told.prints("False\n", `${IMPORTED} # pandas`, { env: { PANDAS_SETTING: "1" } });
  await prepared();
  assert.equal(
    (await server.client.execute("import pandas; print(len(pandas.DataFrame({'a': [1]})))")).stdout,
    "1\n",
  );
});

test("what programs import most is found out", async () => {
  const other = await TestServer.start({ ERA_POOL: "python=1" });
  for (let at = 0; at < 3; at++)
    await other.client.execute("import pandas as pd; print(len(pd.DataFrame()))");
  await sleep(4_000);
  const session = await other.client.create("later");
  const first = await session.run("import pandas as pd; 1");
  assert.ok(first.execution_time_ms < 50, `${first.execution_time_ms} ms`);
  await other.stop();
  await other.removeData();
});
