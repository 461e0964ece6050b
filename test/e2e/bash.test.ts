/** Bash as a language: what it holds outlives runs, sleep and its own end, and what does not is told. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { SessionClient } from "../support/client.ts";
import { oneServer } from "../support/one-server.ts";
import { until } from "../support/server.ts";

const it = oneServer({ ERA_POOL: "python=1" });
const hibernate = (session: SessionClient) => it.client.expect(200, "POST", `${session.path}/hibernate`);

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

test("the shell that follows an interrupted one is not ended with it, however busy the machine is", async () => {
  const session = await it.client.create("follows", { language: "bash" });
  const busy = await it.client.create("busy", { language: "python" });
  await session.prints("", "x=1");
  const load = busy.run("import os\nfor _ in range(3): os.fork()\nwhile True: pass", { timeout: 8 });
  for (let round = 0; round < 12; round++) {
    assert.equal((await session.run("while :; do :; done", { timeout: 0.1 })).exit_code, 124);
    await session.prints("1\n", "echo $x");
  }
  await load;
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

/** What a session ran, then what it prints after sleep. */
const KEPT: [title: string, runs: string[], prints: string, check: string][] = [
  [
    "patterns in functions",
    ["shopt -s extglob", "f() { case $1 in !(x)) echo not x;; esac; }; v=1"],
    "not x 1\n",
    "echo $(f y) $v",
  ],
  ["IFS of letters", ["x=1", "x=2; IFS=aeo; true"], "2\n", "echo $x"],
  ["assignments anywhere", ["set -k; x=3"], "3\n", "echo $x"],
  ["IFS of digits", ["x=1", "x=2; IFS=0; true"], "2\n", "echo $x"],
  [
    "IFS that is read only",
    ["shopt -s nullglob; set -u; readonly IFS; x=2"],
    "2 on\n",
    "echo $x $(shopt -q nullglob && [[ -o nounset ]] && echo on)",
  ],
  [
    "functions in the place of builtins",
    ['cd() { builtin cd "$1"; }; declare() { :; }; umask() { :; }; trap() { :; }; mkdir -p a; x=1', "cd a"],
    "a 1\n",
    'echo "${PWD##*/} $x"',
  ],
  ["a function named exec", ["exec() { :; }; x=3"], "3\n", "echo $x"],
  ["a function named builtin", ["builtin() { :; }; x=4"], "4\n", "echo $x"],
  [
    "traps of every command",
    ["set -T; trap 'echo dbg >/dev/null' DEBUG; mkdir -p b; cd b; x=5"],
    "b 5\n",
    'echo "${PWD##*/} $x"',
  ],
  ["no file to be overwritten", ["set -C; x=6", "x=7"], "7\n", "echo $x"],
  ["no rights for new files", ["umask 777; x=8", "umask 022; x=9"], "9\n", "echo $x"],
  [
    "a full /tmp",
    ["head -c 100M /dev/zero >/tmp/full 2>/dev/null; x=10"],
    "10\n",
    "rm -f /tmp/full; echo $x",
  ],
  ["a large variable", ["big=$(head -c 8M /dev/zero | tr '\\0' a)"], "8388608\n", "echo ${#big}"],
  [
    "exit in a trap of an earlier run",
    ["trap 'echo bye >>log' EXIT; x=11", "x=12; exit 3"],
    "12 bye\n",
    "echo $x $(cat log)",
  ],
];

for (const [title, runs, prints, check] of KEPT) {
  test(`bash keeps what it holds with ${title}`, async () => {
    const session = await it.client.create(`kept-${KEPT.findIndex((each) => each[0] === title)}`, {
      language: "bash",
    });
    for (const code of runs) await session.run(code, { timeout: 5 });
    await session.prints(prints, check, { timeout: 2 });
    await hibernate(session);
    await session.prints(prints, check, { timeout: 2 });
  });
}

