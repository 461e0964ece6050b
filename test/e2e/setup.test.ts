/**
 * Packages of a session: installed before its first run, from real indexes, kept through sleep, restarts and copies.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, before, test } from "node:test";
import type { Client, SessionClient } from "../support/client.ts";
import { goModuleFiles, PackageIndex, wheelFiles } from "../support/package-index.ts";
import { TestServer, until } from "../support/server.ts";

let index: PackageIndex;
let server: TestServer;
let client: Client;

const settings = () => ({
  ERA_PIP_INDEX_URL: `${index.url}/simple`,
  ERA_GOPROXY: index.url,
  ERA_NPM_REGISTRY: execFileSync("npm", ["config", "get", "registry"], { encoding: "utf8" }).trim(),
  ERA_POOL: "python=1,node=1",
});

before(async () => {
  index = await PackageIndex.start({
    ...wheelFiles("greeting", "1.2", "def hello(who): return 'hello ' + who\nversion = '1.2'\n"),
    ...wheelFiles("counting", "0.1", "count = 41\n"),
    ...goModuleFiles(
      "example.org/greet",
      "v1.0.0",
      'package greet\n\nfunc Hello(who string) string { return "hello " + who }\n',
    ),
  });
  server = await TestServer.start(settings());
  client = server.client;
});

after(async () => {
  await server.stop();
  await server.removeData();
  await index[Symbol.asyncDispose]();
});

const setupOf = (session: SessionClient) => client.expect(200, "GET", `${session.path}/setup`);
const ended = (session: SessionClient) =>
  until(
    `the setup of ${session.id} ends`,
    async () => !["pending", "running"].includes((await setupOf(session)).setup_status),
    120_000,
  );

test("pip packages are there for the first run, and after sleep, a kill of the server, and in a copy", async () => {
  const made = await client.expect(201, "POST", "/api/sessions", {
    session_id: "pip",
    language: "python",
    setup: { pip: { requirements: "greeting counting\n# a note\n" }, envs: { TOKEN: "secret" } },
  });
  assert.deepEqual([made.setup_status, made.setup.envs], ["pending", { TOKEN: "***" }]);
  const session = client.session("pip");
  await session.prints(
    "hello you 41\n",
    "import greeting, counting\nprint(greeting.hello('you'), counting.count)",
  );
  const { setup_status, setup_result, progress } = await setupOf(session);
  assert.equal(setup_status, "completed");
  assert.deepEqual(setup_result.pip_packages, ["greeting", "counting"]);
  assert.equal(setup_result.success, true);
  assert.ok(
    progress.some((line: string) => line.startsWith("Successfully installed")),
    progress.join("\n"),
  );
  await client.expect(200, "POST", `${session.path}/hibernate`);
  await session.prints("hello again\n", "print(greeting.hello('again'))");
  const { id } = await client.expect(201, "POST", `${session.path}/duplicate`, {});
  await server.kill();
  server = await TestServer.start(settings(), server.dataDir);
  client = server.client;
  for (const copy of [client.session("pip"), client.session(id)])
    await copy.prints("1.2\n", "import greeting as g; print(g.version)");
});

test("what a session reached while it was set up is recorded, and closed to its programs", async () => {
  const listed = { allowInternetAccess: { allow: ["nowhere.example"] }, setup: { pip: ["counting"] } };
  await (await client.create("listed", listed)).prints("41\n", "import counting; print(counting.count)");
  const session = await client.create("closed", { setup: { pip: ["counting"] } });
  const code = `import urllib.request
try: print(urllib.request.urlopen("${index.url}/simple/counting/").status)
except urllib.error.HTTPError as error: print(error.code, error.read().decode().strip())`;
  await session.prints("403 Internet access is off for this session (allowInternetAccess)\n", code);
  const { port } = new URL(index.url);
  const list = () => client.expect(200, "GET", `${session.path}/connections`);
  await until("both are recorded", async () => {
    const { totals } = await list();
    return totals.refused === 1 && totals.bytes_received > 100;
  });
  const seen = await list();
  const [last, ...earlier] = seen.connections;
  assert.deepEqual(
    [last.host, last.port, last.bytes_received],
    [new URL(index.url).hostname, Number(port), 0],
  );
  assert.match(last.refused, /off for this session/);
  assert.ok(earlier.every((one: { refused: string | null }) => one.refused === null));
  await session.patch({ allowInternetAccess: true });
  await session.prints("200\n", code);
});

test("a run may be refused instead of waiting; a setup can be cancelled, and runs go on", async () => {
  const session = await client.create("slow", {
    setup: { commands: ["echo begun", "sleep 60", "echo never"] },
  });
  const answer = await client.call("POST", `${session.path}/run`, { code: "1", wait_setup: false });
  assert.deepEqual([answer.status, answer.body.code], [409, "setup_in_progress"]);
  await until("the second step runs", async () => (await setupOf(session)).progress.includes("> sleep 60"));
  await client.expect(200, "POST", `${session.path}/setup/cancel`);
  await session.prints("on\n", "print('on')");
  const { setup_status, setup_result, progress } = await setupOf(session);
  assert.deepEqual(
    [setup_status, setup_result.success, setup_result.commands_run],
    ["cancelled", false, ["echo begun"]],
  );
  assert.ok(!progress.includes("never"));
  assert.equal((await client.expect(200, "POST", `${session.path}/setup/cancel`)).cancelled, false);
});

test("a failure is told with what was printed, and the session can be used", async () => {
  const session = await client.create("bad", { setup: { pip: ["nowhere-to-be-found"] } });
  await ended(session);
  const seen = await session.get();
  assert.equal(seen.setup_status, "failed");
  assert.match(seen.setup_result.error, /pip install' failed: exit code 1/);
  assert.match(seen.setup_result.stderr, /No matching distribution found for nowhere-to-be-found/);
  await session.prints("2\n", "print(1 + 1)");
  const broken = await client.create("broken", { language: "node", setup: { npm: { packageJson: "{" } } });
  await ended(broken);
  assert.match((await broken.get()).setup_result.stderr, /JSON/);
});

test("commands run in the workspace, with variables that no run sees", async () => {
  const session = await client.create("commands", {
    setup: {
      commands: ["mkdir -p data && echo $BUILD >data/target", 'test -n "$SETUP_ENV"'],
      envs: { SETUP_ENV: "s", BUILD: "prod" },
    },
  });
  await session.prints(
    "prod None None\n",
    "import os\nprint(open('data/target').read().strip(), os.getenv('SETUP_ENV'), os.getenv('BUILD'))",
  );
});

test("npm packages from the registry, in node and typescript, by name or by package.json", async () => {
  const node = await client.create("node", { language: "node", setup: { npm: ["ms@2.1.3"] } });
  await node.prints(
    "432000000 432000000\n",
    `import ms from "ms"; console.log(require("ms")("5 days"), ms("5 days"))`,
  );
  await client.expect(200, "POST", `${node.path}/hibernate`);
  await node.prints("1000\n", `console.log(ms("1s"))`);
  const typescript = await client.create("typescript", {
    language: "typescript",
    setup: { npm: { packageJson: JSON.stringify({ dependencies: { ms: "2.1.3" } }) } },
  });
  await typescript.prints("60000\n", `import ms from "ms"; const span: number = ms("1m"); console.log(span)`);
  assert.deepEqual((await setupOf(typescript)).setup_result.npm_packages, ["ms@2.1.3"]);
});

test("a Go module, by name or by go.mod", async () => {
  const code = `package main\nimport ("fmt"; "example.org/greet")\nfunc main() { fmt.Println(greet.Hello("gopher")) }`;
  const byName = await client.create("go", { language: "go", setup: { go: ["example.org/greet@v1.0.0"] } });
  await byName.prints("hello gopher\n", code);
  const goMod = "module session\n\ngo 1.21\n\nrequire example.org/greet v1.0.0\n";
  const byFile = await client.create("gomod", { language: "go", setup: { go: { goMod } } });
  await byFile.prints("hello gopher\n", code);
  assert.deepEqual((await setupOf(byFile)).setup_result.go_modules, ["example.org/greet@v1.0.0"]);
});

test("a setup whose server is killed begins again with the next one", async () => {
  const session = await client.create("killed", {
    setup: { commands: ["echo x >>times; sleep 2", "echo done >>times"] },
  });
  await until("it has begun", async () => (await session.get()).file_count === 1);
  await server.kill();
  server = await TestServer.start(settings(), server.dataDir);
  client = server.client;
  await client.session("killed").prints("x\nx\ndone\n", "print(open('times').read(), end='')");
  assert.equal((await setupOf(client.session("killed"))).setup_status, "completed");
});

test("what is no setup is refused", async () => {
  const wrong = [
    { pip: "numpy" },
    { pip: ["--index-url=http://x"] },
    { npm: ["a\nb"] },
    { commands: [""] },
    { envs: { "A=B": "1" } },
    { go: [] },
  ];
  for (const setup of wrong) await client.expect(400, "POST", "/api/sessions", { language: "python", setup });
  await client.create("plain");
  assert.equal((await client.call("GET", "/api/sessions/plain/setup")).body.code, "no_setup");
});

test("a setup whose server is stopped in order begins again with the next one; one whose session is deleted ends", async () => {
  const session = await client.create("stopped", { setup: { commands: ["echo x >>times; sleep 30"] } });
  const deleted = await client.create("deleted", { setup: { commands: ["sleep 30"] } });
  await until("it has begun", async () => (await session.get()).file_count === 1);
  await deleted.delete();
  await client.create("deleted");
  const code = "print(open('times').read(), end='')";
  await server.stop();
  server = await TestServer.start(settings(), server.dataDir);
  client = server.client;
  const again = client.session("stopped");
  const times = async () => (await fetch(`${client.url}${again.path}/files/times`)).text();
  await until("it has begun again", async () => (await times()) === "x\nx\n");
  assert.equal((await setupOf(again)).setup_status, "running");
  await client.expect(200, "POST", `${again.path}/setup/cancel`);
  await again.prints("x\nx\n", code);
});

test("a step that ends its own sandbox fails, and the session can be used", async () => {
  const session = await client.create("greedy", {
    setup: { commands: ["head -c 3000M /dev/zero | tail"] },
    memory_mib: 128,
  });
  await ended(session);
  assert.equal((await session.get()).setup_status, "failed");
  await session.prints("2\n", "print(1 + 1)");
});
