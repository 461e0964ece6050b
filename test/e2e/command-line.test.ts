/** The command line against a server: as a person types it, and as a script reads it. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { oneServer } from "../support/one-server.ts";
import { until } from "../support/server.ts";

const ERA = fileURLToPath(new URL("../../era", import.meta.url));
const OPERATOR = "operator-key-of-the-test";
const it = oneServer({ ERA_POOL: "python=1", ERA_API_KEY: OPERATOR });
const folder = mkdtempSync(join(tmpdir(), "era-test-"));
const env = { ...process.env, ERA_API_KEY: OPERATOR };

/** A command at the test's server, with this on its standard input. */
function era(args: readonly string[], input = "") {
  const { status, stdout, stderr } = spawnSync(ERA, [...args, "--server", it.server.url], {
    env,
    input,
    encoding: "utf8",
  });
  return { status, stdout, stderr };
}

function program(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

test("run takes the language from the file's name, prints the last value, and ends with the program's status", () => {
  assert.deepEqual(era(["run", program("a.js", "console.log('node'); process.exit(4)")]), {
    status: 4,
    stdout: "node\n",
    stderr: "",
  });
  assert.equal(era(["run", program("a.sh", "echo bash")]).stdout, "bash\n");
  assert.equal(era(["run", program("a.go", 'package main\nfunc main() { println("go") }')]).stderr, "go\n");
  assert.equal(era(["run", "-c", "6 * 7"]).stdout, "42\n");
  assert.equal(era(["run", "-"], "print('from standard input')").stdout, "from standard input\n");
});

test("run asks when the program asks, shows pictures, and says in a line what is wrong", () => {
  const asked = era(["run", "-c", "a = input('? '); b = input(); print(a + b)"], "one\ntwo\n");
  assert.deepEqual([asked.stdout, asked.status], ["? onetwo\n", 0]);
  assert.match(era(["run", "-c", "input()"], "").stderr, /EOFError/);
  const plot = "import matplotlib.pyplot as plt\nplt.plot([1, 2]); plt.show()";
  const shown = era(["run", "-c", plot, "--pictures", folder]);
  assert.match(shown.stderr, /picture-1\.png/);
  assert.equal(readFileSync(join(folder, "picture-1.png")).subarray(1, 4).toString(), "PNG");
  assert.match(era(["run", "-c", plot]).stderr, /a picture of \d+ bytes: --pictures/);
  for (const args of [
    ["run", "-c", "1", "--language", "cobol"],
    ["run", join(folder, "none.py")],
    ["run", "-c", "1", "--timeout", "x"],
  ]) {
    const { status, stderr } = era(args);
    assert.notEqual(status, 0);
    assert.equal(stderr.trim().split("\n").length, 1, stderr);
    assert.doesNotMatch(stderr, /\{|at file/);
  }
});

test("Ctrl-C interrupts the program, and its status is told", async () => {
  const child = spawn(
    ERA,
    [
      "run",
      "--session",
      "interrupted",
      "-c",
      "import time\nkept = 1\nprint('begun', flush=True)\ntime.sleep(60)",
      "--server",
      it.server.url,
    ],
    { env, stdio: ["ignore", "pipe", "pipe"] },
  );
  let out = "";
  child.stdout.on("data", (chunk) => {
    out += chunk;
  });
  await until("it has begun", () => out.includes("begun"));
  child.kill("SIGINT");
  const [code] = await once(child, "exit");
  assert.equal(code, 130);
  assert.equal(era(["run", "--session", "interrupted", "-c", "kept"]).stdout, "1\n");
});

test("sessions, runs and files are shown as tables, and as JSON", () => {
  era(["run", "--session", "shown", "-c", "open('data.txt', 'w').write('text'); x = 1"]);
  assert.match(era(["sessions"]).stdout, /SESSION +LANGUAGE +STATE[\s\S]*shown +python +idle/);
  assert.match(era(["sessions", "list", "--state", "asleep"]).stdout, /^SESSION/);
  const rows = JSON.parse(era(["sessions", "--json"]).stdout) as { id: string }[];
  assert.ok(rows.some(({ id }) => id === "shown"));
  const [run] = JSON.parse(era(["runs", "list", "shown", "--json"]).stdout) as { run_id: string }[];
  assert.match(era(["runs", "shown"]).stdout, new RegExp(`${run?.run_id} +1 +done +ok +0`));
  assert.equal(era(["runs", "show", run?.run_id ?? ""]).status, 0);
  assert.match(era(["files", "shown"]).stdout, /4 B +\S+ \S+ +data\.txt/);
  assert.equal(era(["files", "get", "shown", "data.txt"]).stdout, "text");
  const local = program("up load.bin", "uploaded");
  assert.equal(era(["files", "put", "shown", "in/up load.bin", local]).status, 0);
  assert.equal(era(["files", "get", "shown", "in/up load.bin", join(folder, "back")]).status, 0);
  assert.equal(readFileSync(join(folder, "back"), "utf8"), "uploaded");
  assert.equal(era(["files", "delete", "shown", "in"]).status, 0);
  assert.match(era(["sessions", "sleep", "shown"]).stdout, /shown sleeps/);
  assert.match(era(["sessions", "delete", "shown"]).stdout, /shown is deleted/);
  const gone = era(["files", "shown"]);
  assert.deepEqual([gone.status, gone.stderr.split("\n").length], [1, 2]);
  assert.equal(era(["files"]).status, 2);
});

test("keys are made, used, listed and revoked, and what was done with them is listed", () => {
  const key = era(["keys", "create", "--name", "a script"]).stdout.trim();
  assert.match(key, /^era_k/);
  const mine = spawnSync(ERA, ["run", "-c", "print('mine')", "--server", it.server.url], {
    env: { ...env, ERA_API_KEY: key },
    encoding: "utf8",
  });
  assert.equal(mine.stdout, "mine\n");
  const id = key.split("_")[1] ?? "";
  assert.match(era(["keys"]).stdout, new RegExp(`${id} +a script +run`));
  assert.match(era(["logs"]).stdout, new RegExp(`${id} +streamRun`));
  assert.equal(era(["keys", "revoke", id]).stdout, `${id} is revoked\n`);
  assert.match(era(["keys", "revoke", id]).stderr, /Cannot find the key/);
});