test("what a run of bash leaves undone is told, and never comes back", async () => {
  const session = await it.client.create("told", { language: "bash" });
  const rolledBack = async (code: string, fields: object = {}) =>
    (await session.run(code, fields)).state.rolled_back;
  assert.equal(await rolledBack("x=1"), null);
  const loop = "trap '' INT TERM; SECONDS=0; while ((SECONDS < 5)); do :; done; x=bad";
  assert.match((await rolledBack(loop, { timeout: 0.5 })).reason, /limit/);
  await session.prints("1\n", "echo $x; x=2");
  const { stdout } = await it.client.expect(200, "POST", `${session.path}/shell`, {
    command: "grep -lz '/dev/fd/19[8]' /proc/[0-9]*/cmdline >/tmp/shells 2>/dev/null; wc -l </tmp/shells",
  });
  assert.equal(stdout, "1\n"); // the shell that was replaced is gone
  await sleep(3_000); // a shell that had outlived its run would be done by now
  await hibernate(session);
  await session.prints("2\n", "echo $x");
  assert.notEqual(await rolledBack("x=5; sleep 100", { timeout: 0.5 }), null);
  assert.notEqual(await rolledBack("x=6; kill -9 $$"), null);
  assert.notEqual(await rolledBack("x=7; trap 'echo bye' EXIT; exit 0"), null);
  await session.prints("2\n", "echo $x");
  const waits = session.run(
    "trap 'stop=1' INT; >begun; until [ \"$stop\" ]; do sleep 0.1; done; echo stopped",
  );
  await begun(session);
  await it.client.expect(200, "POST", `${session.path}/interrupt`);
  assert.equal((await waits).stdout, "stopped\n");
  await session.prints("2 1\n", "echo $x $stop");
});

/** Until the program has come so far that it makes a file. */
async function begun(session: SessionClient): Promise<void> {
  const found = () => it.client.expect(200, "GET", `${session.path}/files?search=begun`);
  await until("the program has begun", async () => (await found()).files.length > 0);
}

test("a shell as young as the run that is interrupted in it is not ended with what the run started", async () => {
  const session = await it.client.create("young", { language: "bash" });
  for (let at = 1; at <= 8; at++) {
    await session.run("exit 0"); // another shell takes its place
    const waits = session.run(
      `trap 'y=${at}' INT; >begun; until [ "$y" = ${at} ]; do sleep 0.02; done; rm begun`,
    );
    await begun(session);
    await it.client.expect(200, "POST", `${session.path}/interrupt`);
    await waits;
    await session.prints(`${at}\n`, "echo $y");
  }
});

test("a function that bash does not read back is named", async () => {
  const session = await it.client.create("unread", { language: "bash" });
  await session.prints("", "fine() { echo fine; }; function a=b { :; }; x=1");
  await hibernate(session);
  await session.prints("fine 1\n", "echo $(fine) $x");
  const { state } = await session.run(":");
  assert.deepEqual(
    state.not_kept.map(({ name }: { name: string }) => name),
    ["a=b"],
  );
});

test("what traces and traps of bash print is the program's only", async () => {
  const session = await it.client.create("traced", { language: "bash" });
  await session.run("set -xv");
  const traced = await session.run("echo one\necho two", { env: { SECRET: "hunter2" } });
  assert.doesNotMatch(traced.stderr, /hunter2|era|builtin/);
  assert.deepEqual([traced.stdout, traced.stderr.includes("+ echo two")], ["one\ntwo\n", true]);
  const alone = await it.client.execute("trap 'echo bye' EXIT; echo hi", { language: "bash" });
  assert.equal(alone.stdout, "hi\nbye\n");
  await session.run("set +xv");
  await session.prints("y\n", "yes | head -1");
});

