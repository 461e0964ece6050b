/** The examples of a model's tools, as single requests, which is how the guides write them: N, and R14. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after } from "node:test";
import type { Body, Client } from "../support/client.ts";
import { PackageIndex, wheelFiles } from "../support/package-index.ts";
import { conformance } from "./rounds.ts";

const index = await PackageIndex.start(wheelFiles("textkit", "2.0", "__version__ = '2.0'\n"));
after(() => index[Symbol.asyncDispose]());

const settings = () => ({
  ERA_PIP_INDEX_URL: `${index.url}/simple`,
  ERA_NPM_REGISTRY: execFileSync("npm", ["config", "get", "registry"], { encoding: "utf8" }).trim(),
});

async function rpc(client: Client, method: string, params?: object): Promise<Body> {
  const response = await fetch(`${client.url}/mcp/v1`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method, ...(params === undefined ? {} : { params }) }),
  });
  assert.equal(response.status, 200);
  const { result } = (await response.json()) as Body;
  return result;
}

/** The text that a tool answers. */
async function use(client: Client, name: string, args: object = {}): Promise<string> {
  const { content } = await rpc(client, "tools/call", { name, arguments: args });
  return content[0].text;
}

const stdout = (text: string) => /Stdout:\n([\s\S]*?)\n\n/.exec(text)?.[1];

async function createdId(client: Client, language: string, fields: object = {}): Promise<string> {
  const text = await use(client, "era_create_session", { language, persistent: true, ...fields });
  return /^Session ID: (\S+)$/m.exec(text)?.[1] ?? assert.fail(text);
}

