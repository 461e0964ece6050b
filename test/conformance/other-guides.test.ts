/** The examples of the other guides that need only Python runs: E, D, O, Q and L. */
import assert from "node:assert/strict";
import { conformance } from "./rounds.ts";

const READ_DATA = `import json\nwith open(".session_data.json") as f:\n    data = json.load(f)\n`;
const WRITE_DATA = `\nwith open(".session_data.json", "w") as f:\n    json.dump(data, f)\n`;

conformance("environment variables", {
  "E1: the session's own variables": async (client, name) => {
    const session = await client.create(name("my-session"));
    await session.prints(
      `Session ID: ${name("my-session")}\nLanguage: python\n`,
      `import os\nprint(f"Session ID: {os.environ["ERA_SESSION_ID"]}")\nprint(f"Language: {os.environ["ERA_LANGUAGE"]}")`,
    );
  },
  "E2: variables of one run": async (client, name) => {
    const session = await client.create(name("e2"));
    const env = { API_KEY: "secret123", DATABASE_URL: "postgres://localhost/db" };
    await session.prints(
      "API Key: secret123\n",
      `import os\nprint(f"API Key: {os.environ.get("API_KEY")}")`,
      { env },
    );
    await session.prints("API Key: secret123\n", `print(f"API Key: {os.environ.get("API_KEY")}")`, {
      envs: env,
    });
  },
  "E5: they are gone on the next run": async (client, name) => {
    const session = await client.create(name("prod-session"));
    const code = `import os\nprint(os.environ.get("SECRET"))`;
    await session.prints("secret123\n", code, { env: { SECRET: "secret123" } });
    await session.prints("None\n", code);
    await session.prints("secret123\n", code, { env: { SECRET: "secret123" } });
  },
});

conformance("data communication", {
  "D1: data at the beginning": async (client, name) => {
    const data = { counter: 0, users: ["alice", "bob"], config: { theme: "dark" } };
    assert.deepEqual((await (await client.create(name("data-demo"), { data })).get()).data, data);
  },
  "D2: a program reads the data": async (client, name) => {
    const session = await client.create(name("d2"), { data: { counter: 0, users: ["alice", "bob"] } });
    await session.prints(
      "Counter: 0\nUsers: ['alice', 'bob']\n",
      `${READ_DATA}print(f"Counter: {data["counter"]}")\nprint(f"Users: {data["users"]}")`,
    );
  },
  "D3: a program changes the data": async (client, name) => {
    const session = await client.create(name("d3"), { data: { counter: 0, users: ["alice", "bob"] } });
    const answer = await session.prints(
      "Counter incremented to: 1\n",
      `${READ_DATA}data["counter"] += 1\ndata["users"].append("charlie")\ndata["last_run"] = "2024-01-15"${WRITE_DATA}print(f"Counter incremented to: {data["counter"]}")`,
    );
    assert.deepEqual(answer.data, { counter: 1, users: ["alice", "bob", "charlie"], last_run: "2024-01-15" });
    assert.deepEqual((await session.get()).data, answer.data);
  },
  "D4: in one line": async (client, name) => {
    const session = await client.create(name("d4"), { data: { counter: 0 } });
    const answer = await session.run(
      `import json; d = json.load(open(".session_data.json")); d["counter"] += 1; json.dump(d, open(".session_data.json", "w"))`,
    );
    assert.equal(answer.data.counter, 1);
  },
  "D5: a counter service": async (client, name) => {
    const session = await client.create(name("counter-service"), { data: { count: 0, history: [] } });
    const code = `import json; d = json.load(open(".session_data.json")); d["count"] += 1; d["history"].append(d["count"]); json.dump(d, open(".session_data.json", "w")); print(f"Count: {d["count"]}")`;
    await session.prints("Count: 1\n", code);
    const answer = await session.prints("Count: 2\n", code);
    assert.equal(answer.data.history.length, 2);
  },
  "D9: metadata stays outside": async (client, name) => {
    const metadata = { created_by: "admin", project: "demo", environment: "production", version: "1.0" };
    const session = await client.create(name("d9"), { metadata, data: { inside: true } });
    assert.deepEqual((await session.get()).metadata, metadata);
    await session.prints("{'inside': True}\n", `${READ_DATA}print(data)`);
  },
  "D10: limits and caches driven by the data": async (client, name) => {
    const session = await client.create(name("rate-limiter"), { data: { calls: [] } });
    const limiter = `${READ_DATA}import sys, time
now = time.time()
data["calls"] = [t for t in data["calls"] if now - t < 60]
if len(data["calls"]) >= 10:
    print("Rate limit exceeded")
    sys.exit(1)
data["calls"].append(now)${WRITE_DATA}print(f"Call {len(data["calls"])} of 10")`;
    for (let call = 1; call <= 10; call++) await session.prints(`Call ${call} of 10\n`, limiter);
    const refused = await session.run(limiter);
    assert.deepEqual([refused.exit_code, refused.stdout], [1, "Rate limit exceeded\n"]);
    const cache = await client.create(name("ttl-cache"));
    const lookup = `${READ_DATA}import time
cache = data.setdefault("cache", {})
hit = "k" in cache and time.time() - cache["k"]["at"] < 60
cache.setdefault("k", {"value": 42, "at": time.time()})${WRITE_DATA}print("Cache hit" if hit else "Cache miss")`;
    await cache.prints("Cache miss\n", lookup);
    await cache.prints("Cache hit\n", lookup);
    await cache.prints("default\n", `${READ_DATA}print(data.get("absent", "default"))`);
  },
});

