/** What goes wrong while saving and restoring: full disks, killed saves, damaged files, memory that runs out. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, renameSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { SessionClient } from "../support/client.ts";
import { oneServer } from "../support/one-server.ts";
import { TestServer, until } from "../support/server.ts";

const it = oneServer({ ERA_DISK_MIB: "200" });

/** The state folder of the session whose workspace holds this file. */
function stateFolder(mark: string, server = it.server): string {
  const root = join(server.dataDir, "sessions");
  const key = readdirSync(root).find((name) => existsSync(join(root, name, "workspace", mark)));
  return join(root, String(key), "state");
}

const saved = (session: SessionClient, version: number) =>
  until("it is saved", async () => (await session.get()).state.saved_version >= version);
const hibernate = (session: SessionClient) => it.client.expect(200, "POST", `${session.path}/hibernate`);

test("a kernel that runs out of memory in a run is replaced, and all is as before that run", async () => {
  const session = await it.client.create("oom-run", { memory_mib: 200 });
  await session.prints("", `x = [1]; y = x\nopen("f", "w").write("1")`);
  const answer = await session.run(
    `x.append(2); open("f", "w").write("2")\nhog = [bytearray(1 << 20) for _ in range(1000)]`,
  );
  assert.deepEqual([answer.outcome, answer.exit_code], ["out_of_memory", 137]);
  assert.deepEqual(
    [answer.state.rolled_back.version, answer.state.version, /memory/.test(answer.state.rolled_back.reason)],
    [1, 2, true],
  );
  await session.prints("[1] True 2\n", `print(x, y is x, open("f").read())`);
});

test("memory that runs out in a save costs the save, not the session", async () => {
  const session = await it.client.create("oom-save", { memory_mib: 200 });
  await session.prints("", "x = 1");
  await saved(session, 1);
  await session.prints(
    "",
    `class Greedy:\n    def __reduce__(self):\n        hog = [bytearray(1 << 20) for _ in range(1000)]\n        return (int, ())\ngreedy = Greedy()\nx = 2`,
  );
  await until("the save has failed", async () => (await session.get()).state.save_failure !== null);
  const refused = await it.client.call("POST", `${session.path}/hibernate`);
  assert.deepEqual([refused.status, refused.body.code], [507, "save_failed"]);
  await session.prints("2\n", "print(x)\ndel greedy");
  await hibernate(session);
  await session.prints("2\n", "print(x)");
});

test("a save that takes too long, or whose process is killed, is told, and tried again", async () => {
  const session = await it.client.create("killed-save");
  await session.prints(
    "",
    `import os\nclass Deadly:\n    def __reduce__(self):\n        os.kill(os.getpid(), 9)\ndeadly = Deadly(); x = [1]`,
  );
  await until("the save has failed", async () => (await session.get()).state.save_failure !== null);
  await session.prints("[1]\n", "print(x)\ndel deadly");
  await saved(session, 2);
  assert.equal((await session.get()).state.save_failure, null);
});

test("a damaged value loses only what is in it, and says so; another version in its place is noticed", async () => {
  const session = await it.client.create("damaged");
  await session.prints(
    "",
    `open("mark-damaged", "w").close()\na = list(range(20000)); b = list(range(20000, 40000)); c = list(range(40000, 60000)); small = 7\nclass C: pass\nheld = C()`,
  );
  await saved(session, 1);
  await hibernate(session);
  const values = join(stateFolder("mark-damaged"), "values");
  const [first = "", second = "", third = ""] = readdirSync(values);
  truncateSync(join(values, first), 100);
  writeFileSync(join(values, second), readFileSync(join(values, third)));
  const answer = await session.run(
    `found = []\nfor name in ("a", "b", "c"):\n    try: found.append(globals()[name][0])\n    except KeyError: pass\nprint(len(found), small, type(held) is C)`,
  );
  assert.equal(answer.stdout, "1 7 True\n");
  await saved(session, 2);
  const { state } = await session.get();
  assert.equal(state.not_kept.length, 2);
  const [lost] = state.not_kept;
  assert.match(lost.reason, /damaged/);
  assert.match((await session.run(lost.name)).stderr, /NameError[\s\S]*damaged/);
});

test("kinds and names of any length cost nothing but their own value", async () => {
  const session = await it.client.create("long-names");
  for (const name of ["\u{1f600}".repeat(600), "K".repeat(5_000)]) {
    await session.run(
      `C = type(${JSON.stringify(name)}, (), {"__reduce__": lambda self: 1 / 0}); x = C(); y = 41`,
    );
    await session.prints("41\n", "print(y)");
  }
  await session.run(`globals()["v" * 5_000] = (n for n in range(3))`);
  await it.client.expect(200, "POST", `${session.path}/hibernate`);
  await session.prints("41\n", "print(y)");
});

