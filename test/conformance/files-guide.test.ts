/** guides/files: F1 to F16. */
import assert from "node:assert/strict";
import type { SessionClient } from "../support/client.ts";
import { conformance } from "./rounds.ts";

const TWO_USERS = `import json
data = {"users": [{"name": "Alice", "age": 30}, {"name": "Bob", "age": 25}], "metadata": {"created": "2024-01-01"}}
with open("data.json", "w") as f:
    json.dump(data, f, indent=2)
print("JSON file created")`;
const THIRD_USER = `import json
with open("data.json") as f:
    data = json.load(f)
data["users"].append({"name": "Charlie", "age": 35})
with open("data.json", "w") as f:
    json.dump(data, f, indent=2)
print(f"Updated. Total users: {len(data["users"])}")`;

async function withUsers(session: SessionClient): Promise<void> {
  await session.prints("JSON file created\n", TWO_USERS);
  await session.prints("Updated. Total users: 3\n", THIRD_USER);
}

conformance("files guide", {
  "F4: process a file": async (client, name) => {
    const session = await client.create(name("processor"));
    await session.prints("", `import json\njson.dump({"users": [1]}, open("input.json", "w"))`);
    await session.prints(
      "Processed 1 users\n",
      `with open("input.json") as f:\n    data = json.load(f)\nresult = {"status": "success", "count": len(data["users"])}\nwith open("output.json", "w") as f:\n    json.dump(result, f)\nprint(f"Processed {len(data["users"])} users")`,
    );
    await session.prints(`{"status": "success", "count": 1}\n`, `print(open("output.json").read())`);
    assert.deepEqual(
      (await session.get()).files.map(({ path }: { path: string }) => path),
      ["input.json", "output.json"],
    );
  },
  "F5, F6: write, read, append, delete": async (client, name) => {
    const session = await client.create(name("f5"));
    await session.prints(
      "File created\n",
      `with open("hello.txt", "w") as f:\n    f.write("Hello, ERA Agent!")\nprint("File created")`,
    );
    await session.prints("Content: Hello, ERA Agent!\n", `print("Content: " + open("hello.txt").read())`);
    await session.prints(
      "Content appended\n",
      `with open("hello.txt", "a") as f:\n    f.write("\\nNew line")\nprint("Content appended")`,
    );
    await session.prints(
      "File deleted\n",
      `import os\nif os.path.exists("hello.txt"):\n    os.remove("hello.txt")\n    print("File deleted")`,
    );
    await session.prints("False\n", `print(os.path.exists("hello.txt"))`);
    assert.deepEqual((await session.get()).files, []);
  },
  "F7: JSON": async (client, name) => withUsers(await client.create(name("f7"))),
  "F8: folders, also empty ones": async (client, name) => {
    const session = await client.create(name("f8"));
    await session.prints(
      "Directories created\n",
      `import os\nos.makedirs("data", exist_ok=True)\nos.makedirs("project/src/utils", exist_ok=True)\nprint("Directories created")`,
    );
    await session.prints(
      "['data', 'project']\nFiles in data/: []\n",
      `print(sorted(n for n in os.listdir(".") if not n.startswith(".")))\nprint(f"Files in data/: {os.listdir("data")}")`,
    );
    await session.prints(
      "project/\n  src/\n    utils/\n",
      `for root, dirs, files in os.walk("project"):\n    level = root.count(os.sep)\n    print("  " * level + os.path.basename(root) + "/")`,
    );
  },
  "F9: exists, size, stat": async (client, name) => {
    const session = await client.create(name("f9"));
    await withUsers(session);
    await session.prints(
      "data.json: exists\nmissing.txt: not found\n",
      `import os\nfor f in ["data.json", "missing.txt"]:\n    print(f"{f}: {"exists" if os.path.exists(f) else "not found"}")`,
    );
    await session.prints(
      "True\n",
      `print(os.path.getsize("data.json") == len(open("data.json").read()) > 200)`,
    );
    const answer = await session.run(
      `import time\ns = os.stat("data.json")\nprint(f"Size: {s.st_size}")\nprint(f"Modified: {time.ctime(s.st_mtime)}")`,
    );
    assert.match(answer.stdout, /^Size: \d+\nModified: \w{3} \w{3}/);
  },
  "F10: bytes": async (client, name) => {
    const session = await client.create(name("f10"));
    await session.prints(
      "Written 5 bytes\n",
      `with open("b.bin", "wb") as f:\n    n = f.write(b"Hello")\nprint(f"Written {n} bytes")`,
    );
    await session.prints(
      "Read 5 bytes\nHex: 48656c6c6f\nAs text: Hello\n",
      `d = open("b.bin", "rb").read()\nprint(f"Read {len(d)} bytes")\nprint(f"Hex: {d.hex()}")\nprint(f"As text: {d.decode("ascii")}")`,
    );
  },
  "F11: CSV": async (client, name) => {
    const session = await client.create(name("f11"));
    await session.prints(
      "CSV file created\n",
      `import csv\nrows = [["name", "age"], ["Alice", 30], ["Bob", 25], ["Charlie", 35]]\nwith open("users.csv", "w", newline="") as f:\n    csv.writer(f).writerows(rows)\nprint("CSV file created")`,
    );
    await session.prints(
      "Total users: 3\n- Alice\n- Bob\n- Charlie\nAverage age: 30.0\n",
      `with open("users.csv") as f:\n    users = list(csv.DictReader(f))\nprint(f"Total users: {len(users)}")\nfor u in users:\n    print(f"- {u["name"]}")\nprint(f"Average age: {sum(int(u["age"]) for u in users) / len(users)}")`,
    );
  },
  "F12: a log file": async (client, name) => {
    const session = await client.create(name("f12"));
    const code = `def log(level, text):\n    with open("app.log", "a") as f:\n        f.write(f"{level}: {text}\\n")\nlog("INFO", "Application started")\nlog("INFO", "Processing")\nlog("DEBUG", "Details")\nlog("INFO", "Done")\nprint("Log contents:")\nprint(open("app.log").read(), end="")`;
    const lines = "INFO: Application started\nINFO: Processing\nDEBUG: Details\nINFO: Done\n";
    await session.prints(`Log contents:\n${lines}`, code);
    await session.prints(`Log contents:\n${lines}${lines}`, code);
  },
  "F13: a pipeline of files": async (client, name) => {
    const session = await client.create(name("f13"));
    await session.prints(
      "Generated 3 records\n",
      `import json, os\nos.makedirs("data", exist_ok=True)\nrecords = [{"id": 1, "v": 20, "active": True}, {"id": 2, "v": 30, "active": True}, {"id": 3, "v": 9, "active": False}]\njson.dump(records, open("data/raw.json", "w"))\nprint(f"Generated {len(records)} records")`,
    );
    await session.prints(
      "Processed 2 active records\n",
      `active = [r for r in json.load(open("data/raw.json")) if r["active"]]\njson.dump(active, open("data/processed.json", "w"))\nprint(f"Processed {len(active)} active records")`,
    );
    await session.prints(
      "Records: 2\nTotal: 50\nAverage: 25.00\n",
      `rows = json.load(open("data/processed.json"))\ntotal = sum(r["v"] for r in rows)\nopen("report.txt", "w").write(f"Records: {len(rows)}\\nTotal: {total}\\nAverage: {total / len(rows):.2f}\\n")\nprint(open("report.txt").read(), end="")`,
    );
  },
  "F14: what the API says of files": async (client, name) => {
    const session = await client.create(name("f14"));
    await session.prints(
      "",
      `import os\nos.makedirs("a/b")\nopen("a/b/c.txt", "w").write("12345")\nopen("top", "w").write("1")`,
    );
    const seen = await session.get();
    assert.deepEqual([seen.file_count, seen.total_size_bytes], [2, 6]);
    assert.deepEqual(
      seen.files.map(({ path, size }: { path: string; size: number }) => [path, size]),
      [
        ["a/b/c.txt", 5],
        ["top", 1],
      ],
    );
    assert.match(seen.files[0].modified_at, /Z$/);
    const { sessions } = await client.expect(200, "GET", "/api/sessions");
    const row = sessions.find(({ id }: { id: string }) => id === name("f14"));
    assert.deepEqual([row.file_count, row.total_size_bytes], [2, 6]);
  },
  "F15: configuration with defaults": async (client, name) => {
    const session = await client.create(name("f15"));
    const code = `import json, os\nif not os.path.exists("config.json"):\n    json.dump({"debug": False, "version": "1.0"}, open("config.json", "w"))\nprint(f"Config loaded: {json.load(open("config.json"))}")`;
    await session.prints("Config loaded: {'debug': False, 'version': '1.0'}\n", code);
    await session.prints("Config loaded: {'debug': False, 'version': '1.0'}\n", code);
  },
  "F16: good habits": async (client, name) => {
    const session = await client.create(name("f16"));
    await session.prints("", `with open("output.txt", "w") as f:\n    f.write("safe")`);
    await session.prints(
      "Directory structure created\n",
      `import os\nos.makedirs("output/reports/2024", exist_ok=True)\nprint("Directory structure created")`,
    );
    const load = `import json\ntry:\n    with open("data.json") as f:\n        data = json.load(f)\n    print(f"Loaded {len(data)} items")\nexcept FileNotFoundError:\n    print("File not found, using defaults")\n    data = []`;
    await session.prints("File not found, using defaults\n", load);
    await session.prints("JSON file created\n", TWO_USERS);
    await session.prints("Loaded 2 items\n", load);
  },
});