conformance("timeouts, scaled down", {
  "O1: a limit for one run": async (client, name) => {
    const session = await client.create(name("o1"));
    await session.prints("Done!\n", `import time\ntime.sleep(1.5)\nprint("Done!")`, { timeout: 3 });
  },
  "O2: a limit for the session": async (client, name) => {
    const session = await client.create(name("long-runner"), { default_timeout: 2 });
    await session.prints("", "import time\ntime.sleep(1.5)");
    await session.prints("", "time.sleep(2.5)", { timeout: 4 });
    assert.equal((await session.run("time.sleep(5)")).exit_code, 124);
  },
  "O3: the limit is changed": async (client, name) => {
    const session = await client.create(name("o3"), { default_timeout: 1 });
    assert.equal((await session.run("import time\ntime.sleep(3)")).exit_code, 124);
    await session.patch({ default_timeout: 4 });
    await session.prints("Quick task\n", `time.sleep(1.5)\nprint("Quick task")`);
  },
  "O4: a run that takes too long": async (client, name) => {
    const session = await client.create(name("o4"));
    await session.prints("", "kept = 41");
    const startedAt = performance.now();
    const answer = await session.run("import time\ntime.sleep(60)", { timeout: 1 });
    assert.equal(answer.exit_code, 124);
    assert.ok(performance.now() - startedAt < 5_000);
    await session.prints("42\n", "print(kept + 1)");
  },
});

conformance("work over several runs", {
  "O6: a batch, a part in each run": async (client, name) => {
    const session = await client.create(name("batch"), { data: { pending: [1, 2, 3, 4, 5], done: [] } });
    const step = `${READ_DATA}batch, data["pending"] = data["pending"][:2], data["pending"][2:]\ndata["done"] += batch${WRITE_DATA}print(f"Remaining: {len(data['pending'])}")`;
    for (const left of [3, 1, 0]) await session.prints(`Remaining: ${left}\n`, step);
    assert.deepEqual((await session.get()).data, { pending: [], done: [1, 2, 3, 4, 5] });
  },
  "O7: a handler for SIGTERM saves progress": async (client, name) => {
    const session = await client.create(name("o7"), { data: { progress: 0 } });
    const answer = await session.run(
      `import signal, sys, time\n${READ_DATA}def save(*_):\n    with open(".session_data.json", "w") as f: json.dump(data, f)\n    sys.exit(124)\nsignal.signal(signal.SIGTERM, save)\nwhile True:\n    data["progress"] += 1\n    time.sleep(0.05)`,
      { timeout: 1 },
    );
    assert.equal(answer.exit_code, 124);
    assert.ok(answer.data.progress > 5, JSON.stringify(answer.data));
  },
  "O8: tried again after each timeout": async (client, name) => {
    const session = await client.create(name("o8"));
    const codes: number[] = [];
    for (let attempt = 0; attempt < 3; attempt++)
      codes.push((await session.run("while True: pass", { timeout: 0.5 })).exit_code);
    assert.deepEqual(codes, [124, 124, 124]);
    await session.prints("fine\n", "print('fine')");
  },
  "O9: progress and measures in the data": async (client, name) => {
    const session = await client.create(name("o9"), { data: { progress: {}, metrics: { runs: 0, avg: 0 } } });
    const code = `import time\n${READ_DATA}began = time.time()\nfor item in range(1, 31):\n    if item % 10 == 0:\n        data["progress"] = {"item": item}\n        with open(".session_data.json", "w") as f: json.dump(data, f)\ntime.sleep(0.02)\nm = data["metrics"]\nm["avg"] = (m["avg"] * m["runs"] + time.time() - began) / (m["runs"] + 1)\nm["runs"] += 1${WRITE_DATA}`;
    for (let run = 1; run <= 3; run++) {
      const { data } = await session.run(code);
      assert.deepEqual([data.progress, data.metrics.runs], [{ item: 30 }, run]);
      assert.ok(data.metrics.avg >= 0.02);
    }
  },
  "O11: what a session and a run say of time": async (client, name) => {
    const session = await client.create(name("o11"), { default_timeout: 60 });
    assert.equal((await session.get()).last_run_at, "");
    const answer = await session.run("import time\ntime.sleep(1.1)");
    assert.match(answer.duration, /^1\.\d+s$/);
    const seen = await session.get();
    assert.deepEqual([seen.id, seen.language, seen.default_timeout], [name("o11"), "python", 60]);
    assert.ok(Date.parse(seen.last_run_at) > Date.now() - 60_000);
  },
  "D6: variables beside the data": async (client, name) => {
    const session = await client.create(name("d6"));
    await session.prints("k true\n", `import os\nprint(os.environ["API_KEY"], os.environ["DEBUG"])`, {
      env: { API_KEY: "k", DEBUG: "true", MAX_RETRIES: "3" },
    });
  },
  "D7: what a program is told of its session": async (client, name) => {
    const session = await client.create(name("d7"));
    await session.prints(
      `${name("d7")} python ${client.url} ${client.url}/proxy/${name("d7")}\n`,
      `import os\nprint(*(os.environ[f"ERA_{name}"] for name in ("SESSION_ID", "LANGUAGE", "BASE_URL", "PROXY_URL")))`,
    );
  },
  "E7: several secrets, another one in each run": async (client, name) => {
    const session = await client.create(name("e7"));
    const code = `import os\nprint(os.environ.get("ENVIRONMENT"), os.environ.get("DATABASE_URL"))`;
    await session.prints("production postgres://x\n", code, {
      env: { ENVIRONMENT: "production", DATABASE_URL: "postgres://x" },
    });
    await session.prints("development None\n", code, { env: { ENVIRONMENT: "development" } });
    await session.prints("A=1\nB=2\nC=3\n", `for name in "ABC": print(f"{name}={os.environ[name]}")`, {
      env: { A: "1", B: "2", C: "3" },
    });
  },
  "Q1, Q6: programs that run alone, and a first session": async (client, name) => {
    const answer = await client.execute(`print("Hello from ERA Agent!")\nprint(2 + 2)`);
    assert.equal(answer.stdout, "Hello from ERA Agent!\n4\n");
    for (const field of ["exit_code", "stdout", "stderr", "duration"]) assert.ok(field in answer, field);
    assert.equal(
      (await client.execute(`console.log("Hello", 2 + 2)`, { language: "node" })).stdout,
      "Hello 4\n",
    );
    const go = `package main\nimport "fmt"\nfunc main() { fmt.Println("Hello from Go!") }`;
    assert.equal((await client.execute(go, { language: "go" })).stdout, "Hello from Go!\n");
    assert.equal((await client.execute("print([n ** 2 for n in range(5)])")).stdout, "[0, 1, 4, 9, 16]\n");
    const session = await client.create(name("q6"));
    await session.prints("", "x = 42");
    await session.prints("x = 42\n", `print(f"x = {x}")`);
  },
});

