/** Standard input: a text that is there from the start, and input that is asked for while a run goes on. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { SessionClient } from "../support/client.ts";
import { oneServer } from "../support/one-server.ts";
import { TestServer, until } from "../support/server.ts";

const it = oneServer({ ERA_POOL: "python=1" });

// biome-ignore lint/suspicious/noExplicitAny: events are looked at field by field
type Event = any;

/** The events of a run as they come; `answer` is called for each, and may do something about it. */
async function follow(
  session: SessionClient,
  body: object,
  answer: (event: Event) => Promise<unknown> | undefined = () => undefined,
): Promise<Event[]> {
  const response = await fetch(`${session.client.url}${session.path}/stream`, {
    method: "POST",
    body: JSON.stringify(body),
  });
  assert.equal(response.status, 200, await (response.ok ? "" : response.text()));
  return eventsOf(response, answer);
}

async function eventsOf(
  response: Response,
  answer: (event: Event) => Promise<unknown> | undefined,
): Promise<Event[]> {
  const events: Event[] = [];
  let pending = "";
  for await (const text of response.body?.pipeThrough(
    new TextDecoderStream() as never,
  ) as AsyncIterable<string>) {
    const parts = (pending + text).split("\n\n");
    pending = parts.pop() ?? "";
    for (const part of parts) {
      const event = JSON.parse(/^data: (.*)$/m.exec(part)?.[1] ?? "null");
      events.push(event);
      await answer(event);
    }
  }
  return events;
}

const give = (runId: string, text: string, end = false) =>
  it.client.expect(200, "POST", `/api/runs/${runId}/stdin`, { text, end });

const READERS: Record<string, string> = {
  python: "a = input(); b = input(); print(b, a)",
  node: "import fs from 'node:fs'; const [a, b] = fs.readFileSync(0, 'utf8').split('\\n'); console.log(b, a)",
  typescript:
    "let all: string = ''; for await (const part of process.stdin) all += part; const [a, b] = all.split('\\n'); console.log(b, a)",
  deno: "const all = await new Response(Deno.stdin.readable).text(); const [a, b] = all.split('\\n'); console.log(b, a)",
  bash: 'read a; read b; echo "$b $a"',
  go: 'package main\nimport "fmt"\nfunc main() { var a, b string; fmt.Scanln(&a); fmt.Scanln(&b); fmt.Println(b, a) }',
};

for (const [language, code] of Object.entries(READERS))
  test(`${language}: a text is read, by each run its own, and by a program that runs alone`, async () => {
    const session = await it.client.create(`text-${language}`, { language });
    const fields = { stdin: "one\ntwo\nthree\n" };
    for (let round = 0; round < 2; round++) await session.prints("two one\n", code, fields);
    assert.equal((await it.client.execute(code, { language, ...fields })).stdout, "two one\n");
    await session.hibernate();
    await session.prints("two one\n", code, fields);
    const none = await session.run(code);
    assert.notEqual(none.stdout, "two one\n", "what was left is not the next one's");
  });

test("a command of the shell reads it, as do programs that a run starts, and 2 MiB of it", async () => {
  const session = await it.client.create("readers");
  const shell = await it.client.expect(200, "POST", `${session.path}/shell`, {
    command: "sort -r",
    stdin: "a\nb\n",
  });
  assert.equal(shell.stdout, "b\na\n");
  const big = "0123456789abcde\n".repeat(1 << 17);
  await session.prints(
    "131072\n",
    "import subprocess; print(subprocess.run(['wc', '-l'], capture_output=True, text=True).stdout, end='')",
    {
      stdin: big,
    },
  );
  await it.client.expect(400, "POST", `${session.path}/run`, { code: "1", stdin: `${big}x` });
  await session.fails(/EOFError: EOF when reading a line\n.*'stdin'/, "input()");
});

