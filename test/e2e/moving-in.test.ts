/** Waking by moving into a warm sandbox: what moves, when it does not, and a move that was cut short. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chownSync, existsSync, mkdirSync, readdirSync, renameSync, statSync, writeFileSync } from "node:fs";
import http from "node:http";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import type { SessionClient } from "../support/client.ts";
import { TestServer, until } from "../support/server.ts";

const PARTS = ["workspace", "home", "state"];
const EVERY_LANGUAGE = "python=1,node=1,typescript=1,deno=1,go=1,bash=1";

const hibernate = (session: SessionClient) => session.client.expect(200, "POST", `${session.path}/hibernate`);

const warmedUp = (server: TestServer, count: number) =>
  until(
    `${count} sandboxes are warm`,
    async () => (await server.client.expect(200, "GET", "/health")).sandboxes.warm === count,
    30_000,
  );

/** Key of the folder whose workspace has a file of this name. */
function keyOf(server: TestServer, mark: string): string {
  const found = server
    .folders()
    .filter((key) => existsSync(join(server.dataDir, "sessions", key, "workspace", mark)));
  assert.equal(found.length, 1, `folders with '${mark}': ${found}`);
  return found[0] ?? "";
}

test("a session that wakes moves into a warm sandbox with all it has, again and again", async () => {
  const server = await TestServer.start({ ERA_POOL: "python=1" });
  const session = await server.client.create("s");
  await session.prints(
    "",
    `import os, json
from pathlib import Path
items = []; alias = items
Path("a/b").mkdir(parents=True); Path("a/b/\\udcff é.txt").write_text("deep")
os.symlink("/etc/passwd", "link"); os.link("a/b/\\udcff é.txt", "hard")
Path("tool").write_text("x"); os.chmod("tool", 0o4755); os.chmod("a", 0o1700)
Path.home().joinpath(".conf").write_text("home")
log = open("log.txt", "w"); log.write("one\\n"); _ = log.flush()`,
  );
  for (let time = 1; time <= 4; time++) {
    const before = keyOf(server, "tool");
    await hibernate(session);
    await warmedUp(server, 1);
    await session.prints(
      `True True [1] deep /etc/passwd True 0o4755 0o1700 home {0}\n`.replace("[1]", String(time)),
      `items.append(0)
owners = {os.lstat(os.path.join(at, name)).st_uid for at, folders, files in os.walk("/") if at.startswith(("/workspace", "/root")) for name in folders + files}
print(alias is items, os.path.samefile("hard", "a/b/\\udcff é.txt"), len(items), Path("hard").read_text(), os.readlink("link"), log.write("more\\n") == 5,
      oct(os.stat("tool").st_mode & 0o7777), oct(os.stat("a").st_mode & 0o7777), Path.home().joinpath(".conf").read_text(), owners)`,
    );
    const key = keyOf(server, "tool");
    assert.notEqual(key, before, "it has moved");
    await until("the earlier folder is gone", () => !server.folders().includes(before));
    const [uid, ...others] = PARTS.map((part) => statSync(join(server.dataDir, "sessions", key, part)).uid);
    assert.deepEqual(others, [uid, uid]);
  }
  await session.prints("one\nmore\nmore\nmore\nmore\n", `log.flush(); print(open("log.txt").read(), end="")`);
  await server.stop();
  await server.removeData();
});

const LANGUAGES = [
  [
    "node",
    'let kept = { n: 1 }; require("fs").writeFileSync("mark-node", "");',
    "kept.n += 1; console.log(kept.n)",
  ],
  [
    "typescript",
    'import fs from "node:fs"; let kept: { n: number } = { n: 1 }; fs.writeFileSync("mark-typescript", "");',
    "kept.n += 1; console.log(kept.n)",
  ],
  [
    "deno",
    'let kept = { n: 1 }; Deno.writeTextFileSync("mark-deno", "");',
    "kept.n += 1; console.log(kept.n)",
  ],
  [
    "bash",
    "kept=1; touch mark-bash; mkdir d; cd d",
    'kept=$((kept + 1)); echo $kept; [ "$PWD" = /workspace/d ]',
  ],
] as const;

test("sessions of every language move", { timeout: 120_000 }, async () => {
  const server = await TestServer.start({ ERA_POOL: EVERY_LANGUAGE });
  await warmedUp(server, 6);
  for (const [language, first, later] of LANGUAGES) {
    const session = await server.client.create(`of-${language}`, { language });
    await session.prints("", first);
    const before = keyOf(server, `mark-${language}`);
    for (const time of [2, 3]) {
      await hibernate(session);
      await warmedUp(server, 6);
      await session.prints(`${time}\n`, later);
    }
    assert.notEqual(keyOf(server, `mark-${language}`), before, language);
  }
  const go = await server.client.create("of-go", { language: "go" });
  const program = `package main\nimport ("fmt"; "os")\nfunc main() { f, _ := os.ReadDir("."); fmt.Println(len(f)) }`;
  await go.prints("1\n", program);
  await hibernate(go);
  await server.client.expect(200, "PUT", `${go.path}/files/one.txt`, "1");
  await warmedUp(server, 6);
  await go.prints("2\n", program);
  await server.stop();
  await server.removeData();
});