test("traps of errors, of returns and of every command see the program's only, in each run and over sleep", async () => {
  const session = await it.client.create("watched", { language: "bash" });
  const runs: [code: string, stdout: string][] = [
    [
      `trap 'echo "E $LINENO"
echo it' ERR; false`,
      "E 2\nit\n",
    ],
    ["\nfalse; true", "E 2\nit\n"],
    ["x=( ;", ""], // nothing of it runs
    ["sleep", ""],
    ["false; false", "E 1\nit\nE 1\nit\n"],
    ["exit 4", ""],
    ["trap 'echo \"+ $BASH_COMMAND\"' DEBUG; x=1; echo hi", "+ x=1\n+ echo hi\nhi\n"],
    ["echo two", "+ echo two\ntwo\n"],
    ["sleep", ""],
    ["set -T; f() { echo in; }", "+ set -T\n"],
    ["f", "+ f\n+ f\n+ echo in\nin\n"],
    ["trap - DEBUG ERR; false", "+ trap - DEBUG ERR\n"],
    ["set +T; trap 'echo R' RETURN; f", "in\nR\n"], // of the program, which is a file that is sourced
    ["set -T; f", "in\nR\nR\n"],
    ["trap - RETURN; f", "in\n"],
    ["f", "in\n"],
  ];
  for (const [code, stdout] of runs)
    if (code === "sleep") await hibernate(session);
    else assert.equal((await session.run(code)).stdout, stdout, code);
});

test("bash keeps what a run leaves under traps and modes, whatever it unsets and however it ends", async () => {
  const cases: [string[], string, string][] = [
    [
      ["trap 'echo e' ERR", "unset $(compgen -v) 2>/dev/null; x=5; trap - ERR"],
      "5\n",
      "echo $x; false; true",
    ],
    [["set -x", "for v in $(compgen -v); do unset $v; done 2>/dev/null; y=6; set +x"], "6\n", "echo $y"],
    [["trap 'echo e' ERR", "main() { exit 0; }; main"], "e\n", "false; true"],
    [["trap 'echo e' ERR; set -e", "f() { false; }; f"], "e\n", "set +e; false; true"],
    [["trap 'echo e' ERR", "trap - ERR; exit 0"], "x\n", "false; echo x"],
    [["trap 'echo u' USR1", "builtin() { :; }; exit"], "u\n", "kill -USR1 $$; :"],
    [["trap 'exit 3' DEBUG", "echo never"], "hi\n", "echo hi"],
    [["set -- a 'b  c' ''"], "3 b  c\n", 'echo $# "$2"'],
    [["set -- a b", "f() { exit 3; }; f x y z"], "2 b\n", 'echo $# "$2"'],
    [["set -- a b", "shift; exit"], "1 b\n", 'echo $# "$1"'],
    [["set -- a b", "set --"], "0\n", "echo $#"],
  ];
  for (const [at, [runs, stdout, check]] of cases.entries()) {
    const session = await it.client.create(`left-${at}`, { language: "bash" });
    for (const code of runs) await session.run(code);
    assert.equal((await session.run(check)).stdout, stdout, runs.join("; then "));
    await hibernate(session);
    assert.equal((await session.run(check)).stdout, stdout, `${runs.join("; then ")}, after sleep`);
  }
});

test("a program of bash that runs main only when it is run itself, does; its library does not", async () => {
  const session = await it.client.create("main", { language: "bash" });
  const guard =
    'main() { echo "main of ${0##*/} $#"; }\nif [[ "${BASH_SOURCE[0]}" == "${0}" ]]; then main "$@"; fi';
  await session.prints("", `cat >lib.sh <<'END'\n${guard}\nEND`);
  await session.prints("main of run-2 0\n", `${guard}\n. ./lib.sh`);
  await hibernate(session);
  await session.prints("main of run-3 0\n", guard);
  const alone = await it.client.execute(guard, { language: "bash" });
  assert.match(alone.stdout, /^main of \S+ 0\n$/);
});

test("what a run alone has in its environment is as it was afterwards", async () => {
  const session = await it.client.create("path", { language: "bash" });
  await session.prints("/nowhere\n", "echo $PATH", { env: { PATH: "/nowhere" } });
  await session.prints("x\n", "ls /workspace >/dev/null && echo x");
  const alone = await it.client.execute("set -x\necho a", { language: "bash" });
  assert.deepEqual([alone.stdout, alone.stderr], ["a\n", "++ echo a\n"]); // of a file that is sourced
});

test("bash starts anew when something ends its shell between runs", async () => {
  const session = await it.client.create("between", { language: "bash" });
  await session.run("x=1; (sleep 0.2; kill $$) & sleep 60 & :");
  await sleep(1_000);
  await session.prints("hi 1\n", "echo hi $x");
});