for (const language of ["python", "node", "bash"])
  test(`${language}: a text may be larger than a file of the session's, which still have their limit`, async () => {
    const session = await it.client.create(`small-disk-${language}`, { language, disk_mib: 1 });
    const stdin = "x".repeat(2 << 20);
    const code = {
      python: "import sys; print(len(sys.stdin.read()))",
      node: "import fs from 'node:fs'; console.log(fs.readFileSync(0).length)",
      bash: "wc -c",
    }[language];
    await session.prints(`${2 << 20}\n`, code ?? "", { stdin });
    await session.prints(`${2 << 20}\n`, code ?? "", { stdin });
    const shell = (command: string) =>
      it.client.expect(200, "POST", `${session.path}/shell`, { command, stdin });
    assert.equal((await shell("wc -c")).stdout, `${2 << 20}\n`);
    assert.match((await shell("head -c 1500000 /dev/zero > big; wc -c < big")).stdout, /^10\d+\n$/);
  });

test("input that is more than may wait to be read is dropped, and that is said", async () => {
  const session = await it.client.create("much-input");
  const part = "x".repeat(1 << 20);
  const events = await follow(
    session,
    { code: "import time; print('begun', flush=True); time.sleep(1)", interactive: true },
    async (event) => {
      if (event.content !== "begun\n") return;
      for (let at = 0; at < 6; at++) await give(event.run_id, part);
    },
  );
  const told = events.filter(({ type }) => type === "stderr").map(({ content }) => content);
  assert.match(told.join(""), /\d+ bytes of input were dropped: at most 4 MiB/);
});

test("a program that gives up a question, and asks anew, is heard again", async () => {
  const session = await it.client.create("asks-anew");
  const code = `import signal, time
def over(*_): raise TimeoutError
signal.signal(signal.SIGALRM, over); signal.alarm(1)
try: input("first? ")
except TimeoutError: time.sleep(1)
print(input("second? "))`;
  const events = await follow(session, { code, interactive: true }, (event) =>
    event.type === "input_requested" && event.prompt === "second? " ? give(event.run_id, "yes\n") : undefined,
  );
  const prompts = events.filter(({ type }) => type === "input_requested").map(({ prompt }) => prompt);
  assert.deepEqual(prompts.length, 2);
});

const ASKING: Record<string, string> = {
  python: "name = input('name? ')\nage = int(input('age? '))\nprint(name, age + 1)",
  bash: 'printf "name? "; read name; printf "age? "; read age; echo "$name $((age + 1))"',
  go: 'package main\nimport "fmt"\nfunc main() { var name string; var age int; fmt.Print("name? "); fmt.Scanln(&name); fmt.Print("age? "); fmt.Scanln(&age); fmt.Println(name, age + 1) }',
};

for (const [language, code] of Object.entries(ASKING))
  test(`${language}: a run asks, with its prompt, and goes on with what it is given`, async () => {
    const session = await it.client.create(`asks-${language}`, { language });
    const answers = ["ada\n", "41\n"];
    const prompts: string[] = [];
    const events = await follow(session, { code, interactive: true }, async (event) => {
      if (event.type !== "input_requested") return;
      prompts.push(event.prompt);
      await give(event.run_id, answers.shift() ?? "");
    });
    assert.deepEqual(prompts, ["name? ", "age? "]);
    const done = events.at(-1);
    assert.equal(done.exit_code, 0);
    const printed = events.filter(({ type }) => type === "stdout").map(({ content }) => content);
    assert.equal(printed.join(""), "name? age? ada 42\n");
    const record = await fetch(`${it.server.url}/api/runs/${done.run_id}/stream`);
    const again = await eventsOf(record, () => undefined);
    assert.deepEqual(again, events, "the record tells the same");
    await session.run(language === "go" ? code : "x=1", { stdin: "a\n1\n" });
    await session.hibernate();
  });