test("when the newest version is damaged the one before it is restored, and the answer says so", async () => {
  const session = await it.client.create("newest");
  await session.prints("", `open("mark-newest", "w").close()\nx = 1`);
  await session.prints("", "x = 2");
  await saved(session, 2);
  await hibernate(session);
  const versions = join(stateFolder("mark-newest"), "versions");
  truncateSync(join(versions, "2"), 60);
  const answer = await session.run("print(x)");
  assert.equal(answer.stdout, "1\n");
  assert.deepEqual([answer.state.rolled_back.version, /2/.test(answer.state.rolled_back.reason)], [1, true]);
});

test("rubbish, links and devices in the state folder harm nobody", async () => {
  const session = await it.client.create("rubbish");
  await session.prints("", `open("mark-rubbish", "w").close()\nx = 1`);
  await saved(session, 1);
  await session.run(
    `import os\nos.symlink("/etc/passwd", "/run/era-state/versions/99999")\nos.mkfifo("/run/era-state/versions/99998")\nopen("/run/era-state/versions/99997", "wb").write(os.urandom(5000))\nos.mkdir("/run/era-state/results", exist_ok=True) if False else None\nos.symlink("/etc", "/run/era-state/values/x")`,
  );
  await hibernate(session);
  const answer = await session.run("print(x)");
  assert.equal(answer.stdout, "1\n");
  await session.prints("1\n", "print(x)");
  const state = stateFolder("mark-rubbish");
  renameSync(join(state, "versions"), join(state, "moved"));
  await hibernate(session).catch(() => undefined);
  assert.equal((await session.run("print('alive')")).stdout, "alive\n");
});

test("a save that an answer waited for, and that failed, is told in that answer", async () => {
  for (const [language, code] of [
    ["python", "x = 2"],
    ["node", "x = 2"],
    ["bash", "x=2"],
  ] as const) {
    const session = await it.client.create(`sync-${language}`, { language, durability: "sync" });
    assert.equal((await session.run(code)).state.save_failure, undefined);
    await it.client.expect(200, "POST", `${session.path}/shell`, {
      command: "rm -r /run/era-state/versions; : >/run/era-state/versions",
    });
    assert.match((await session.run(code)).state.save_failure, /./, language);
    await session.delete(); // it could not be saved at the server's end
  }
});

test("a version that is on disk stays while later ones are not yet: a machine that loses power finds it", async () => {
  const FLUSH_MS = 5_000;
  const server = await TestServer.start({ ERA_KEEP_VERSIONS: "2", ERA_POOL: "python=0" });
  const check = async (language: "python" | "node" | "bash", set: string, show: string, die: string) => {
    const session = await server.client.create(`power-${language}`, { language });
    const mark = `mark-power-${language}`;
    await server.client.expect(200, "PUT", `${session.path}/files/${mark}`, "");
    await session.prints("", set.replace("@", "1"));
    await sleep(FLUSH_MS + 500);
    await session.prints("", set.replace("@", "2"));
    for (let at = 0; at < 4; at++) await session.prints("", set.replace("@", "3"));
    await saved(session, 6);
    const versions = join(stateFolder(mark, server), "versions");
    const [oldest, ...later] = readdirSync(versions).sort((a, b) => Number(a) - Number(b));
    assert.deepEqual([oldest, later.length], ["2", 2], language);
    for (const name of later) truncateSync(join(versions, name));
    assert.equal((await session.run(die)).state.rolled_back.version, 2, language);
    await session.prints("2\n", show);
  };
  await Promise.all([
    check("python", "x = @", "print(x)", "import os; os.kill(os.getpid(), 9)"),
    check("node", "x = @", "console.log(x)", "process.kill(process.pid, 9)"),
    check("bash", "x=@", "echo $x", "kill -9 $PPID"),
  ]);
  await server.stop();
  await server.removeData();
});