conformance("quick start and languages", {
  "Q2, L3: a counter": async (client, name) => {
    const session = await client.create(name("my-python-env"), { data: { project: "demo" } });
    await session.prints("Counter initialized: 0\n", `counter = 0\nprint(f"Counter initialized: {counter}")`);
    await session.prints("Counter value: 1\n", `counter += 1\nprint(f"Counter value: {counter}")`);
    await session.prints("Counter value: 2\n", `counter += 1\nprint(f"Counter value: {counter}")`);
    await session.delete();
  },
  "Q3, L4: a file and its lines": async (client, name) => {
    const session = await client.create(name("python-files"));
    await session.prints(
      "File created!\n",
      `with open("data.txt", "w") as f:\n    f.write("Line 1\\nLine 2\\nLine 3\\n")\nprint("File created!")`,
    );
    await session.prints(
      "File contents:\nLine 1\nLine 2\nLine 3\n\n",
      `print("File contents:")\nprint(open("data.txt").read())`,
    );
    await session.prints(
      "Line count: 3\n1: Line 1\n2: Line 2\n3: Line 3\n",
      `lines = open("data.txt").readlines()\nprint(f"Line count: {len(lines)}")\nfor i, line in enumerate(lines, 1):\n    print(f"{i}: {line.strip()}")`,
    );
  },
  "Q4: from creation to deletion": async (client, name) => {
    const session = await client.create(name("q4"));
    await session.prints(
      "Loaded 7 temperature readings\n",
      `temperatures = [72, 68, 75, 70, 73, 71, 74]\nprint(f"Loaded {len(temperatures)} temperature readings")`,
    );
    await session.prints(
      "Average: 71.9°F\nRange: 68°F - 75°F\n",
      `avg = sum(temperatures) / len(temperatures)\nlow, high = min(temperatures), max(temperatures)\nprint(f"Average: {avg:.1f}°F")\nprint(f"Range: {low}°F - {high}°F")`,
    );
    await session.prints("Saved\n", `open("results.txt", "w").write(f"Average: {avg:.1f}")\nprint("Saved")`);
    assert.deepEqual(
      (await session.get()).files.map(({ path }: { path: string }) => path),
      ["results.txt"],
    );
    await session.delete();
  },
});