test("what a program asks of another one is asked, too, and the end of input ends it", async () => {
  const session = await it.client.create("child");
  const code =
    "import subprocess; print(subprocess.run(['cat'], capture_output=True, text=True).stdout.upper(), end='')";
  let asked = 0;
  const events = await follow(session, { code, interactive: true }, async (event) => {
    if (event.type !== "input_requested") return;
    asked += 1;
    await give(event.run_id, asked === 1 ? "first\n" : "last\n", asked === 2);
  });
  assert.equal(
    events
      .filter(({ type }) => type === "stdout")
      .map(({ content }) => content)
      .join(""),
    "FIRST\nLAST\n",
  );
});

test("without an answer the time limit holds, and who asks in vain is told", async () => {
  const session = await it.client.create("vain");
  const events = await follow(session, { code: "input('? ')", interactive: true, timeout: 1 });
  assert.equal(events.at(-1).exit_code, 124);
  const { run_id } = events.at(-1);
  const late = await it.client.expect(409, "POST", `/api/runs/${run_id}/stdin`, { text: "x" });
  assert.equal(late.code, "not_interactive");
  await it.client.expect(404, "POST", "/api/runs/run_unknown/stdin", { text: "x" });
  const node = await it.client.create("no-asking", { language: "node" });
  const refused = await it.client.expect(400, "POST", `${node.path}/run`, {
    code: "1",
    interactive: true,
  });
  assert.match(refused.error, /'interactive'/);
  const running = session.run("import time; time.sleep(1.5); print('done')");
  let current: string | null = null;
  await until("it runs", async () => {
    const { runs } = await it.client.expect(200, "GET", `${session.path}/runs?limit=1`);
    current = runs[0].status === "running" ? runs[0].run_id : null;
    return current !== null;
  });
  await it.client.expect(409, "POST", `/api/runs/${current}/stdin`, { text: "x" });
  assert.equal((await running).stdout, "done\n");
});

test("input that was given before it is read is there, also much of it, and a run that never reads ends", async () => {
  const session = await it.client.create("ahead");
  const code = "import sys, time; time.sleep(0.3); print(sum(len(line) for line in sys.stdin))";
  const stream = follow(session, { code, interactive: true, stdin: `${"x".repeat(99)}\n` });
  let current = "";
  await until("it runs", async () => {
    const { runs } = await it.client.expect(200, "GET", `${session.path}/runs?limit=1`);
    current = runs[0]?.status === "running" ? runs[0].run_id : "";
    return current !== "";
  });
  for (let part = 0; part < 3; part++) await give(current, `${"y".repeat(999_999)}\n`, part === 2);
  const events = await stream;
  assert.equal(
    events
      .filter(({ type }) => type === "stdout")
      .map(({ content }) => content)
      .join(""),
    "3000100\n",
  );
  const unread = await follow(session, { code: "print(1)", interactive: true, stdin: "z".repeat(1 << 20) });
  assert.equal(unread.at(-1).exit_code, 0);
});

test("a run that waits for input goes on waiting when the server is killed, and takes it from the next one", async () => {
  let first = await TestServer.start({ ERA_POOL: "python=1" });
  const session = await first.client.create("survivor");
  let runId = "";
  const broken = follow(
    session,
    { code: "print('got', input('? '))", interactive: true, timeout: 60 },
    async (event) => {
      if (event.type === "input_requested") runId = event.run_id;
      return undefined;
    },
  ).catch(() => []);
  await until("it asks", () => runId !== "");
  await first.kill();
  await broken;
  first = await TestServer.start({ ERA_POOL: "python=1" }, first.dataDir);
  const response = await fetch(`${first.url}/api/runs/${runId}/stream`);
  const events = await eventsOf(response, async (event) => {
    if (event.type === "input_requested")
      await first.client.expect(200, "POST", `/api/runs/${runId}/stdin`, { text: "it\n" });
    return undefined;
  });
  assert.equal(events.at(-1).exit_code, 0);
  assert.equal(
    events
      .filter(({ type }) => type === "stdout")
      .map(({ content }) => content)
      .join(""),
    "? got it\n",
  );
  await first.stop();
  await first.removeData();
});
