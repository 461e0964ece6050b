/**
 * What no pickler can keep goes on after sleep, twice in a row, and in a copy; and what happens when that cannot be.
 */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { BASH_KINDS, JAVASCRIPT_KINDS, type ProcessKind, PYTHON_KINDS } from "../fixtures/process-kinds.ts";
import type { SessionClient } from "../support/client.ts";
import { TestServer, until } from "../support/server.ts";

let server: TestServer;
before(async () => {
  server = await TestServer.start({ ERA_POOL: "python=1" });
  const { imaging } = await server.client.expect(200, "GET", "/health");
  assert.equal(imaging.supported, true, imaging.detail);
});
after(async () => {
  await server.stop();
  await server.removeData();
});

const images = () => readdirSync(join(server.dataDir, "images"));

async function hibernate(session: SessionClient): Promise<void> {
  await session.client.expect(200, "POST", `${session.path}/hibernate`);
  const { state } = await session.get();
  assert.deepEqual([state.kind, state.imaging.lost], ["hibernated", null]);
  assert.ok(state.imaging.image.bytes > 100_000);
}

/** How a language says each kind's use on a line of its own, after its name. */
type Sayings = { make: (kinds: readonly ProcessKind[]) => string; use: (kind: ProcessKind) => string };

const SAYINGS: Record<string, Sayings> = {
  python: {
    make: (kinds) => kinds.map(({ make }) => make).join("\n"),
    use: ({ name, use }) => `print(${JSON.stringify(name)}, "|", ${use})`,
  },
  javascript: {
    make: (kinds) => kinds.map(({ make }) => make).join("\n"),
    use: ({ name, use }) => `console.log(${JSON.stringify(name)} + " | " + String(${use}));`,
  },
  bash: {
    make: (kinds) => kinds.map(({ make }) => make).join("\n"),
    use: ({ name, use }) => `printf '%s | ' '${name}'; ${use}`,
  },
};

async function useAll(session: SessionClient, kinds: readonly ProcessKind[], sayings: Sayings, time: number) {
  const answer = await session.run(kinds.map(sayings.use).join("\n"));
  const said = answer.stdout.trimEnd().split("\n");
  const expected = kinds.map(({ name, answers }) => `${name} | ${answers(time)}`);
  assert.deepEqual(said, expected, `${session.id}: ${answer.stderr} ${JSON.stringify(answer.state)}`);
  assert.equal(answer.state.rolled_back, null);
}

const LANGUAGES = [
  ["python", PYTHON_KINDS, "python"],
  ["node", JAVASCRIPT_KINDS, "javascript"],
  ["deno", JAVASCRIPT_KINDS, "javascript"],
  ["bash", BASH_KINDS, "bash"],
] as const;

for (const [language, kinds, way] of LANGUAGES) {
  test(
    `${kinds.length} kinds go on in ${language}: after sleep, twice, and in a copy`,
    { timeout: 60_000 },
    async () => {
      const sayings = SAYINGS[way] as Sayings;
      const session = await server.client.create(`kinds-${language}`, { language });
      const made = await session.run(sayings.make(kinds));
      assert.equal(made.exit_code, 0, made.stderr);
      await hibernate(session);
      await useAll(session, kinds, sayings, 1);
      await hibernate(session);
      await server.client.expect(201, "POST", `${session.path}/duplicate`, { new_id: `asleep-${language}` });
      await useAll(session, kinds, sayings, 2);
      await server.client.expect(201, "POST", `${session.path}/duplicate`, { new_id: `awake-${language}` });
      await useAll(server.client.session(`asleep-${language}`), kinds, sayings, 2);
      await useAll(session, kinds, sayings, 3);
      await useAll(server.client.session(`awake-${language}`), kinds, sayings, 3);
      for (const id of [`kinds-${language}`, `asleep-${language}`, `awake-${language}`])
        await server.client.session(id).delete();
      await until("no image is left", () => images().length === 0);
    },
  );
}

const GENERATOR =
  "def numbers():\n  n = 0\n  while True:\n    n += 1\n    yield n\nnumber = numbers(); kept = [next(number)]";