conformance(
  "tools of a model",
  {
    "N1: initialize, list the tools, and use one": async (client) => {
      const { serverInfo, capabilities } = await rpc(client, "initialize", {
        protocolVersion: "0.1.0",
        capabilities: {},
        clientInfo: { name: "test", version: "1.0.0" },
      });
      assert.equal(serverInfo.name, "era-agent-mcp");
      assert.ok(capabilities.tools && capabilities.resources);
      const { tools } = await rpc(client, "tools/list");
      const names = tools.map(({ name }: Body) => name);
      for (const name of ["era_python", "era_create_session", "era_update_session"])
        assert.ok(names.includes(name));
      assert.equal(
        stdout(await use(client, "era_python", { code: 'print("Hello from ERA!")' })),
        "Hello from ERA!",
      );
      const squares = await use(client, "era_python", { code: "print([x**2 for x in range(5)])" });
      assert.match(squares, /^Exit Code: 0\n\nStdout:\n\[0, 1, 4, 9, 16\]\n\nDuration: /);
    },
    "N2: a session remembers": async (client) => {
      for (const value of [42, 100]) {
        const id = await createdId(client, "python");
        await use(client, "era_run_in_session", { session_id: id, code: `x = ${value}` });
        const text = await use(client, "era_run_in_session", { session_id: id, code: 'print(f"x = {x}")' });
        assert.equal(stdout(text), `x = ${value}`);
      }
    },
    "N3: programs of every language arrive as they were written": async (client) => {
      const fizz =
        "for i in range(1, 16):\n    print(f\"{i}: {'FizzBuzz' if i % 15 == 0 else 'Fizz' if i % 3 == 0 else 'Buzz' if i % 5 == 0 else i}\")";
      assert.match(await use(client, "era_python", { code: fizz }), /\n15: FizzBuzz\n/);
      const node =
        "const n = [1, 2, 3, 4, 5]; const sum = n.reduce((a, b) => a + b, 0); console.log(`Sum: ${sum}, Average: ${sum / n.length}`);";
      assert.equal(stdout(await use(client, "era_node", { code: node })), "Sum: 15, Average: 3");
      const typed =
        'interface User { name: string; age: number }\nconst user: User = { name: "Alice", age: 30 };\nconsole.log(`${user.name} is ${user.age}`);';
      assert.equal(stdout(await use(client, "era_typescript", { code: typed })), "Alice is 30");
      const deno = 'const text = await Deno.readTextFile("/etc/hosts"); console.log(text.length > 0);';
      assert.equal(stdout(await use(client, "era_deno", { code: deno })), "true");
      assert.match(
        String(stdout(await use(client, "era_shell", { command: "python3 --version" }))),
        /^Python 3/,
      );
      assert.match(await use(client, "era_shell", { command: "ls -a" }), /^Exit Code: 0/);
    },
    "N4: packages are installed by the shell, and imported": async (client) => {
      const online = { allowInternetAccess: true };
      const python = await createdId(client, "python", online);
      await use(client, "era_shell", { session_id: python, command: "pip install textkit", timeout: 120 });
      const code = "import textkit\nprint(textkit.__version__)";
      assert.equal(stdout(await use(client, "era_run_in_session", { session_id: python, code })), "2.0");
      const node = await createdId(client, "node", online);
      await use(client, "era_shell", { session_id: node, command: "npm install ms", timeout: 120 });
      const program = 'const ms = require("ms"); console.log(ms("2 days"));';
      assert.equal(
        stdout(await use(client, "era_run_in_session", { session_id: node, code: program })),
        "172800000",
      );
    },
    "N5: files go in, are worked on, and come out": async (client) => {
      const id = await createdId(client, "python");
      await use(client, "era_upload_file", {
        session_id: id,
        path: "data.csv",
        content: "name,age\nAda,36\nBob,40\n",
      });
      const code =
        'import csv\nages = [int(r["age"]) for r in csv.DictReader(open("data.csv"))]\nopen("result.txt", "w").write(f"Average: {sum(ages) / len(ages)}")';
      assert.match(await use(client, "era_run_in_session", { session_id: id, code }), /^Exit Code: 0/);
      assert.equal(
        await use(client, "era_read_file", { session_id: id, path: "result.txt" }),
        "File: result.txt\n\nContent:\nAverage: 38.0",
      );
      const listed = await use(client, "era_list_files", { session_id: id });
      assert.match(listed, /- data\.csv \(23 B\)/);
      assert.match(listed, /- result\.txt/);
    },
    "N6: a counter": async (client) => {
      const id = await createdId(client, "python");
      await use(client, "era_run_in_session", { session_id: id, code: "counter = 0" });
      const code = 'counter += 1\nprint(f"Counter is now: {counter}")';
      assert.equal(
        stdout(await use(client, "era_run_in_session", { session_id: id, code })),
        "Counter is now: 1",
      );
    },
    "N7: settings of a session are changed": async (client) => {
      const id = await createdId(client, "python");
      const changes = { default_timeout: 600, allowInternetAccess: false };
      assert.match(
        await use(client, "era_update_session", { session_id: id, ...changes }),
        /default_timeout: 600/,
      );
      const shown = JSON.parse(await use(client, "era_get_session", { session_id: id }));
      assert.deepEqual([shown.default_timeout, shown.allowInternetAccess], [600, false]);
    },
    "N8: sessions as resources": async (client) => {
      const id = await createdId(client, "python");
      await use(client, "era_upload_file", { session_id: id, path: "a.txt", content: "a" });
      const { resources } = await rpc(client, "resources/list");
      const own = resources.filter(({ uri }: Body) => uri.startsWith(`session://${id}`));
      assert.deepEqual(
        own.map(({ uri }: Body) => uri),
        [`session://${id}`, `session://${id}/files`],
      );
      const [session, files] = await Promise.all(
        own.map(({ uri }: Body) => rpc(client, "resources/read", { uri })),
      );
      assert.equal(JSON.parse(session.contents[0].text).id, id);
      assert.equal(JSON.parse(files.contents[0].text).files[0].path, "a.txt");
    },
    "N9: quicksort": async (client) => {
      const python =
        "def quicksort(a):\n    if len(a) <= 1: return a\n    p = a[len(a) // 2]\n    return quicksort([x for x in a if x < p]) + [x for x in a if x == p] + quicksort([x for x in a if x > p])\nprint(quicksort([3, 6, 8, 10, 1, 2, 1]))";
      assert.equal(stdout(await use(client, "era_python", { code: python })), "[1, 1, 2, 3, 6, 8, 10]");
      const node =
        "const quicksort = (a) => a.length <= 1 ? a : [...quicksort(a.slice(1).filter((x) => x < a[0])), a[0], ...quicksort(a.slice(1).filter((x) => x >= a[0]))];\nconsole.log(JSON.stringify(quicksort([3, 6, 8, 10, 1, 2, 1])));";
      assert.equal(stdout(await use(client, "era_node", { code: node })), "[1,1,2,3,6,8,10]");
    },
    "R14: the script that tries the tools": async (client) => {
      const id = await createdId(client, "python");
      await use(client, "era_run_in_session", { session_id: id, code: "x = 42" });
      const text = await use(client, "era_run_in_session", { session_id: id, code: "y = x * 2\nprint(y)" });
      assert.equal(stdout(text), "84");
      assert.ok((await use(client, "era_list_sessions")).includes(id));
      const shell = 'echo "Hello from shell" && python3 --version';
      assert.match(
        String(stdout(await use(client, "era_shell", { command: shell }))),
        /^Hello from shell\nPython 3/,
      );
      assert.equal(
        stdout(await use(client, "era_typescript", { code: "const n: number = 1; console.log(n)" })),
        "1",
      );
      assert.match(await use(client, "era_delete_session", { session_id: id }), /deleted/);
      assert.equal((await client.call("GET", `/api/sessions/${id}`)).status, 404);
    },
  },
  undefined,
  settings,
);
