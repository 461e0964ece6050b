/** Bash and Go as languages, and shell commands in sessions of any language. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Body, SessionClient } from "../support/client.ts";
import { oneServer } from "../support/one-server.ts";
import { until } from "../support/server.ts";

const it = oneServer({ ERA_POOL: "python=1" });
const hibernate = (session: SessionClient) => it.client.expect(200, "POST", `${session.path}/hibernate`);
const shell = (session: SessionClient, command: string, fields: object = {}): Promise<Body> =>
  it.client.expect(200, "POST", `${session.path}/shell`, { command, ...fields });

test("a shell command works in a session of any language, and leaves its variables alone", async () => {
  for (const [language, set, get] of [
    ["python", "x = 41", "print(x + 1)"],
    ["node", "let x = 41", "console.log(x + 1)"],
    ["bash", "x=41", "echo $((x + 1))"],
  ] as const) {
    const session = await it.client.create(`any-${language}`, { language });
    await session.run(set);
    const answer = await shell(session, "echo out; echo err >&2; pwd; echo $MINE > made; exit 3", {
      env: { MINE: "m" },
    });
    assert.deepEqual(
      [answer.stdout, answer.stderr, answer.exit_code],
      ["out\n/workspace\n", "err\n", 3],
      language,
    );
    assert.equal((await shell(session, "cat made")).stdout, "m\n");
    const before = (await session.get()).state.version;
    assert.equal(before, 1);
    await hibernate(session);
    assert.equal((await shell(session, "cat made | wc -c")).stdout.trim(), "2");
    await session.prints("42\n", get);
  }
});

test("a shell command that takes too long, or is interrupted, is ended with all that it started", async () => {
  const session = await it.client.create("slow-shell");
  await session.prints("", "x = 1");
  const answer = await shell(session, "sleep 100 & sleep 100", { timeout: 0.5 });
  assert.deepEqual([answer.exit_code, answer.outcome], [124, "timed_out"]);
  const running = shell(session, "trap '' INT; sleep 100; echo never");
  await until("it runs", async () => (await session.get()).status === "running");
  await it.client.expect(200, "POST", `${session.path}/interrupt`);
  assert.equal((await running).outcome, "interrupted");
  assert.equal((await shell(session, "pgrep -c sleep")).stdout.trim(), "0");
  await session.prints("1\n", "print(x)");
  assert.equal((await shell(session, "kill -9 $$")).exit_code, 137);
  assert.equal((await it.client.call("POST", `${session.path}/shell`, {})).status, 400);
  assert.equal((await it.client.call("POST", "/api/sessions/nobody/shell", { command: "true" })).status, 404);
});

test("bash keeps variables, arrays, functions, options, aliases, traps and its folder over sleep", async () => {
  const session = await it.client.create("keeps", { language: "bash" });
  await session.prints(
    "",
    `text=$'two\\nlines \\'quoted\\''; list=(a "b c" d); declare -A map=([k]="v w" [x]=1); declare -i number=5; export seen=yes
twice() { local n=$1; echo $((n * 2)); }
shopt -s extglob nullglob; set -u; umask 027; mkdir -p deep/er; cd deep/er
trap 'echo caught' USR1`,
  );
  const check = `printf '%s|' "$text" "\${list[1]}" "\${map[k]}" "$((number += 1))" "$(printenv seen)" "$(twice 21)" "$(umask)" "\${PWD##*/}"; shopt -q extglob && [[ -o nounset ]] && echo options
