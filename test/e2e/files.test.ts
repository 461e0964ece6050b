/** Files of a session over HTTP: live, asleep, never run; whole trees; hostile names and trees. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { oneServer } from "../support/one-server.ts";

const it = oneServer({ ERA_DISK_MIB: "64" });
const at = (id: string, path = "") => `${it.server.url}/api/sessions/${id}/files${path}`;
const put = (id: string, path: string, body: string | Uint8Array<ArrayBuffer>) =>
  fetch(at(id, `/${path}`), { method: "PUT", body });
const bytes = async (response: Response) => Buffer.from(await response.arrayBuffer());

test("files go in before the first run, and come out again from a live session and one that sleeps", async () => {
  const session = await it.client.create("inout");
  const content = new Uint8Array(randomBytes(300_000));
  const answer = await put("inout", "a/b/data.bin", content);
  assert.deepEqual([answer.status, await answer.json()], [200, { path: "a/b/data.bin", size: 300_000 }]);
  await session.prints(
    "300000\n",
    `print(len(open("a/b/data.bin", "rb").read()))\nopen("out.json", "w").write("{}")`,
  );
  for (const state of ["live", "hibernated"]) {
    assert.equal((await session.get()).state.kind, state);
    const read = await fetch(at("inout", "/a/b/data.bin"));
    assert.deepEqual(await bytes(read), Buffer.from(content));
    const json = await fetch(at("inout", "/out.json"));
    assert.equal(json.headers.get("content-type"), "application/json");
    assert.equal(json.headers.get("content-length"), "2");
    await put("inout", `${state}.txt`, state);
    await it.client.expect(200, "POST", `${session.path}/hibernate`);
  }
  assert.equal((await session.get()).state.kind, "hibernated");
  await session.prints(
    "live hibernated True\n",
    `import os\nprint(open("live.txt").read(), open("hibernated.txt").read(), os.stat("live.txt").st_uid == os.getuid())\nopen("live.txt", "a").close()`,
  );
  assert.equal((await session.get()).file_count, 4);
});

test("parts of a file are read by Range", async () => {
  await it.client.create("range");
  await put("range", "f", "0123456789");
  const read = async (range: string) => {
    const response = await fetch(at("range", "/f"), { headers: { range } });
    return [response.status, await response.text(), response.headers.get("content-range")];
  };
  assert.deepEqual(await read("bytes=2-4"), [206, "234", "bytes 2-4/10"]);
  assert.deepEqual(await read("bytes=7-"), [206, "789", "bytes 7-9/10"]);
  assert.deepEqual(await read("bytes=-3"), [206, "789", "bytes 7-9/10"]);
  assert.equal((await read("bytes=20-"))[0], 416);
  assert.equal((await read("lines=1"))[0], 200);
  await put("range", "empty", "");
  assert.equal(await (await fetch(at("range", "/empty"))).text(), "");
});

test("a range that ends before it begins is none, and the whole file is sent", async () => {
  await it.client.create("no-range");
  await put("no-range", "f", "0123456789");
  const answer = await fetch(at("no-range", "/f"), { headers: { range: "bytes=5-3" } });
  assert.deepEqual([answer.status, await answer.text()], [200, "0123456789"]);
});

test("files are listed, searched, moved and deleted; folders are made and deleted with what is in them", async () => {
  const session = await it.client.create("tree");
  for (const path of ["src/app.py", "src/lib/Util.py", "notes.txt"]) await put("tree", path, "x");
  const list = async (query = "") =>
    (await it.client.expect(200, "GET", `${session.path}/files${query}`)).files.map(
      (file: { path: string }) => file.path,
    );
  assert.deepEqual(await list(), ["notes.txt", "src/app.py", "src/lib/Util.py"]);
  assert.deepEqual(await list("?search=util"), ["src/lib/Util.py"]);
  await it.client.expect(200, "POST", `${session.path}/folders/empty/inner`);
  await it.client.expect(200, "POST", `${session.path}/folders/empty`);
  await it.client.expect(200, "POST", `${session.path}/files/move`, { from: "src/lib", to: "lib" });
  await it.client.expect(200, "POST", `${session.path}/files/move`, {
    from: "notes.txt",
    to: "lib/notes.md",
  });
  assert.deepEqual(await list(), ["lib/Util.py", "lib/notes.md", "src/app.py"]);
  await session.prints("['inner']\n", `import os\nprint(os.listdir("empty"))`);
  await it.client.expect(200, "DELETE", `${session.path}/files/lib`);
  await it.client.expect(200, "DELETE", `${session.path}/files/src/app.py`);
  await it.client.expect(404, "DELETE", `${session.path}/files/src/app.py`);
  assert.deepEqual(await list(), []);
  await session.prints(
    "['empty', 'src']\n",
    `print(sorted(name for name in os.listdir() if name[0] != "."))`,
  );
  await it.client.expect(409, "POST", `${session.path}/folders/src/x`).catch(() => undefined);
  await put("tree", "file", "1");
  assert.equal((await put("tree", "file/below", "1")).status, 409);
  assert.equal((await put("tree", "src", "1")).status, 409);
});

test("names of any kind go round, and paths that lead out are refused", async () => {
  const session = await it.client.create("names");
  const names = [
    "a b",
    "ü/日本.txt",
    "%41",
    "a%2fb",
    "q?x=1#y",
    "emoji😀",
    "quote\"'`$(x)",
    "-rf",
    "back\\slash",
    "new\nline",
  ];
  for (const name of names) {
    const path = name.split("/").map(encodeURIComponent).join("/");
    assert.equal((await put("names", path, name)).status, 200, name);
    assert.equal(await (await fetch(at("names", `/${path}`))).text(), name);
  }
  const { files } = await it.client.expect(200, "GET", `${session.path}/files`);
  assert.deepEqual(files.map((file: { path: string }) => file.path).sort(), [...names].sort());
  for (const path of [
    "..%2f..%2fetc%2fpasswd",
    "a%2f..%2f..%2fx",
    "%2fetc%2fpasswd",
    "a%00b",
    "a%2f%2fb",
    ".session_data.json",
    "x".repeat(300),
  ]) {
    assert.equal((await put("names", path, "x")).status, 400, path);
    assert.equal((await fetch(at("names", `/${path}`))).status, 400, path);
  }
});

test("links, FIFOs and folders are no files, and nothing is read or written through a link", async () => {
  const session = await it.client.create("links");
  await session.run(
    `import os\nos.symlink("/etc/passwd", "passwd"); os.symlink("/", "root"); os.mkfifo("fifo"); os.mkdir("folder"); os.symlink("..", "folder/up")`,
  );
  for (const path of ["passwd", "root/etc/passwd", "fifo", "folder", "folder/up/passwd"])
    assert.equal((await fetch(at("links", `/${path}`))).status, 404, path);
  assert.equal((await put("links", "root/tmp/planted", "x")).status, 409);
  assert.equal((await put("links", "passwd", "mine")).status, 200);
  await session.prints("mine False\n", `print(open("passwd").read(), os.path.islink("passwd"))`);
  assert.ok(!readFileSync("/etc/passwd", "utf8").includes("mine"));
  assert.equal((await fetch(at("links", "/root"), { method: "DELETE" })).status, 200);
  assert.ok(readFileSync("/etc/passwd", "utf8").length > 0);
});

test("what does not fit is refused, and leaves nothing", async () => {
  const session = await it.client.create("full");
  const answer = await put("full", "big", new Uint8Array(65 << 20));
  assert.deepEqual([answer.status, ((await answer.json()) as { code: string }).code], [507, "disk_full"]);
  assert.deepEqual((await it.client.expect(200, "GET", `${session.path}/files`)).files, []);
  await session.prints("['.session_data.json']\n", "import os; print(os.listdir())");
});

test("a file, a folder or a tree for an unknown id makes its session, of the language that is named", async () => {
  const first = await put("made-by-file", "a/b.txt", "hello");
  assert.deepEqual(await first.json(), { path: "a/b.txt", size: 5, created: true });
  assert.deepEqual(await (await put("made-by-file", "c.txt", "x")).json(), { path: "c.txt", size: 1 });
  await it.client.session("made-by-file").prints("hello", "print(open('a/b.txt').read(), end='')");
  const folder = await it.client.expect(200, "POST", "/api/sessions/made-by-folder/folders/in?language=node");
  assert.equal(folder.created, true);
  await it.client
    .session("made-by-folder")
    .prints("[ 'in' ]\n", "console.log(require('fs').readdirSync('.').filter((n) => n[0] !== '.'))");
  const other = await put("made-by-folder", "x?language=python", "x");
  assert.equal(other.status, 400);
  assert.equal((await put("made-by-nobody", "x?language=cobol", "x")).status, 400);
  assert.equal((await it.client.call("GET", "/api/sessions/made-by-nobody")).status, 404);
  assert.equal(
    (await it.client.call("GET", "/api/sessions/made-by-nobody/files")).status,
    404,
    "reading makes none",
  );
});

test("a whole tree goes in and out as tar, plain and gzipped", async () => {
  const session = await it.client.create("tar");
  const folder = mkdtempSync(join(tmpdir(), "era-tar-"));
  mkdirSync(join(folder, "in/deep"), { recursive: true });
  writeFileSync(join(folder, "in/deep/a.txt"), "deep");
  writeFileSync(join(folder, "in/b.bin"), randomBytes(100_000), { mode: 0o755 });
  for (const [flag, name] of [
    ["-cf", "t.tar"],
    ["-czf", "t.tgz"],
  ] as const) {
    execFileSync("tar", [flag, join(folder, name), "-C", join(folder, "in"), "."]);
    const answer = await fetch(`${it.server.url}${session.path}/archive`, {
      method: "PUT",
      body: readFileSync(join(folder, name)),
    });
    assert.deepEqual(await answer.json(), { success: true, files: 2, bytes: 100_004 });
  }
  await session.prints(
    "deep\n0o755 0o644\n",
    `import os\nprint(open("deep/a.txt").read())\nopen("empty", "w").close(); os.makedirs("bare/er"); os.symlink("/etc", "bare/er/link")
print(*(oct(os.stat(name).st_mode & 0o777) for name in ("b.bin", "deep/a.txt")))`,
  );
  const archive = await fetch(`${it.server.url}${session.path}/archive`);
  writeFileSync(join(folder, "out.tar"), await bytes(archive));
  const listed = execFileSync("tar", ["-tf", join(folder, "out.tar")], { encoding: "utf8" });
  assert.deepEqual(listed.trim().split("\n").sort(), [
    "b.bin",
    "bare/",
    "bare/er/",
    "deep/",
    "deep/a.txt",
    "empty",
  ]);
  assert.match(
    execFileSync("tar", ["-tvf", join(folder, "out.tar")], { encoding: "utf8" }),
    /^-rwxr-xr-x .*b\.bin$/m,
  );
  execFileSync("tar", ["-xf", join(folder, "out.tar"), "-C", folder, "b.bin"]);
  assert.deepEqual(readFileSync(join(folder, "b.bin")), readFileSync(join(folder, "in/b.bin")));
});

test("an archive with links, devices, paths that lead out, or too much in it is refused", async () => {
  const session = await it.client.create("hostile-tar");
  const folder = mkdtempSync(join(tmpdir(), "era-tar-"));
  symlinkSync("/etc", join(folder, "link"));
  writeFileSync(join(folder, "f"), "x");
  execFileSync("mknod", [join(folder, "device"), "c", "1", "3"]);
  const made: Record<string, string[]> = {
    link: ["link"],
    device: ["device"],
    absolute: ["-P", "--transform", "s,^f,/tmp/planted,", "f"],
    "dot-dot": ["-P", "--transform", "s,^f,../../planted,", "f"],
  };
  for (const [name, args] of Object.entries(made)) {
    const path = join(folder, `${name}.tar`);
    execFileSync("tar", ["-cf", path, "-C", folder, ...args]);
    const answer = await fetch(`${it.server.url}${session.path}/archive`, {
      method: "PUT",
      body: readFileSync(path),
    });
    assert.equal(answer.status, 400, name);
  }
  execFileSync("sh", [
    "-c",
    `truncate -s 200M ${folder}/bomb && tar -czf ${folder}/bomb.tgz -C ${folder} bomb`,
  ]);
  const bomb = await fetch(`${it.server.url}${session.path}/archive`, {
    method: "PUT",
    body: readFileSync(join(folder, "bomb.tgz")),
  });
  assert.equal(bomb.status, 507);
  const rubbish = await fetch(`${it.server.url}${session.path}/archive`, {
    method: "PUT",
    body: "no archive at all ".repeat(100),
  });
  assert.equal(rubbish.status, 400);
  assert.deepEqual((await it.client.expect(200, "GET", `${session.path}/files`)).files, []);
});

test("a folder that is swapped for a link while files are written and read leads nowhere", async () => {
  const session = await it.client.create("race");
  await put("race", "d/f", "mine");
  const swapping = session.run(
    `import os, time\nend = time.time() + 2\nos.makedirs("real", exist_ok=True)\nwhile time.time() < end:\n    try:\n        os.rename("d", "e"); os.symlink("/etc", "d"); os.unlink("d"); os.rename("e", "d")\n    except OSError: pass`,
  );
  for (let time = 0; time < 60; time++) {
    const read = await fetch(at("race", "/d/passwd"));
    assert.equal(read.status, 404);
    const written = await put("race", "d/hostname", "planted");
    assert.ok([200, 409].includes(written.status), String(written.status));
  }
  await swapping;
  assert.notEqual(readFileSync("/etc/hostname", "utf8"), "planted");
});

test("files that look like secrets are not kept in sleep, not copied, and listed", async () => {
  const session = await it.client.create("secrets");
  await session.run(
    `import os
home = os.path.expanduser("~")
for path in (".env", "conf/.ENV.local", "conf/.envrc", "key/secrets.json", "aws/credentials", home + "/.aws/credentials", home + "/.ssh/id_rsa", home + "/.ssh/known"):
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    open(path, "w").write("secret")
os.symlink("/etc/passwd", ".npmrc")
os.makedirs("credentials.json/keep")`,
  );
  const left = [
    ".env",
    ".npmrc",
    "conf/.ENV.local",
    "key/secrets.json",
    "~/.aws/credentials",
    "~/.ssh/id_rsa",
  ];
  const code = `import os
found = sorted(os.path.join(folder, name) for top in (".", os.path.expanduser("~")) for folder, _, names in os.walk(top) for name in names if "cache" not in folder)
print([path for path in found if path != "./.session_data.json"], os.path.isdir("credentials.json/keep"), os.path.exists("/etc/passwd"))`;
  const kept = "['./aws/credentials', './conf/.envrc', '/root/.ssh/known'] True True\n";
  const { id } = await it.client.expect(201, "POST", `${session.path}/duplicate`, {});
  assert.deepEqual((await it.client.session(id).get()).state.left_out, left);
  await it.client.session(id).prints(kept, code);
  await session.prints("secret\n", `print(open(".env").read())`);
  const { state } = await it.client.expect(200, "POST", `${session.path}/hibernate`);
  assert.deepEqual(state.left_out, left);
  await session.prints(kept, code);
});

test("uploads at the same time share what room there is", async () => {
  const session = await it.client.create("shared-room");
  const part = new Uint8Array(40 << 20);
  const answers = await Promise.all(["a", "b", "c"].map((name) => put(session.id, name, part)));
  const statuses = answers.map(({ status }) => status);
  assert.ok(statuses.filter((status) => status === 200).length <= 1, String(statuses));
  assert.ok(
    statuses.every((status) => status === 200 || status === 507),
    String(statuses),
  );
  for (const name of ["a", "b", "c"]) await it.client.call("DELETE", `${session.path}/files/${name}`);
  // One after the other, also in the place of what is there, while another one goes on.
  const slow = new ReadableStream({
    async pull(stream) {
      stream.enqueue(new Uint8Array(1 << 10));
      await sleep(20);
      if (hasEnded) stream.close();
    },
  });
  let hasEnded = false;
  const going = fetch(at(session.id, "/slow"), { method: "PUT", body: slow, duplex: "half" } as RequestInit);
  for (let time = 0; time < 4; time++)
    assert.equal((await put(session.id, "again", new Uint8Array(25 << 20))).status, 200);
  hasEnded = true;
  assert.equal((await going).status, 200);
});

test("an archive that describes each file by any number of names is refused at once, and holds up nobody", async () => {
  const session = await it.client.create("described");
  const script = `import gzip, sys, tarfile
def header(name, size, kind):
    info = tarfile.TarInfo(name); info.size = size; info.type = kind
    return info.tobuf(tarfile.USTAR_FORMAT)
def record(name):
    text = f" {name}=v\\n"
    size = len(text) + 2
    while len(str(size)) + len(text) != size: size = len(str(size)) + len(text)
    return f"{size}{text}"
names = "".join(record(f"name{at}") for at in range(50_000)).encode()
out = header("g", len(names), b"g") + names + bytes(-len(names) % 512)
out += b"".join(header(f"f{at}", 0, b"0") for at in range(200)) + bytes(1024)
sys.stdout.buffer.write(gzip.compress(out))`;
  const body = execFileSync("python3", ["-c", script], { maxBuffer: 1 << 24 });
  const startedAt = performance.now();
  const sent = fetch(`${it.server.url}${session.path}/archive`, { method: "PUT", body });
  await it.client.expect(200, "GET", "/health");
  assert.equal((await sent).status, 400);
  assert.ok(performance.now() - startedAt < 2_000, `${performance.now() - startedAt} ms`);
});

/** An upload that goes on until it is told to end. */
function slowUpload(id: string, path: string) {
  let hasEnded = false;
  const body = new ReadableStream({
    async pull(stream) {
      stream.enqueue(new Uint8Array(1 << 10));
      await sleep(10);
      if (hasEnded) stream.close();
    },
  });
  const answer = fetch(at(id, path), { method: "PUT", body, duplex: "half" } as RequestInit);
  return {
    end: async () => {
      hasEnded = true;
      return answer;
    },
  };
}

test("a session is copied and deleted while a file is uploaded into it", async () => {
  const session = await it.client.create("uploading");
  await session.run("x = 1");
  const upload = slowUpload(session.id, "/big");
  await sleep(100);
  const copy = await it.client.expect(201, "POST", `${session.path}/duplicate`, {});
  await it.client.session(copy.id).prints("1 False\n", "import os; print(x, os.path.exists('big'))");
  await session.delete();
  const answer = await upload.end();
  assert.equal(answer.status, 410);
  assert.equal(((await answer.json()) as { code: string }).code, "session_deleted");
  assert.equal((await it.client.call("GET", session.path)).status, 404);
});