conformance("files over HTTP", {
  "F1, F2, F3: files go in, are listed, and come out as they are": async (client, name) => {
    const session = await client.create(name("f1"));
    const at = (path: string) => `${client.url}${session.path}/files/${path}`;
    const binary = Buffer.from(Array.from({ length: 512 }, (_, at) => at % 256));
    const files: [string, string | Buffer<ArrayBuffer>, Record<string, string>][] = [
      ["data.json", `{"users":[1]}`, { "content-type": "application/json" }],
      ["users.csv", "id,name\n1,Ann\n", {}],
      ["logo.png", binary, {}],
    ];
    for (const [path, body, headers] of files) {
      const answer = await fetch(at(path), { method: "PUT", body, headers });
      assert.equal(answer.status, 200);
      const told = (await answer.json()) as { path: string; size: number };
      assert.deepEqual([told.path, told.size], [path, Buffer.from(body).length]);
    }
    const listed = await client.expect(200, "GET", `${session.path}/files`);
    assert.deepEqual([listed.total_count, listed.total_size_bytes], [3, 13 + 14 + 512]);
    for (const file of listed.files) assert.ok(Date.parse(file.modified_at) > Date.now() - 60_000);
    assert.deepEqual(Buffer.from(await (await fetch(at("logo.png"))).arrayBuffer()), binary);
    await session.run(`open("output.json", "w").write('{"ok": true}')`);
    assert.equal(await (await fetch(at("output.json"))).text(), `{"ok": true}`);
    assert.equal((await fetch(at("report.txt"))).status, 404);
  },
  "F6: a line is added, a file is deleted, and stays so": async (client, name) => {
    const session = await client.create(name("f6"));
    await session.prints("File created\n", `open("hello.txt", "w").write("Hello\\n")\nprint("File created")`);
    await session.prints(
      "Content appended\n",
      `open("hello.txt", "a").write("more\\n")\nprint("Content appended")`,
    );
    await session.prints("Hello\nmore\n", `print(open("hello.txt").read(), end="")`);
    await session.prints(
      "File deleted\n",
      `import os\nif os.path.exists("hello.txt"):\n    os.remove("hello.txt")\n    print("File deleted")`,
    );
    assert.equal((await client.expect(200, "GET", `${session.path}/files`)).total_count, 0);
    await session.prints("False\n", `print(os.path.exists("hello.txt"))`);
  },
});
