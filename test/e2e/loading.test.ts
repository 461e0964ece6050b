/** What is told to survive has been loaded: a save tries each kind of object, and names what does not come back. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { oneServer } from "../support/one-server.ts";
import { until } from "../support/server.ts";

const it = oneServer();

/** Classes whose objects can be taken apart and not be put together: each in its own way. */
const BAD = {
  reduce:
    "class Bad:\n    def __init__(self, n): self.n = n\n    def __reduce__(self): return Bad, ()\nbad = Bad(1)",
  setstate:
    "class Bad:\n    def __setstate__(self, state): raise ValueError('not again')\nbad = Bad(); bad.n = 1",
  arguments:
    "class Bad(Exception):\n    def __init__(self, a, b): super().__init__(a)\n    def __reduce__(self): return Bad, self.args\nbad = Bad(1, 2)",
  hash: "class Bad:\n    def __init__(self): self.key = bytearray(b'a')\n    def __reduce__(self): return object.__reduce_ex__(self, 5)\n    def __hash__(self): return hash(bytes(self.key))\nkey = Bad(); bad = {key}; key.me = bad",
  metaclass:
    "class Meta(type):\n    def __setattr__(cls, name, value): raise TypeError('closed')\n    def __reduce__(cls): return 1 / 0\nclass Own(metaclass=Meta): pass\nimport copyreg\nclass Bad:\n    def __reduce_ex__(self, protocol): return (copyreg._reconstructor, (Bad, dict, None))\nbad = Bad()",
};

const namesOf = (items: readonly { name: string }[]) => items.map(({ name }) => name);

for (const [way, code] of Object.entries(BAD)) {
  test(`an object that does not load again is named before sleep, alone: ${way}`, async () => {
    const session = await it.client.create(`bad-${way}`, { imaging: "never" });
    await session.prints(
      "",
      `${code}\nnumbers = [1, 2]\nholder = {'numbers': numbers}\nmixed = [numbers, bad]`,
    );
    await until("it is named", async () => {
      const told = namesOf((await session.get()).state.not_kept);
      return told.includes("bad") && told.includes("mixed");
    });
    await session.prints("7\n", "print(7)");
    await it.client.expect(200, "POST", `${session.path}/hibernate`);
    await session.prints("[1, 2, 3]\n", "numbers.append(3); print(holder['numbers'])");
    await session.fails(/NameError.*\n.*could not be kept/, "bad");
  });
}

test("what does not load again goes on in a snapshot of the processes, where the host can", async () => {
  const session = await it.client.create("auto");
  await session.prints("", BAD.reduce);
  await it.client.expect(200, "POST", `${session.path}/hibernate`);
  await session.prints("1\n", "print(bad.n)");
});

test("a kind that loads is tried once, also when its class is defined again", async () => {
  const session = await it.client.create("good", { imaging: "never", durability: "sync" });
  const good = (base: number) =>
    `import os\nclass Good:\n    def __init__(self): self.n = ${base}\n    def __setstate__(self, state): self.__dict__ = state; open('loads', 'a').write('${base}')`;
  await session.prints("", `${good(1)}\ng = Good()`);
  for (let at = 0; at < 3; at++) await session.prints("", "g.n += 1");
  await session.prints("1\n", "print(open('loads').read())");
  await session.prints("", `${good(2)}\ng = Good()`);
  await session.prints("12\n", "print(open('loads').read())");
});

test("a trial takes nothing from what it is a copy of", async () => {
  const session = await it.client.create("owners", { imaging: "never", durability: "sync" });
  await session.prints(
    "",
    `import os, tempfile, weakref
f = tempfile.NamedTemporaryFile("w+"); f.write("hi"); f.flush()
class Owner(list):
    def append(self, x): list.append(self, x)
    def __del__(self): os.unlink("owned")
open("owned", "w").close(); owner = Owner()
d = tempfile.TemporaryDirectory()`,
  );
  for (let time = 0; time < 2; time++)
    await session.prints(
      "True True True\n",
      "print(os.path.exists(f.name), os.path.exists('owned'), os.path.exists(d.name)); owner.append(1)",
    );
});

test(
  "an object whose load ends the process, or never ends, costs itself alone",
  { timeout: 60_000 },
  async () => {
    const session = await it.client.create("ends", { imaging: "never", durability: "sync" });
    const classOf = (name: string, act: string) =>
      `class ${name}:\n    def __setstate__(self, state): ${act}\n${name.toLowerCase()} = ${name}(); ${name.toLowerCase()}.n = 1`;
    await session.prints(
      "",
      [
        "import os, time",
        classOf("Leaves", "raise SystemExit(3)"),
        classOf("Dies", "os._exit(1)"),
        classOf("Waits", "time.sleep(1000)"),
        "class Odd(list):\n    __firstlineno__ = {1}\n    def append(self, x): list.append(self, x)\nodd = Odd()",
        "kept = [1]",
      ].join("\n"),
    );
    const { state } = await session.get();
    assert.deepEqual(namesOf(state.not_kept).sort(), ["dies", "leaves"]);
    assert.equal(state.save_failure ?? null, null);
  },
);

test("a kernel that ends as soon as a process beside it has begun to save ends as it did, and names nothing", async () => {
  await Promise.all(
    Array.from({ length: 6 }, async (_, at) => {
      const session = await it.client.create(`ends-${at}`, { imaging: "never" });
      for (let time = 0; time < 12; time++) {
        await session.run("class A:\n    def __eq__(self, other): return True\na = A()");
        const { exit_code, state } = await session.run("import os; os.kill(os.getpid(), 11)");
        assert.deepEqual([exit_code, state.not_kept], [139, []]);
      }
    }),
  );
});
