/** Variables that are large for what may be saved of a session: all that was acknowledged is kept, or told in time. */
import assert from "node:assert/strict";
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { oneServer } from "../support/one-server.ts";
import { TestServer } from "../support/server.ts";

const it = oneServer({
  ERA_DISK_MIB: "32",
  ERA_STATE_MIB: "96",
  ERA_MEMORY_MIB: "256",
  ERA_IDLE_SECONDS: "3600",
});

const sizeOf = (folder: string): number =>
  readdirSync(folder).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);

/** In each language: `make` an array of so many MiB, `change` all of it, `look` at its first element. */
const PYTHON = {
  make: (name: string, mib: number) => `${name} = bytearray(${mib} << 20)`,
  change: (name: string, to: number) =>
    `import random; ${name}[:] = random.Random(${to}).randbytes(len(${name})); ${name}[0] = ${name}[-1] = ${to}`,
  look: (name: string) => `print(${name}[0], ${name}[-1])`,
};
const LANGUAGES = {
  python: PYTHON,
  node: {
    make: (name: string, mib: number) => `var ${name} = Buffer.alloc(${mib} * 2**20); 0`,
    change: (name: string, to: number) => `${name}.fill(${to}); 0`,
    look: (name: string) => `console.log(${name}[0], ${name}.at(-1))`,
  },
};

for (const [language, { make, change, look }] of Object.entries(LANGUAGES)) {
  test(`${language}: an array that is changed again and again keeps each change; only the oldest versions go`, async () => {
    const session = await it.client.create(`again-${language}`, { language });
    await session.run(make("a", 30));
    for (let to = 1; to <= 12; to++) {
      const answer = await session.run(`${change("a", to)}\n${look("a")}`);
      assert.equal(answer.stdout, `${to} ${to}\n`);
      assert.equal(answer.state.rolled_back, null);
      assert.equal(answer.state.save_failure, undefined);
    }
    await session.hibernate();
    const { versions } = await it.client.expect(200, "GET", `/api/sessions/again-${language}/versions`);
    assert.ok(versions.length >= 2 && versions.length <= 8, `${versions.length} versions are kept`);
    await session.prints("12 12\n", look("a"));
  });
}

const { make, look } = PYTHON;

test("variables that are more than may be saved are told at once, and go on", async () => {
  const session = await it.client.create("large", { durability: "sync" });
  await session.run(make("a", 150));
  await session.hibernate();
  const answer = await session.run(make("b", 150));
  assert.match(
    answer.state.save_failure,
    /^the variables take 30\d MiB, more than the 256 MiB that may be saved .*: delete some of them/,
  );
  const refused = await it.client.expect(507, "POST", `${session.path}/hibernate`);
  assert.equal(refused.code, "save_failed");
  await session.prints("0 0\n", look("b"));
  const freed = await session.run("del b");
  assert.equal(freed.state.save_failure, undefined);
  await session.hibernate();
  await session.prints("0 0\n", look("a"));
});

test("the quota of a session's files is apart from what is saved of its variables", async () => {
  const session = await it.client.create("both");
  await session.run("a = bytearray(60 << 20); open('file', 'wb').write(bytes(24 << 20))");
  await session.hibernate();
  await session.prints(`${60 << 20} ${24 << 20}\n`, "import os; print(len(a), os.path.getsize('file'))");
});

test("looking at a large variable after sleep neither fills the disk nor costs the session anything", async () => {
  const session = await it.client.create("looked-at");
  await session.run(`${make("a", 90)}; ${make("b", 90)}`);
  await session.hibernate();
  for (const name of ["b", "a", "b"]) {
    const answer = await session.prints(`${90 << 20}\n`, `print(len(${name}))`);
    assert.equal(answer.state.rolled_back, null);
    assert.equal(answer.state.save_failure, undefined);
  }
  await session.hibernate();
  await session.prints("0 0\n", look("b"));
});

test(
  "of a large value only what has changed is written; versions and copies share the rest",
  {
    timeout: 120_000,
  },
  async () => {
    const server = await TestServer.start({ ERA_POOL: "python=0" });
    const session = await server.client.create("parts", { memory_mib: 1024, durability: "sync" });
    await session.prints("", "import numpy as np\na = np.random.default_rng(1).random(100 << 17); n = 0");
    const versions = async () =>
      (await server.client.expect(200, "GET", `${session.path}/versions`)).versions;
    const written = async () => (await versions())[0].bytes_written;
    assert.ok((await written()) > 100 << 20);
    for (let to = 1; to <= 20; to++) {
      await session.prints("", `n = ${to}; a[(${to} * 654_321) % len(a)] = ${to}`);
      assert.ok((await written()) <= 2 << 20, `${await written()} bytes were written`);
    }
    await session.prints("", "small = 1");
    assert.ok((await written()) < 16 << 10, `${await written()} bytes were written for a number`);
    const kept = await versions();
    assert.equal(kept.length, 20);
    const [key = ""] = readdirSync(join(server.dataDir, "sessions"));
    const values = join(server.dataDir, "sessions", key, "state/values");
    assert.ok(sizeOf(values) < 150 << 20, `${sizeOf(values)} bytes for 20 versions`);
    const { version } = kept[11];
    await server.client.expect(200, "POST", `${session.path}/rollback`, { version });
    const at = (k: string) => `a[(${k} * 654_321) % len(a)]`;
    await session.prints("True True\n", `print(${at("n")} == n, ${at("(n + 1)")} < 1)`);
    await session.hibernate();
    await server.client.expect(201, "POST", `${session.path}/duplicate`, { new_id: "parts-copy" });
    await server.client.session("parts-copy").prints("True\n", `print(${at("n")} == n); a[0] = 5`);
    await session.prints("False\n", "print(a[0] == 5); a = None");
    for (let to = 0; to < 21; to++) await session.prints("", `n = ${to}`);
    assert.deepEqual(readdirSync(values), [], "nothing is left of a value that no version has");
    await server.stop();
    await server.removeData();
  },
);

test("a piece that is damaged or missing costs its value alone, by name", async () => {
  const session = await it.client.create("piece", { memory_mib: 512, durability: "sync" });
  const data = (seed: number) => `random.Random(${seed}).randbytes(10 << 20)`;
  await session.prints("", `import random\na = ${data(1)}; b = ${data(2)}; c = ${data(3)}`);
  await session.prints(
    "",
    `import os
values = "/run/era-state/values/"
lists = [open(values + name, "rb").read(64).decode(errors="replace") for name in os.listdir(values) if os.path.getsize(values + name) < 5000]
first = {}
for name in filter(str.isalnum, lists):
    begin = open(values + name, "rb").read(40)
    first.update((key, values + name) for key in "abc" if b"\\x8c\\x01" + key.encode() in begin)
os.unlink(first["b"])
with open(first["c"], "r+b") as f: f.seek(-7, 2); f.write(b"rubbish")`,
  );
  await session.run("import os; os.kill(os.getpid(), 9)");
  await session.prints("True\n", `import random; print(a == ${data(1)})`);
  await session.fails(/'b' held a bytes that could not be kept: its saved state is damaged/, "b");
  await session.fails(/'c' held a bytes that could not be kept: its saved state is damaged/, "c");
});