test("files changed while it sleeps: the saved state is used, and the next answer says what that cost", async () => {
  const session = await server.client.create("changed");
  await session.prints("", `${GENERATOR}\nopen("f", "w").write("1") and None`);
  await hibernate(session);
  await server.client.expect(200, "PUT", `${session.path}/files/f`, "2");
  const answer = await session.prints("[1] 2\n", `print(kept, open("f").read())`);
  assert.match(answer.state.image_lost, /files were changed/);
  assert.deepEqual(
    answer.state.not_kept.map(({ name }: { name: string }) => name),
    ["number"],
  );
  await until("no image is left", () => images().length === 0);
  const later = await session.fails(/'number' held a generator that could not be kept/, "next(number)");
  assert.equal(later.state.image_lost, undefined, "told once");
});

test("an image that is damaged, or gone, costs no more than itself", async () => {
  for (const harm of ["damaged", "gone"]) {
    const session = await server.client.create(`image-${harm}`);
    await session.prints("", GENERATOR);
    await hibernate(session);
    const folder = join(server.dataDir, "images", images()[0] ?? "");
    const pages = readdirSync(folder).filter((name) => name.startsWith("core-"));
    if (harm === "gone") rmSync(folder, { recursive: true });
    else for (const name of pages) writeFileSync(join(folder, name), "rubbish");
    const answer = await session.prints("[1]\n", "print(kept)");
    assert.match(answer.state.image_lost, /^it could not be restored/);
    await until("no image is left", () => images().length === 0);
  }
});

test("imaging is a setting: always, auto, never", async () => {
  const session = await server.client.create("setting", { imaging: "never" });
  await session.prints("", GENERATOR);
  await server.client.expect(200, "POST", `${session.path}/hibernate`);
  assert.deepEqual(images(), []);
  assert.equal((await session.get()).state.imaging.mode, "never");
  const plain = await server.client.create("plain");
  await plain.prints("", "x = 1");
  await server.client.expect(200, "POST", `${plain.path}/hibernate`);
  assert.deepEqual(images(), [], "what can be saved needs no image");
  await plain.patch({ imaging: "always" });
  await plain.prints("1\n", "print(x)");
  await hibernate(plain);
  await plain.prints("1\n", "print(x)");
  const answer = await server.client.call("PATCH", plain.path, { imaging: "sometimes" });
  assert.equal(answer.status, 400);
});

test("a copy draws other random numbers; its environment is its own", async () => {
  for (const [language, code] of [
    [
      "python",
      "import random, numpy, os\nprint(random.random(), numpy.random.random(), os.environ['ERA_SESSION_ID'])",
    ],
    ["node", "console.log(Math.random(), process.env.ERA_SESSION_ID)"],
    ["bash", "echo $RANDOM$RANDOM $ERA_SESSION_ID"],
  ] as const) {
    const session = await server.client.create(`random-${language}`, { language, imaging: "always" });
    await session.run(code);
    await server.client.expect(201, "POST", `${session.path}/duplicate`, { new_id: `other-${language}` });
    const other = server.client.session(`other-${language}`);
    const [first, second] = [
      (await session.run(code)).stdout.trim().split(" "),
      (await other.run(code)).stdout.trim().split(" "),
    ];
    assert.equal(first.pop(), session.id);
    assert.equal(second.pop(), other.id);
    for (const [at, number] of first.entries()) assert.notEqual(number, second[at], `${language} ${at}`);
  }
});

test("requests that reach a kernel together are heard one after the other, each with its descriptors", async () => {
  // The guest's own programs can read the agent's modules: they are run here as they are.
  const session = await server.client.create("together");
  await session.prints(
    "reseed [] True\nrun 2 True\nsave [] None\n",
    `import array, os, socket, sys
sys.path.insert(0, "/opt/era/agent")
from kernel_process import Requests
from wire import encode_frame
near, far = socket.socketpair()
requests = Requests(far)
near.send(encode_frame({"type": "reseed"}))
near.sendmsg([encode_frame({"type": "run"}, b"code")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", os.pipe()))])
near.send(encode_frame({"type": "save"}))
for _ in range(3):
    header, _, descriptors = requests.next()
    left = requests.wait([], 0)
    print(header["type"], len(descriptors) or [], left is None or None)`,
  );
});

