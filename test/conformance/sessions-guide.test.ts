/** guides/sessions, S1 to S21, but for duplication. */
import assert from "node:assert/strict";
import { conformance, WITH_BREAKS } from "./rounds.ts";

conformance(
  "sessions guide",
  {
    "S1: create": async (client) => {
      const created = await client.expect(201, "POST", "/api/sessions", {
        language: "python",
        persistent: true,
      });
      assert.match(created.id, /^sess_\d+_[0-9a-z]{9}$/);
      assert.equal(created.session_id, created.id);
    },
    "S2: an id of one's own": async (client, name) => {
      const id = name("my-data-processor");
      const created = await client.expect(201, "POST", "/api/sessions", {
        language: "python",
        session_id: id,
      });
      assert.equal(created.id, id);
      assert.equal((await client.session(id).get()).id, id);
    },
    "S3: data and metadata are echoed": async (client, name) => {
      const data = { user_id: 123, preferences: { theme: "dark" }, history: [] };
      const metadata = { version: "1.0", environment: "production" };
      const id = name("user-123-workspace");
      const created = await client.expect(201, "POST", "/api/sessions", {
        session_id: id,
        language: "python",
        data,
        metadata,
      });
      assert.deepEqual([created.data, created.metadata], [data, metadata]);
      const read = await client.session(id).get();
      assert.deepEqual([read.data, read.metadata], [data, metadata]);
    },
    "S4 to S8: a session's life": async (client, name) => {
      const session = await client.create(name("data-processor"));
      assert.equal((await session.get()).last_run_at, "");
      await session.prints("Data initialized\n", `data = []\nprint("Data initialized")`);
      await session.prints(
        "Data length: 1\n",
        `data.append({"value": 42})\nprint(f"Data length: {len(data)}")`,
      );
      await session.prints(
        "Data: [{'value': 42}, {'value': 99}]\n",
        `data.append({"value": 99})\nprint(f"Data: {data}")`,
      );
      assert.match((await session.get()).last_run_at, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    },
    "S9, S10, S11: settings are changed": async (client, name) => {
      const session = await client.create(name("settings"));
      const changed = await session.patch({ default_timeout: 300 });
      assert.equal(changed.success, true);
      assert.equal(changed.metadata.default_timeout, 300);
      assert.equal((await session.get()).default_timeout, 300);
      assert.equal((await session.patch({ allowInternetAccess: false })).metadata.allowInternetAccess, false);
      const blocked = `import socket\ntry:\n    socket.create_connection(("192.0.2.1", 80), timeout=2)\n    print("open")\nexcept OSError:\n    print("blocked")`;
      await session.prints("blocked\n", blocked);
      await session.patch({ default_timeout: 600, allowInternetAccess: true, allowPublicAccess: false });
      const { default_timeout, allowInternetAccess, allowPublicAccess } = await session.get();
      assert.deepEqual([default_timeout, allowInternetAccess, allowPublicAccess], [600, true, false]);
    },
    "S12: delete": async (client, name) => {
      const session = await client.create(name("to-delete"));
      await session.prints("", "x = 1");
      assert.equal((await session.delete()).success, true);
      assert.equal((await client.call("GET", session.path)).status, 404);
      const again = await client.create(name("to-delete"));
      await again.fails(/NameError/, "print(x)");
    },
    "S13: list": async (client, name) => {
      await client.create(name("listed"));
      const { sessions, count } = await client.expect(200, "GET", "/api/sessions");
      assert.equal(sessions.length, count);
      const row = sessions.find(({ id }: { id: string }) => id === name("listed"));
      for (const field of [
        "id",
        "created_at",
        "last_run_at",
        "language",
        "persistent",
        "file_count",
        "total_size_bytes",
      ]) {
        assert.ok(field in row, field);
      }
    },
    "S14: clone": async (client, name) => {
      const source = await client.create(name("data-processor-14"), { data: { version: 1 } });
      await source.prints("", `data = [1, 2, 3]\nopen("numbers.txt", "w").write("1 2 3")`);
      const clone = await client.expect(201, "POST", `${source.path}/duplicate`, {
        new_id: name("data-processor-backup"),
        data: { cloned_from: source.id, purpose: "backup" },
      });
      assert.equal(clone.id, name("data-processor-backup"));
      assert.deepEqual(clone.data, { version: 1, cloned_from: source.id, purpose: "backup" });
      const copy = client.session(clone.id);
      await copy.prints("[1, 2, 3] 1 2 3\n", `print(data, open("numbers.txt").read())`);
      await copy.prints("", `data.append(4)\nopen("numbers.txt", "w").write("changed")`);
      await source.prints("[1, 2, 3] 1 2 3\n", `print(data, open("numbers.txt").read())`);
      assert.deepEqual((await source.get()).data, { version: 1 });
    },
    "S15: isolation": async (client, name) => {
      const a = await client.create(name("secret-a"));
      const b = await client.create(name("secret-b"));
      await a.prints("password123\n", `secret = "password123"\nprint(secret)`);
      await b.fails(/NameError/, "print(secret)");
    },
    "S16: styles of ids": async (client, name) => {
      for (const id of [`user-1-analysis-${Date.now()}`, `prod:user:1:analysis:${Date.now()}`]) {
        const session = await client.create(name(id));
        await session.prints("ok\n", `print("ok")`);
        assert.equal((await session.get()).id, name(id));
        await session.delete();
      }
    },
    "S17: rich data is echoed": async (client, name) => {
      const data = {
        project: "analysis",
        owner: "alice@example.com",
        tags: ["ml", "production", "ünïcode ✓"],
      };
      assert.deepEqual((await (await client.create(name("rich"), { data })).get()).data, data);
    },
    "S19: does it exist?": async (client, name) => {
      const path = `/api/sessions/${name("existence")}`;
      assert.equal((await client.call("GET", path)).status, 404);
      const session = await client.create(name("existence"));
      assert.equal((await client.call("GET", path)).status, 200);
      await session.prints("Hello\n", `print("Hello")`);
    },
    "S20: imports of a template": async (client, name) => {
      const template = await client.create(name("template-python"));
      await template.prints("Template initialized\n", `import json, math, re\nprint("Template initialized")`);
      const { id } = await client.expect(201, "POST", `${template.path}/duplicate`, {
        new_id: name("user-123-of-template"),
      });
      for (const session of [template, client.session(id)]) {
        await session.prints("True\n", `print(bool(re.match("a", json.loads('"a"'))) and math.pi > 3)`);
      }
    },
    "S21: a long workflow": async (client, name) => {
      const session = await client.create(name("workflow-1"));
      await session.prints(
        "Collected 5 items\n",
        `data = [1, 2, 3, 4, 5]\nprint(f"Collected {len(data)} items")`,
      );
      await session.prints(
        "Processed: [2, 4, 6, 8, 10]\n",
        `processed = [x * 2 for x in data]\nprint(f"Processed: {processed}")`,
      );
      await session.prints("Total: 30\n", `total = sum(processed)\nprint(f"Total: {total}")`);
    },
    // Last: it empties the server.
    "S18: delete each of the list": async (client) => {
      const { sessions } = await client.expect(200, "GET", "/api/sessions");
      for (const { id } of sessions) await client.session(id).delete();
      assert.equal((await client.expect(200, "GET", "/api/sessions")).count, 0);
    },
  },
  WITH_BREAKS,
);