kill -USR1 $BASHPID; echo end`;
  const expected = (number: number) =>
    `two\nlines 'quoted'|b c|v w|${number}|yes|42|0027|er|options\ncaught\nend\n`;
  await session.prints(expected(6), check);
  await hibernate(session);
  await session.prints(expected(7), check);
  const { variables } = await it.client.expect(200, "GET", `${session.path}/variables`);
  assert.ok(variables.some(({ name }: { name: string }) => name === "variable text"));
  await it.client.expect(200, "POST", `${session.path}/rollback`, { version: 1 });
  await session.prints(expected(6), check);
});

test("exit, failure, an endless loop and a killed shell end the run, and bash goes on", async () => {
  const session = await it.client.create("ends", { language: "bash" });
  await session.prints("", "x=1");
  const exited = await session.run("x=2; echo bye; exit 7; echo never");
  assert.deepEqual([exited.stdout, exited.exit_code], ["bye\n", 7]);
  await session.prints("2\n", "echo $x");
  const failed = await session.run("set -e; x=3; false; echo never");
  assert.deepEqual([failed.stdout, failed.exit_code], ["", 1]);
  await session.prints("3\n", "set +e; echo $x");
  assert.equal((await session.run("while :; do :; done", { timeout: 0.5 })).exit_code, 124);
  await session.prints("3\n", "echo $x");
  assert.equal((await session.run("x=4; kill -9 $BASHPID")).exit_code, 137);
  await session.prints("3\n", "echo $x");
  assert.match((await session.run("if then")).stderr, /syntax error/);
  await session.prints("in env\n", "echo $ONCE", { env: { ONCE: "in env" } });
  await session.prints("gone\n", "echo ${ONCE:-gone}");
});

test("bash ends with its program, whatever that leaves running, and goes on without its own files and descriptors", async () => {
  const session = await it.client.create("leaves", { language: "bash" });
  await session.prints("", "x=1");
  const startedAt = performance.now();
  const exited = await session.run("x=2; sleep 30 & exit 3");
  assert.deepEqual([exited.exit_code, performance.now() - startedAt < 10_000], [3, true]);
  await session.prints("2\n", "echo $x");
  for (const [code, status] of [
    ["x=3; rm -rf /tmp/*", 0],
    ["x=4; find /tmp -type f -delete", 0],
    ["x=5; rm -rf /tmp/era-bash; mkdir -p /tmp/era-bash/{dump,begin}", 0],
    ["x=6; rm -rf /tmp/era-bash; : >/tmp/era-bash", 0],
    ["echo no status >&199", 137],
    ["exec 199>&-", 137],
    ["exec 198<&-", 0],
  ] as const) {
    assert.equal((await session.run(code)).exit_code, status, code);
    await session.prints("here\n", "echo here");
  }
});

test("go builds and runs whole programs, tells compile errors, and takes files from the workspace", async () => {
  const session = await it.client.create("go", { language: "go", memory_mib: 1024 });
  const wrong = await session.run("package main\nfunc main() { undefined_name() }");
  assert.deepEqual([wrong.exit_code, /undefined: undefined_name/.test(wrong.stderr)], [1, true]);
  const code = `package main\nimport ("fmt"; "os"; "net/http")\nfunc main() { b, _ := os.ReadFile("in.txt"); fmt.Print(string(b), http.StatusOK); os.Exit(4) }`;
  await fetch(`${it.server.url}${session.path}/files/in.txt`, { method: "PUT", body: "hi " });
  const answer = await session.run(code, { timeout: 60 });
  assert.deepEqual([answer.stdout, answer.exit_code], ["hi 200", 4]);
  await hibernate(session);
  const endless = await session.run("package main\nfunc main() { for {} }", { timeout: 8 });
  assert.equal(endless.exit_code, 124);
  await fetch(`${it.server.url}${session.path}/files/go.mod`, {
    method: "PUT",
    body: "module example\n\ngo 1.24\n",
  });
  await fetch(`${it.server.url}${session.path}/files/lib/lib.go`, {
    method: "PUT",
    body: 'package lib\nfunc Name() string { return "lib" }\n',
  });
  await session.prints(
    "lib\n",
    `package main\nimport ("example/lib"; "fmt")\nfunc main() { fmt.Println(lib.Name()) }`,
    { timeout: 60 },
  );
});