test("while a file is being written, and with a tree of many files, a session wakes where it is", async () => {
  const server = await TestServer.start({ ERA_POOL: "python=1" });
  const session = await server.client.create("s");
  await session.prints("", `x = open("mark", "w").write("1")`);
  await hibernate(session);
  await warmedUp(server, 1);
  const before = keyOf(server, "mark");
  const upload = http.request(`${server.url}${session.path}/files/slow.txt`, { method: "PUT" });
  const answered = new Promise<number | undefined>((resolve) =>
    upload.once("response", (answer) => resolve(answer.resume().statusCode)),
  );
  upload.write("first ");
  await until("it is being written", () =>
    readdirSync(join(server.dataDir, "sessions", before, "run")).some((name) => name.startsWith("upload-")),
  );
  await session.prints("1\n", "print(x)");
  assert.equal(keyOf(server, "mark"), before);
  upload.end("last");
  assert.equal(await answered, 200);
  await session.prints("first last\n", `print(open("slow.txt").read())`);

  await session.prints("", `import pathlib\nfor n in range(600): pathlib.Path(f"f{n}").touch()`);
  await hibernate(session);
  await warmedUp(server, 1);
  await session.prints(
    "1 602\n",
    `import os\nprint(x, sum(1 for name in os.listdir() if not name.startswith(".")))`,
  );
  assert.equal(keyOf(server, "mark"), before);

  await session.prints(
    "",
    `import os, shutil
for name in os.listdir():
    if name.startswith("f"): os.remove(name)
for _ in range(15): os.mkdir("n" * 255); os.chdir("n" * 255)
open("b" * 250, "w").close(); os.chdir("/workspace")`,
  );
  await hibernate(session);
  await warmedUp(server, 1);
  await session.prints("1\n", "print(x)");
  assert.equal(keyOf(server, "mark"), before, "paths too long for some calls stay where they are");
  await server.stop();
  await server.removeData();
});

type Place = { key: string; uid: number };

function placeOf(database: DatabaseSync, id: string): Place {
  const row = database.prepare("SELECT folder_key, folder_uid FROM places WHERE session_id = ?").get(id);
  return { key: String(row?.folder_key), uid: Number(row?.folder_uid) };
}

/** As a server leaves it that is killed while a session moves. */
function moveIn(database: DatabaseSync, id: string, from: Place, to: Place): void {
  database
    .prepare(
      "UPDATE places SET folder_key = ?, folder_uid = ?, moved_from_key = ?, moved_from_uid = ? WHERE session_id = ?",
    )
    .run(to.key, to.uid, from.key, from.uid, id);
}

test("a server that was killed while a session moved goes on with the move", async () => {
  const settings = { ERA_POOL: "python=1" };
  const first = await TestServer.start(settings);
  for (const id of ["half", "all", "none"]) {
    const session = await first.client.create(id);
    await session.prints(
      "",
      `import os\nitems = ["${id}"]\nos.makedirs("d/e")\nopen("d/e/f", "w").write(items[0])\nopen("g", "w").write("g")`,
    );
  }
  await first.stop();
  const sessions = join(first.dataDir, "sessions");
  const database = new DatabaseSync(join(first.dataDir, "era.db"));
  for (const [at, id] of ["half", "all", "none"].entries()) {
    const from = placeOf(database, id);
    const to = { key: `movedmoved0${at}`, uid: from.uid + 1000 };
    mkdirSync(join(sessions, to.key, "run"), { recursive: true });
    for (const part of PARTS) {
      mkdirSync(join(sessions, to.key, part));
      chownSync(join(sessions, to.key, part), to.uid, to.uid);
      const names = readdirSync(join(sessions, from.key, part));
      const moved = { half: names.slice(0, 1), all: names, none: [] }[id] ?? [];
      if (id !== "none") execFileSync("chown", ["-hR", `${to.uid}`, join(sessions, from.key, part)]);
      for (const name of moved)
        renameSync(join(sessions, from.key, part, name), join(sessions, to.key, part, name));
    }
    writeFileSync(join(sessions, to.key, "home", ".warm"), "of the sandbox that was warm");
    moveIn(database, id, from, to);
  }
  database.close();
  const second = await TestServer.start(settings, first.dataDir);
  await warmedUp(second, 1);
  assert.equal(second.folders().length, 4, "three sessions and a warm sandbox");
  for (const id of ["half", "all", "none"])
    await second.client
      .session(id)
      .prints(`['${id}'] ${id} g\n`, `print(items, open("d/e/f").read(), open("g").read())`);
  await second.stop();
  await second.removeData();
});

test("a move that cannot come to its end stops its own session only", async () => {
  const first = await TestServer.start({ ERA_POOL: "python=0" });
  for (const id of ["broken", "whole"]) await (await first.client.create(id)).prints("", `x = "${id}"`);
  await first.stop();
  const database = new DatabaseSync(join(first.dataDir, "era.db"));
  const from = placeOf(database, "broken");
  const folder = { key: "0nowhere0000", uid: from.uid + 1000 };
  moveIn(database, "broken", from, folder);
  database.close();
  const second = await TestServer.start({ ERA_POOL: "python=0", ERA_LOG_LEVEL: "silent" }, first.dataDir);
  await second.client.session("whole").prints("whole\n", "print(x)");
  const answer = await second.client.call("POST", "/api/sessions/broken/run", { code: "print(x)" });
  assert.equal(answer.status, 500);
  mkdirSync(join(second.dataDir, "sessions", folder.key, "run"), { recursive: true });
  for (const part of PARTS) mkdirSync(join(second.dataDir, "sessions", folder.key, part));
  execFileSync("chown", ["-R", `${folder.uid}`, join(second.dataDir, "sessions", folder.key)]);
  await second.client.session("broken").prints("broken\n", "print(x)");
  await second.stop();
  await second.removeData();
});
