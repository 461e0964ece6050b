/** The tools of a model: by clients of both kinds of the protocol, by curl, and over standard input and output. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Client as ModernClient, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { Client as OlderClient } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport as OlderTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import type { Body } from "../support/client.ts";
import { oneServer } from "../support/one-server.ts";
import { until } from "../support/server.ts";

const it = oneServer({ ERA_API_KEY: "operator-key" });
const MAIN = fileURLToPath(new URL("../../src/main.ts", import.meta.url));
const KEY = { authorization: "Bearer operator-key" };
const NAME = { name: "test", version: "1" };
const NUMBER_OF_TOOLS = 25;

type Options = { signal?: AbortSignal; onprogress?: (progress: Body) => void; timeout?: number };
type Caller = {
  call: (name: string, args?: object, options?: Options) => Promise<Body>;
  tools: () => Promise<Body[]>;
  read: (uri: string) => Promise<Body>;
  resources: () => Promise<Body[]>;
  close: () => Promise<void>;
};

const open: Caller[] = [];
after(async () => {
  for (const caller of open) await caller.close();
});

// biome-ignore lint/suspicious/noExplicitAny: both packages have the same methods, and types of their own
function callerOf(client: any): Caller {
  const caller: Caller = {
    call: (name, args = {}, options = {}) => callOf(client, { name, arguments: args }, options),
    tools: async () => (await client.listTools()).tools,
    read: async (uri) => (await client.readResource({ uri })).contents[0],
    resources: async () => (await client.listResources()).resources,
    close: () => client.close(),
  };
  open.push(caller);
  return caller;
}

// biome-ignore lint/suspicious/noExplicitAny: as above
const callOf = (client: any, params: object, options: Options) =>
  client instanceof OlderClient
    ? client.callTool(params as never, undefined, options as never)
    : client.callTool(params, options);

const CLIENTS: Record<string, () => Promise<Caller>> = {
  "of the stateless protocol": async () => {
    const client = new ModernClient(NAME, { versionNegotiation: { mode: "auto" } });
    const url = new URL(`${it.server.url}/mcp`);
    await client.connect(new StreamableHTTPClientTransport(url, { requestInit: { headers: KEY } }));
    return callerOf(client);
  },
  "of the older protocol": async () => {
    const client = new OlderClient(NAME);
    const url = new URL(`${it.server.url}/mcp/v1`);
    await client.connect(new OlderTransport(url, { requestInit: { headers: KEY } }) as never);
    return callerOf(client);
  },
  "over standard input and output": async () => {
    const client = new OlderClient(NAME);
    const args = ["--disable-warning=ExperimentalWarning", MAIN, "mcp", "--server", it.server.url];
    const env = { ...(process.env as Record<string, string>), ERA_API_KEY: "operator-key" };
    await client.connect(new StdioClientTransport({ command: process.execPath, args, env }));
    return callerOf(client);
  },
};

const textOf = (answer: Body) => answer.content.find(({ type }: Body) => type === "text")?.text;
const client = () => {
  Object.assign(it.client.headers, KEY);
  return it.client;
};

for (const [kind, connect] of Object.entries(CLIENTS)) {
  test(`ten calls with a sleep in the middle, by a client ${kind}`, { timeout: 120_000 }, async () => {
    const { call, tools, read, resources } = await connect();
    const listed = await tools();
    assert.equal(listed.length, NUMBER_OF_TOOLS);
    for (const tool of listed)
      assert.ok(tool.outputSchema && tool.annotations && tool.description.length < 2048);

    const made = await call("era_create_session", { language: "python" });
    const id = /^Session ID: (\S+)$/m.exec(textOf(made))?.[1];
    assert.equal(id, made.structuredContent.id);
    const first = await call("era_run_in_session", { session_id: id, code: "x = 42\nprint('x =', x)" });
    assert.match(textOf(first), /^Exit Code: 0\n\nStdout:\nx = 42\n\nDuration: /);
    const address = await call("era_run_in_session", {
      session_id: id,
      code: "import os\nos.environ['ERA_PROXY_URL']",
    });
    const isRemote = kind !== "over standard input and output";
    if (isRemote) assert.equal(address.structuredContent.result, `'${it.server.url}/proxy/${id}'`);
    await client().expect(200, "POST", `/api/sessions/${id}/hibernate`);
    const second = await call("era_run_in_session", { session_id: id, code: "x + 1" });
    assert.deepEqual([second.structuredContent.result, second.structuredContent.exit_code], ["43", 0]);
    assert.match(textOf(second), /Result:\n43/);

    const failed = await call("era_run_in_session", { session_id: id, code: "1 / 0" });
    assert.equal(failed.isError ?? false, false, "a program that fails is an answer");
    assert.match(textOf(failed), /^Exit Code: 1\n\nStderr:\n[\s\S]*ZeroDivisionError/);

    const plot = await call("era_run_in_session", {
      session_id: id,
      code: "import matplotlib.pyplot as plt\n_ = plt.plot([1, 2])\nplt.show()",
    });
    const image = plot.content.find(({ type }: Body) => type === "image");
    assert.equal(Buffer.from(image.data, "base64").subarray(1, 4).toString(), "PNG");

    await call("era_upload_file", { session_id: id, path: "in/data.csv", content: "a,b\n1,2" });
    const shell = await call("era_shell", { session_id: id, command: "wc -l < in/data.csv; echo 'it''s'" });
    assert.equal(shell.structuredContent.stdout, "1\nits\n");
    assert.match(textOf(await call("era_list_files", { session_id: id })), /- in\/data\.csv \(7 B\)/);
    const file = await call("era_read_file", { session_id: id, file_path: "/workspace/in/data.csv" });
    assert.equal(textOf(file), "File: in/data.csv\n\nContent:\na,b\n1,2");
    const variables = await call("era_variables", { session_id: id, name: "x" });
    assert.equal(variables.structuredContent.value, 42);
    assert.match(textOf(await call("era_list_sessions")), new RegExp(`- ${id}: python, persistent`));

    const uris = (await resources()).map(({ uri }) => uri);
    assert.ok(uris.includes(`session://${id}`) && uris.includes(`session://${id}/files`));
    assert.equal(JSON.parse((await read(`session://${id}/files`)).text).files[0].path, "in/data.csv");
    assert.equal((await read(`session://${id}/files/in/data.csv`)).text, "a,b\n1,2");
    assert.equal(JSON.parse((await read(`run://${first.structuredContent.run_id}`)).text).stdout, "x = 42\n");

    const unknown = await call("era_get_session", { session_id: "nobody" });
    assert.equal(unknown.isError, true);
    assert.match(textOf(unknown), /nobody/);
    assert.match(textOf(await call("era_delete_session", { session_id: id })), /was deleted/);
    assert.equal((await client().call("GET", `/api/sessions/${id}`)).status, 404);
  });

  test(`a client ${kind} that takes a call back ends its run, and no other`, async () => {
    const { call } = await connect();
    const id = `cancel-${kind.replaceAll(" ", "-")}`;
    await call("era_run_in_session", { session_id: id, code: "n = 1" });
    const gone = new AbortController();
    const lines: string[] = [];
    const options = { signal: gone.signal, onprogress: ({ message }: Body) => lines.push(message) };
    const code = "import time\nfor at in range(300): print('line', at, flush=True); time.sleep(0.1)";
    const call1 = call("era_run_in_session", { session_id: id, code }, options).catch((error) => error);
    while (lines.length < 2) await new Promise((resolve) => setTimeout(resolve, 50));
    assert.match(lines[0] ?? "", /^line \d+$/);
    const begun = performance.now();
    gone.abort();
    assert.ok((await call1) instanceof Error);
    await client().session(id).prints("1\n", "print(n)");
    assert.ok(performance.now() - begun < 5_000, "the run went on");
    const { runs } = await client().expect(200, "GET", `/api/sessions/${id}/runs`);
    assert.deepEqual(
      runs.map(({ outcome }: Body) => outcome),
      ["ok", "interrupted", "ok"],
    );
  });
}

test("a program that runs once ends when its call is taken back", async () => {
  const { call } = await (CLIENTS["of the stateless protocol"] as () => Promise<Caller>)();
  const live = async () => (await client().expect(200, "GET", "/health")).sandboxes.live;
  const before = await live();
  const gone = new AbortController();
  const code = "import time; time.sleep(100)";
  const running = call("era_python", { code, timeout: 120 }, { signal: gone.signal }).catch((error) => error);
  await until("it runs", async () => (await live()) > before);
  gone.abort();
  assert.ok((await running) instanceof Error);
  await until("its sandbox is gone", async () => (await live()) <= before, 5_000);
});

test("a run that lasts longer than a client waits is answered with its id, goes on, and is waited for", async () => {
  const { call } = await (CLIENTS["of the stateless protocol"] as () => Promise<Caller>)();
  const code = "import time\nprint('begun', flush=True)\ntime.sleep(50)\nprint('ended')";
  const begun = performance.now();
  const first = await call(
    "era_run_in_session",
    { session_id: "long", code, timeout: 100 },
    { timeout: 59_000 },
  );
  const took = performance.now() - begun;
  assert.ok(took > 40_000 && took < 50_000, `${took} ms`);
  assert.deepEqual([first.structuredContent.outcome, first.structuredContent.stdout], ["running", "begun\n"]);
  const { run_id } = first.structuredContent;
  assert.match(textOf(first), new RegExp(`Run ID: ${run_id}`));
  const last = await call("era_get_run", { run_id });
  assert.deepEqual([last.structuredContent.outcome, last.structuredContent.stdout], ["ok", "begun\nended\n"]);
});

test("a server is started beside the runs, read, given input, and ended", async () => {
  const caller = await CLIENTS["of the stateless protocol"]?.();
  assert.ok(caller !== undefined);
  const command = "echo begun; while read line; do echo got $line; done; exit 3";
  const started = (
    await caller.call("era_start_process", { session_id: "served", command, wait_seconds: 0.2 })
  ).structuredContent;
  assert.deepEqual([started.status, started.output], ["running", "begun\n"]);
  const of = { session_id: "served", process_id: started.process_id };
  const told = await caller.call("era_process", {
    ...of,
    input: "x\n",
    after: started.next,
    wait_seconds: 0.2,
  });
  assert.deepEqual(
    [told.structuredContent.output, told.structuredContent.next],
    ["got x\n", started.next + 6],
  );
  const ended = await caller.call("era_process", { ...of, end_input: true, wait_seconds: 5 });
  assert.deepEqual([ended.structuredContent.status, ended.structuredContent.exit_code], ["ended", 3]);
  assert.match(textOf(ended), /has ended with 3[\s\S]*begun\ngot x\n/);
  const { processes } = (await caller.call("era_list_processes", { session_id: "served" })).structuredContent;
  assert.deepEqual(processes, [
    { process_id: started.process_id, command: `/bin/bash -c ${command}`, status: "ended", exit_code: 3 },
  ]);
  assert.ok(!(await caller.call("era_stop_process", of)).isError);
  assert.equal((await caller.call("era_process", of)).isError, true);
});

test("names that lead elsewhere stay in their place, or are refused", async () => {
  for (const kind of ["of the stateless protocol", "over standard input and output"]) {
    const { call, read } = await (CLIENTS[kind] as () => Promise<Caller>)();
    await call("era_run_in_session", { session_id: "kept", code: "n = 1" });
    for (const path of ["../code", "a/../../code", "..", "./x"]) {
      const put = await call("era_upload_file", { session_id: "kept", path, content: '{"code": "1"}' });
      assert.equal(put.isError, true, path);
    }
    for (const id of ["..", "a?x=1", "a/../kept", "a#b", "%2e%2e"])
      assert.equal((await call("era_get_session", { session_id: id })).isError, true, id);
    for (const name of ["..", "n?form=text", "n/../../files"])
      assert.equal((await call("era_variables", { session_id: "kept", name })).isError, true, name);
    assert.equal((await call("era_get_run", { run_id: "../keys" })).isError, true);
    for (const uri of [
      "session://kept/files/%2e%2e/%2e%2e/%2e%2e/keys",
      "session://%2e%2e",
      "run://%2e%2e",
      "run://%",
    ])
      await assert.rejects(read(uri), uri);
    assert.equal((await client().call("GET", "/api/sessions/kept/code")).status, 404);
  }
});

test("arguments that there are not are refused by name, and many of them at once hold up nobody", async () => {
  const { call } = await (CLIENTS["of the stateless protocol"] as () => Promise<Caller>)();
  const wrong = await call("era_run_in_session", { session_id: "strict", code: "1", stdin: "abc" });
  assert.match(JSON.stringify(wrong), /stdin/);
  assert.equal(wrong.isError, true);
  const many = Object.fromEntries(Array.from({ length: 200_000 }, (_, at) => [`N${at}`, at]));
  for (const args of [
    { session_id: "strict", code: "1", env: many },
    { session_id: "strict", code: "1", ...many },
  ]) {
    const { status, body } = await rpc("tools/call", { name: "era_run_in_session", arguments: args });
    assert.deepEqual([status, body.error.code], [400, -32600]);
    assert.ok(JSON.stringify(body).length < 1_000);
  }
  const number = await call("era_run_in_session", { session_id: "strict", code: "1", env: { A: 1 } });
  assert.match(textOf(number), /'env'.*text/);
});

test("a session is copied under a name, shown values are text, and packages are for languages that have them", async () => {
  const { call } = await (CLIENTS["of the stateless protocol"] as () => Promise<Caller>)();
  await call("era_run_in_session", { session_id: "origin", code: "n = 7" });
  const copy = await call("era_duplicate_session", { session_id: "origin", new_session_id: "copied" });
  assert.equal(copy.structuredContent.id, "copied", textOf(copy));
  const code = "display('shown', [1, 2]); 'y' * 60_000";
  const { content, structuredContent } = await call("era_run_in_session", { session_id: "copied", code });
  assert.match(content[0].text, /Displayed:\n'?shown'?\n\[1, 2\]/);
  assert.ok(structuredContent.result.length < 21_000);
  const bash = await call("era_create_session", { language: "bash", packages: ["jq"] });
  assert.match(textOf(bash), /era_shell/);
});

test("sessions of the protocol of one key make no room for another's, nor for their own in use", async () => {
  const made = await client().expect(201, "POST", "/api/keys", { name: "many", scope: "read" });
  const operator = await (CLIENTS["of the older protocol"] as () => Promise<Caller>)();
  const code = "import time; time.sleep(4); print('whole')";
  const running = operator.call("era_run_in_session", { session_id: "spared", code });
  const clientInfo = { name: "curl", version: "1" };
  const headers = { authorization: `Bearer ${made.key}`, accept: "application/json, text/event-stream" };
  for (let at = 0; at < 1_050; at++) {
    const response = await fetch(`${it.server.url}/mcp`, {
      method: "POST",
      headers,
      body: JSON.stringify({
        jsonrpc: "2.0",
        id: 1,
        method: "initialize",
        params: { protocolVersion: "2025-06-18", capabilities: {}, clientInfo },
      }),
    });
    assert.equal(response.status, 200);
    await response.text();
  }
  assert.equal((await running).structuredContent.stdout, "whole\n");
  assert.equal((await operator.tools()).length, NUMBER_OF_TOOLS);
});

test("what is not kept, not shown or noticed of a run is said", async () => {
  const { call } = await (CLIENTS["of the stateless protocol"] as () => Promise<Caller>)();
  const code = `
import matplotlib.pyplot as plt
for at in range(12):
    plt.plot([at]); plt.show()
print("x" * (9 << 20))`;
  const answer = await call("era_run_in_session", { session_id: "said", code, timeout: 60 });
  assert.match(answer.structuredContent.notes[0], /^\[\d+ bytes of stdout were not kept\]$/);
  assert.ok(textOf(answer).includes(answer.structuredContent.notes[0]));
  assert.equal(answer.content.filter(({ type }: Body) => type === "image").length, 10);
  assert.match(answer.content.at(-1).text ?? answer.content.at(-2).text, /2 pictures are left out/);
  await client().create("full", { memory_mib: 128 });
  const fill =
    "import time\nheld = bytearray(110 << 20)\nfor at in range(0, len(held), 4096): held[at] = 1\ntime.sleep(1.5)";
  const full = await call("era_run_in_session", { session_id: "full", code: fill });
  assert.match(textOf(full), /\[Its programs hold \d+ of 128 MiB/);
});

test("a long output is cut, says so, and leads to the whole", async () => {
  const { call, read } = await (CLIENTS["of the stateless protocol"] as () => Promise<Caller>)();
  const answer = await call("era_run_in_session", { session_id: "wordy", code: "print('é' * 100_000)" });
  assert.ok(textOf(answer).length < 21_000);
  assert.match(textOf(answer), /80001 characters are left out here; GET \/api\/runs\/run_\w+ has the whole/);
  const { uri } = answer.content.find(({ type }: Body) => type === "resource_link");
  assert.equal(JSON.parse((await read(uri)).text).stdout.length, 100_001);
});

async function rpc(method: string, params: object = {}, headers: Record<string, string> = KEY) {
  const response = await fetch(`${it.server.url}/mcp/v1`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method, params }),
  });
  return { status: response.status, body: (await response.json()) as Body };
}

test("single requests work without a session, and without saying what they accept", async () => {
  const clientInfo = { name: "curl", version: "1" };
  const { body } = await rpc("initialize", { protocolVersion: "0.1.0", capabilities: {}, clientInfo });
  assert.equal(body.result.serverInfo.name, "era-agent-mcp");
  assert.equal((await rpc("tools/list")).body.result.tools.length, NUMBER_OF_TOOLS);
  const hello = await rpc("tools/call", { name: "era_python", arguments: { code: "print('hello')" } });
  assert.match(hello.body.result.content[0].text, /^Exit Code: 0\n\nStdout:\nhello/);
  for (const [name, code] of [
    ["era_node", "console.log([1, 2].map((n) => n * n).join())"],
    ["era_typescript", "const a: string = '1,4'; console.log(a)"],
    ["era_deno", "console.log([1, 4].join())"],
  ]) {
    const { body } = await rpc("tools/call", { name, arguments: { code } });
    assert.equal(body.result.structuredContent.stdout, "1,4\n", JSON.stringify(body));
  }
  const shell = await rpc("tools/call", { name: "era_shell", arguments: { command: "python3 --version" } });
  assert.match(shell.body.result.structuredContent.stdout, /^Python 3/);
});

test("a key is asked for, and tools see and do what it may", async () => {
  const refused = await rpc("tools/list", {}, {});
  assert.deepEqual([refused.status, refused.body.code], [401, "unauthorized"]);
  const made = await client().expect(201, "POST", "/api/keys", { name: "other", scope: "read" });
  const other = { authorization: `Bearer ${made.key}` };
  await client().create("of-operator");
  const look = await rpc("tools/call", { name: "era_list_sessions", arguments: {} }, other);
  assert.deepEqual(look.body.result.structuredContent.sessions, []);
  const run = await rpc("tools/call", { name: "era_python", arguments: { code: "1" } }, other);
  assert.equal(run.body.result.isError, true);
  assert.match(run.body.result.content[0].text, /scope/);
});

test("rubbish is answered as the protocol says, and nothing of it stays", async () => {
  const send = async (body: string, headers: Record<string, string> = {}) => {
    const init = {
      method: "POST",
      headers: { "content-type": "application/json", ...KEY, ...headers },
      body,
    };
    const response = await fetch(`${it.server.url}/mcp`, init);
    return { status: response.status, body: await response.text() };
  };
  assert.match((await send("{")).body, /-32700/);
  assert.match((await send("[".repeat(100_000) + "]".repeat(100_000))).body, /-32600|-32700/);
  const ping = { jsonrpc: "2.0", id: 1, method: "ping" };
  assert.match((await send(JSON.stringify(Array(1_000).fill(ping)))).body, /-32600/);
  assert.match((await send(JSON.stringify({ ...ping, method: "no/such" }))).body, /-32601/);
  assert.equal((await send(JSON.stringify(ping), { "mcp-session-id": "none" })).status, 404);
  for (const body of ["null", "1", '"x"', "[]", "{}", '{"jsonrpc":"2.0"}']) {
    const answer = await send(body);
    assert.ok(answer.status >= 400 && answer.status < 500, `${body}: ${answer.status} ${answer.body}`);
  }
  const wrong = await rpc("tools/call", { name: "era_python", arguments: { code: 1 } });
  assert.match(JSON.stringify(wrong.body), /code/);
  assert.match(JSON.stringify((await rpc("tools/call", { name: "nobody", arguments: {} })).body), /nobody/);
});