test("what is put where the next version is to be written, or taken from there, costs nothing", async () => {
  const put = ["mkfifo $S", "mkdir -p $S/deep", "ln -s /etc/passwd $S", ": >$S; chmod 0 $S"];
  const check = async (language: "python" | "node" | "bash", set: string, show: string) => {
    const session = await it.client.create(`spare-${language}`, { language });
    await session.prints("", set);
    await hibernate(session);
    for (const command of [...put, "rm -rf /run/era-state/values"]) {
      const before = await session.run(show);
      assert.equal(before.stdout, "1\n");
      await saved(session, before.state.version);
      const shell = { command: `S=/run/era-state/.version-spare; rm -rf $S; ${command}` };
      await it.client.expect(200, "POST", `${session.path}/shell`, shell);
      const { state } = await session.run(show);
      assert.deepEqual([state.save_failure, state.rolled_back], [undefined, null], `${language}: ${command}`);
      await hibernate(session);
    }
    await session.prints("1\n", show);
  };
  await Promise.all([
    check("python", "x = 1", "print(x)"),
    check("node", "var x = 1", "console.log(x)"),
    check("bash", "x=1", "echo $x"),
  ]);
});

test("with one version kept, one that is on disk stays until another is; none is offered that is not whole", async () => {
  const server = await TestServer.start({ ERA_KEEP_VERSIONS: "1", ERA_POOL: "python=0" });
  const session = await server.client.create("one", { language: "python" });
  const root = join(server.dataDir, "sessions");
  const versions = () =>
    readdirSync(root).flatMap((key) => readdirSync(join(root, key, "state", "versions")).map(Number));
  await session.prints("", "a = 1");
  await server.client.expect(200, "POST", `${session.path}/hibernate`);
  for (const code of ["b = 1", "a = 2", "c = 1", "c = 2"]) await session.prints("", code);
  await until("it is saved", async () => (await session.get()).state.saved_version >= 5);
  assert.deepEqual(
    versions().filter((version) => version === 2 || version === 5),
    [2, 5],
  );
  const offered = async (): Promise<number[]> =>
    (await server.client.expect(200, "GET", `${session.path}/versions`)).versions.map(
      ({ version }: { version: number }) => version,
    );
  for (let round = 0; round < 3; round++) {
    const version = (await offered()).find((each) => each >= 2 && each <= 5);
    if (version === undefined) break;
    await server.client.expect(200, "POST", `${session.path}/rollback`, { version });
    const answer = await session.run("print(a, b)");
    assert.equal(answer.stdout, version === 2 ? "1 1\n" : "2 1\n");
    await saved(session, answer.state.version);
  }
  await server.stop();
  await server.removeData();
});

test("sandboxes whose server is gone, and whose folders are, end", async () => {
  const server = await TestServer.start({ ERA_ORPHAN_SECONDS: "1", ERA_POOL: "python=0" });
  for (const [language, code] of Object.entries({
    python: "x = 1",
    node: "x = 1",
    deno: "x = 1",
    bash: "x=1",
  }))
    await (await server.client.create(language, { language })).prints("", code);
  await server.kill();
  await server.removeData();
  await until("all have ended", () => server.processes().length === 0, 20_000);
});

/** In each language: adds a version that has the right digest, and a header that no kernel writes. */
const FORGERIES: Record<string, string> = {
  python: `import hashlib, json, struct
content = open("/run/era-state/versions/1", "rb").read()
size = struct.unpack(">I", content[8:12])[0]
header = json.loads(content[44:44 + size])
header.update(version=90, run="x" * 100)
text = json.dumps(header).encode()
prefix = b"ERASTATE" + struct.pack(">I", len(text)) + hashlib.sha256(text).digest()
open("/run/era-state/versions/90", "wb").write(prefix + text + content[44 + size:])`,
  node: `const fs = require("fs"), { createHash } = require("crypto");
const content = fs.readFileSync("/run/era-state/versions/1");
const size = content.readUInt32BE(8);
const header = { ...JSON.parse(content.subarray(44, 44 + size)), version: 90, result: { outcome: "ok", exit_code: 0, error: { evil: 1 } } };
const text = Buffer.from(JSON.stringify(header)), prefix = Buffer.alloc(12);
prefix.write("ERASTATE"); prefix.writeUInt32BE(text.length, 8);
fs.writeFileSync("/run/era-state/versions/90", Buffer.concat([prefix, createHash("sha256").update(text).digest(), text, content.subarray(44 + size)])); 0`,
};

for (const [language, forge] of Object.entries(FORGERIES)) {
  test(`${language}: a state file that a program wrote itself costs no more than itself`, async () => {
    const session = await it.client.create(`forged-${language}`, { language });
    await session.run(language === "python" ? "x = 41" : "x = 41; 0");
    await saved(session, 1);
    assert.equal((await session.run(forge)).exit_code, 0);
    await hibernate(session);
    const show = language === "python" ? "print(x + 1)" : "console.log(x + 1)";
    const answer = await session.prints("42\n", show);
    assert.match(answer.state.rolled_back?.reason ?? "", /version 90: it is not readable/);
  });
}