test("a restored sandbox is as closed as a new one", async () => {
  const session = await server.client.create("closed", { imaging: "always", memory_mib: 200 });
  await session.prints("", LOOK);
  const before = await session.run("print(look())");
  assert.equal(before.stderr, "");
  assert.match(before.stdout, /'Seccomp': '2', .*'agent': 'PermissionError'/);
  for (let time = 0; time < 2; time++) {
    await hibernate(session);
    assert.equal((await session.run("print(look())")).stdout, before.stdout);
  }
  await server.client.expect(201, "POST", `${session.path}/duplicate`, { new_id: "closed-copy" });
  assert.equal((await server.client.session("closed-copy").run("print(look())")).stdout, before.stdout);
  assert.equal((await session.run("print(look())")).stdout, before.stdout, "also the one that was copied");

  const hungry = await session.run("data = bytearray(400 << 20)");
  assert.equal(hungry.outcome, "out_of_memory");
  await hibernate(session);
  const forked = await session.run(FORK_MANY);
  assert.match(forked.stdout, /^BlockingIOError after 12\d\n$/, "128 processes, of which some are its own");
  const inside = server
    .processes()
    .filter((pid) => /^NSpid:\t\d+\t\d+/m.test(readText(`/proc/${pid}/status`)));
  const groups = inside.map((pid) => readText(`/proc/${pid}/cgroup`)).filter((text) => text !== "");
  assert.ok(groups.length > 0 && groups.every((text) => text.includes("/era-")), groups.join("\n"));
});

const FORK_MANY = `import os, time
children = []
try:
  while len(children) < 200:
    pid = os.fork()
    if pid == 0: time.sleep(60); os._exit(0)
    children.append(pid)
except OSError as error: print(type(error).__name__, "after", len(children))
for pid in children: os.kill(pid, 9); os.waitpid(pid, 0)`;

/** What a program finds out of what holds it. */
const LOOK = `import os, ctypes, errno, socket
def attempt(work):
  try: return repr(work())
  except OSError as error: return type(error).__name__
def look():
  status = {name: text.strip() for name, _, text in (line.partition(":") for line in open("/proc/self/status"))}
  facts = {key: status[key] for key in ("Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters")}
  libc = ctypes.CDLL(None, use_errno=True)
  facts["unshare"] = (libc.unshare(0x10000000), errno.errorcode.get(ctypes.get_errno()))
  facts["mount"] = (libc.mount(b"none", b"/tmp", b"tmpfs", 0, None), errno.errorcode.get(ctypes.get_errno()))
  facts["namespaces"] = open("/proc/sys/user/max_user_namespaces").read().strip()
  facts["agent"] = attempt(lambda: open("/proc/1/mem", "r+b"))
  facts["cgroup"] = open("/proc/self/cgroup").read()
  facts["memory"] = [(os.statvfs(path).f_blocks * os.statvfs(path).f_bsize, oct(os.stat(path).st_mode), os.stat(path).st_uid) for path in ("/tmp", "/dev/shm")]
  facts["image"] = attempt(lambda: open("/usr/x", "w"))
  facts["map"] = open("/proc/self/uid_map").read().split()[0::2]
  facts["interfaces"] = [name for _, name in socket.if_nameindex()]
  facts["processes"] = sorted(name for name in os.listdir("/proc") if name.isdigit())
  facts["mounts"] = sorted((line.split()[4], line.split()[5]) for line in open("/proc/self/mountinfo"))
  return facts`;

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return "";
  }
}

test("a server that a run started answers again after sleep, at its public address", async () => {
  const session = await server.client.create("web", { language: "node" });
  await session.prints(
    "",
    `let hits = 0; require("http").createServer((_, answer) => answer.end(String(++hits))).listen(3000);`,
  );
  const ask = async () => (await fetch(`${server.url}/proxy/web/3000/`)).text();
  assert.equal(await ask(), "1");
  await hibernate(session);
  assert.equal(await ask(), "2", "a request wakes it");
  await session.prints("2\n", "console.log(hits)");
});
