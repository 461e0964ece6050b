/** Files that a one-shot run leaves, in its answer: by patterns, few and small, and only what lies in its workspace. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { oneServer } from "../support/one-server.ts";

const it = oneServer();
const text = (file: { content: string }) => Buffer.from(file.content, "base64").toString();

test("files that fit a pattern are in the answer, as they are at the end; without patterns there are none", async () => {
  const code =
    "import os\nos.makedirs('out/deep')\nfor path in ['a.txt', 'b.csv', 'out/c.txt', 'out/deep/d.txt']: open(path, 'w').write(path)";
  const { files, files_left_out } = await it.client.execute(code, { outputs: ["*.csv", "out/**"] });
  assert.deepEqual(files.map((file: { path: string }) => file.path).sort(), [
    "b.csv",
    "out/c.txt",
    "out/deep/d.txt",
  ]);
  for (const file of files) assert.deepEqual([text(file), file.size], [file.path, file.path.length]);
  assert.deepEqual(files_left_out, []);
  assert.equal((await it.client.execute(code)).files, undefined);
  assert.deepEqual((await it.client.execute(code, { outputs: ["*.png"] })).files, []);
});

test("a run that fails gives what it had written", async () => {
  const answer = await it.client.execute("open('part.txt', 'w').write('half'); 1 / 0", { outputs: ["**"] });
  assert.equal(answer.exit_code, 1);
  const [part] = answer.files.filter((file: { path: string }) => file.path === "part.txt");
  assert.equal(text(part), "half");
});

test("links, pipes and files of the server are not in it", async () => {
  const code = `
import os
os.symlink("/etc/hostname", "link.txt")
os.symlink("/", "root")
os.mkfifo("pipe.txt")
open("shut.txt", "w").write("x"); os.chmod("shut.txt", 0)
open("plain.txt", "w").write("plain")`;
  const { files } = await it.client.execute(code, { outputs: ["*.txt", "root/etc/**"] });
  const found = files.map((file: { path: string }) => file.path);
  assert.ok(found.includes("plain.txt"));
  for (const path of found) assert.ok(["plain.txt", "shut.txt"].includes(path), path);
});

test("names that no request can say are counted, and patterns that fit nothing are refused", async () => {
  const code = "open(b'\\xff.txt', 'w').write('x'); open('a.txt', 'w').write('a')";
  const answer = await it.client.execute(code, { outputs: ["*"] });
  assert.deepEqual([answer.files.map(text), answer.files_unnamed_count], [["a"], 1]);
  const session = await it.client.create("unnamed");
  await session.run(code);
  const listed = await it.client.expect(200, "GET", `${session.path}/files`);
  assert.deepEqual([listed.total_count, listed.unnamed_count], [2, 1]);
  for (const pattern of ["/workspace/*.png", "./*.png", "../*", "a//b", ""])
    await it.client.expect(400, "POST", "/api/execute", {
      language: "python",
      code: "1",
      outputs: [pattern],
    });
});

test("what is too large, or one of too many, is named and left out", async () => {
  const large = await it.client.execute(
    "open('big.bin', 'wb').write(bytes(9 << 20)); open('a', 'w').write('a')",
    {
      outputs: ["*"],
    },
  );
  assert.deepEqual(large.files.map(text), ["a"]);
  assert.deepEqual(large.files_left_out, [{ path: "big.bin", size: 9 << 20 }]);
  const many = await it.client.execute("for at in range(150): open(f'{at}.txt', 'w').write('x')", {
    outputs: ["*.txt"],
  });
  assert.deepEqual([many.files.length, many.files_left_out.length], [100, 50]);
});

test("a pattern that would be matched for ever is answered in time", async () => {
  const begun = performance.now();
  const code =
    "open('a' * 200, 'w').write('x')\nfor at in range(200): open('a' * 190 + str(at), 'w').write('x')";
  const { files } = await it.client.execute(code, {
    outputs: [`${"*a".repeat(45)}b`, `${"+(a)".repeat(20)}b`],
  });
  assert.deepEqual(files, []);
  assert.ok(performance.now() - begun < 15_000, `${performance.now() - begun} ms`);
});
