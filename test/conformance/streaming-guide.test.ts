/** The examples of the guide to streaming output, and of the quick start's: T and Q5. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readEvents, type SentEvent, streamRun, textOf } from "../support/events.ts";
import { conformance } from "./rounds.ts";

const codeOf = (events: readonly SentEvent[]) => events.at(-1)?.data.exit_code;
const gaps = (events: readonly SentEvent[]) =>
  events.slice(1).map(({ atMs }, at) => atMs - (events[at]?.atMs ?? 0));

conformance("streaming", {
  "T1, Q5: lines arrive as they are printed, without a flush": async (client, name) => {
    const session = await client.create(name("t1"));
    const events = await streamRun(client.url + session.path, {
      code: `import time\nfor step in range(10):\n    print(f"Step {step}")\n    time.sleep(0.4)`,
    });
    const lines = events.filter(({ event }) => event === "stdout");
    assert.deepEqual(
      lines.map(({ data }) => data.content),
      Array.from({ length: 10 }, (_, step) => `Step ${step}\n`),
    );
    for (const gap of gaps(lines)) assert.ok(gap > 200 && gap < 800, `a gap of ${gap} ms`);
    assert.deepEqual([events.at(-1)?.event, codeOf(events)], ["done", 0]);
    assert.deepEqual(
      lines.map(({ id }) => Number(id)),
      lines.map((_, at) => (at + 1) * "Step 0\n".length),
    );
  },
  "T2: tokens arrive one by one": async (client, name) => {
    const session = await client.create(name("t2"));
    const words = "The quick brown fox jumps over it".split(" ");
    const events = await streamRun(client.url + session.path, {
      code: `import time\nfor word in ${JSON.stringify(words)}:\n    print(word, end=" ", flush=True)\n    time.sleep(0.1)`,
    });
    const chunks = events.filter(({ event }) => event === "stdout");
    assert.ok(chunks.length >= 4 && chunks.length <= 9, `${chunks.length} chunks`);
    assert.equal(textOf(events, "stdout"), `${words.join(" ")} `);
  },
  "T3: tasks, levels and countdowns in order": async (client, name) => {
    const session = await client.create(name("t3"));
    const events = await streamRun(client.url + session.path, {
      code: `import random
def expensive_computation(n):
    total = 0
    for i in range(n):
        total += i * i
        if i % 250 == 0: print(f"Progress: {i * 100 // n}%")
    return total
for number in range(3): print(f"Task {number + 1}/3")
print("Result:", expensive_computation(1000))
for _ in range(3): print(f"[{random.choice(['INFO', 'WARN', 'ERROR'])}] message")
for left in range(3, 0, -1): print(left)
[print(f"Item {item}") for item in range(3)]
print("Liftoff!")`,
    });
    const lines = textOf(events, "stdout").trim().split("\n");
    assert.deepEqual(lines.slice(0, 8), [
      "Task 1/3",
      "Task 2/3",
      "Task 3/3",
      "Progress: 0%",
      "Progress: 25%",
      "Progress: 50%",
      "Progress: 75%",
      "Result: 332833500",
    ]);
    assert.deepEqual(lines.slice(11), ["3", "2", "1", "Item 0", "Item 1", "Item 2", "Liftoff!"]);
  },
  "T4: lines of JSON": async (client, name) => {
    const session = await client.create(name("t4"));
    const events = await streamRun(client.url + session.path, {
      code: `import json, time\nfor token in ["Hel", "lo"]:\n    print(json.dumps({"choices": [{"delta": {"content": token}}]}))\n    time.sleep(0.05)`,
    });
    const tokens = events
      .filter(({ event }) => event === "stdout")
      .map(({ data }) => JSON.parse(String(data.content)).choices[0].delta.content);
    assert.deepEqual(tokens, ["Hel", "lo"]);
  },
  "T5: a progress bar with carriage returns": async (client, name) => {
    const session = await client.create(name("t5"));
    const events = await streamRun(client.url + session.path, {
      code: `for percent in range(0, 101, 50): print(f"\\rProgress: {percent}%", end="")\nprint("\\n✅ Done!")`,
    });
    assert.equal(textOf(events, "stdout"), "\rProgress: 0%\rProgress: 50%\rProgress: 100%\n✅ Done!\n");
  },
  "T6: pipelines, batches, primes and estimates": async (client, name) => {
    const session = await client.create(name("t6"));
    const events = await streamRun(client.url + session.path, {
      code: `import random, sys
for at in range(0, 50, 10): print(f"Batch {at // 10 + 1}/5")
for service in ["api", "db"]:
    print(f"Checking {service}... ", end="", flush=True)
    print("OK")
primes = [n for n in range(2, 1001) if all(n % d for d in range(2, int(n ** 0.5) + 1))]
for at, prime in enumerate(primes): print(prime)
print("Total primes:", len(primes))
random.seed(1)
inside = sum(random.random() ** 2 + random.random() ** 2 <= 1 for _ in range(100_000))
print("Pi is", round(4 * inside / 100_000, 1))
for step in ["Downloading", "Installing"]: print(f"[{step}]")`,
    });
    const text = textOf(events, "stdout");
    assert.match(text, /Batch 5\/5\nChecking api\.\.\. OK\nChecking db\.\.\. OK\n2\n3\n5\n/);
    assert.match(text, /\n997\nTotal primes: 168\nPi is 3\.1\n\[Downloading\]\n\[Installing\]\n$/);
  },
  "T7: standard error, and a program that raises": async (client, name) => {
    const session = await client.create(name("t7"));
    const events = await streamRun(client.url + session.path, {
      code: `import sys\nprint("warning", file=sys.stderr)\nraise ValueError("bad input")`,
    });
    assert.match(textOf(events, "stderr"), /^warning\n[\s\S]*ValueError: bad input\n$/);
    assert.equal(codeOf(events), 1);
  },
  "T8: limits": async (client, name) => {
    const session = await client.create(name("t8"));
    assert.equal(codeOf(await streamRun(client.url + session.path, { code: "print(1)", timeout: 300 })), 0);
    const events = await streamRun(client.url + session.path, {
      code: `import time\nprint("begun")\ntime.sleep(30)`,
      timeout: 1,
    });
    assert.deepEqual([textOf(events, "stdout"), codeOf(events)], ["begun\n", 124]);
  },
  "T9, T10, T11: a shell script reads a stream, line by line": async (client, name) => {
    const script = `set -e
curl -s -X POST $URL/api/sessions -d '{"session_id":"'$ID'","language":"python"}' >/dev/null
curl -sN -D headers -X POST $URL/api/sessions/$ID/stream -d '{"code":"for i in range(10): print(\\"Line\\", i)"}' |
while IFS= read -r line; do
  case $line in
    data:*exit_code*) printf 'Completed: exit_code=%s\\n' "$(printf '%s' "$line" | sed 's/.*"exit_code":\\([0-9]*\\).*/\\1/')";;
    data:*content*) printf '%s\\n' "$(printf '%s' "$line" | sed 's/.*"content":"\\([^"\\\\]*\\).*/\\1/')";;
  esac
done
grep -i '^content-type: text/event-stream' headers >/dev/null
rm headers
curl -s -X DELETE $URL/api/sessions/$ID >/dev/null`;
    const output = execFileSync("bash", ["-c", `cd "$(mktemp -d)"; ${script}`], {
      env: { ...process.env, URL: client.url, ID: name("streaming-demo") },
      encoding: "utf8",
    });
    const lines = output.trim().split("\n");
    assert.deepEqual([lines.length >= 2, lines[0], lines.at(-1)], [true, "Line 0", "Completed: exit_code=0"]);
  },
  "a stream goes on after any event, and does not end its run unless it is asked to": async (
    client,
    name,
  ) => {
    const session = await client.create(name("resume"));
    const url = client.url + session.path;
    const code = `import time\nfor at in range(8):\n    print(at)\n    time.sleep(0.1)\nopen("whole", "w").close()`;
    const first = new AbortController();
    const response = await fetch(`${url}/stream`, {
      method: "POST",
      body: JSON.stringify({ code }),
      signal: first.signal,
    });
    for await (const { id } of readEvents(response)) if (id === "4") break;
    first.abort();
    const { runs } = await client.expect(200, "GET", `${session.path}/runs`);
    const rest = await fetch(`${client.url}/api/runs/${runs[0].run_id}/stream`, {
      headers: { "last-event-id": "4" },
    });
    const events = await Array.fromAsync(readEvents(rest));
    assert.deepEqual(
      [events[0]?.id, textOf(events, "stdout"), codeOf(events)],
      ["6", "2\n3\n4\n5\n6\n7\n", 0],
    );
    await session.prints("True\n", `import os; print(os.path.exists("whole"))`);
    const second = new AbortController();
    const wanted = await fetch(`${url}/stream`, {
      method: "POST",
      body: JSON.stringify({
        code: `os.remove("whole")\nprint("begun")\n${code}`,
        cancel_on_disconnect: true,
      }),
      signal: second.signal,
    });
    for await (const { event } of readEvents(wanted)) if (event === "stdout") break;
    second.abort();
    await session.prints("False\n", `print(os.path.exists("whole"))`);
  },
});
