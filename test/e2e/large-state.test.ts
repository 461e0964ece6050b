/** Variables that are large for what may be saved of a session: all that was acknowledged is kept, or told in time. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { oneServer } from "../support/one-server.ts";

const it = oneServer({
  ERA_DISK_MIB: "32",
  ERA_STATE_MIB: "96",
  ERA_MEMORY_MIB: "256",
  ERA_IDLE_SECONDS: "3600",
});

/** In each language: `make` an array of so many MiB, `change` all of it, `look` at its first element. */
const PYTHON = {
  make: (name: string, mib: number) => `${name} = bytearray(${mib} << 20)`,
  change: (name: string, to: number) => `${name}[:] = bytes([${to}]) * len(${name})`,
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
