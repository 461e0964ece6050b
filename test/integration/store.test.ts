/** One suite over every store: what was written is there after it was opened again. */
import assert from "node:assert/strict";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, test } from "node:test";
import { openSqliteStore } from "../../src/store/sqlite/open.ts";
import { MIGRATIONS } from "../../src/store/sqlite/schema.ts";
import type { RunRow, SessionRow, Store } from "../../src/store/store.ts";

const KEEP_RUNS = 10;
const STORES: Record<string, () => () => Store> = {
  sqlite: () => {
    const path = join(mkdtempSync(join(tmpdir(), "era-store-")), "era.db");
    return () => openSqliteStore({ path, keepRuns: KEEP_RUNS });
  },
};

const session = (id: string, fields: Partial<SessionRow> = {}): SessionRow => ({
  id,
  createdAt: "2024-01-01T00:00:00.000Z",
  lastRunAt: "",
  language: "python",
  persistent: true,
  metadata: {},
  data: {},
  allowInternetAccess: false,
  setup: null,
  leftOut: [],
  allowPublicAccess: true,
  defaultTimeout: null,
  memoryMib: null,
  cpuCount: null,
  claimable: false,
  version: 0,
  folder: null,
  fileCounts: { files: 0, bytes: 0 },
  durability: "async",
  saved: { content: 0, savedVersion: 0, bytes: 0, notKept: [], failure: null, rolledBack: null },
  code: null,
  imaging: "auto",
  image: null,
  imageLost: null,
  hibernatedAt: null,
  ...fields,
});

const run = (sessionId: string, number: number, fields: Partial<RunRow> = {}): RunRow => ({
  runId: `run_${sessionId}_${number}`,
  sessionId,
  number,
  state: "queued",
  createdAt: "2024-01-01T00:00:00.000Z",
  endedAt: null,
  summary: null,
  output: [],
  lateOutput: "",
  updateData: null,
  ...fields,
});

for (const [name, create] of Object.entries(STORES)) {
  describe(`the ${name} store`, () => {
    test("keeps sessions, with odd text in them, over a restart", async () => {
      const open = create();
      const row = session("a:b", {
        data: { 'quote"': "ünï\u0000", __proto__: 1, nested: [[1.5, null]] },
        folder: { key: "k", uid: 7 },
      });
      {
        await using store = open();
        assert.equal(await store.insertSession(row), true);
        assert.equal(await store.insertSession(row), false);
        await store.updateSession({ ...row, version: 3 });
      }
      await using store = open();
      assert.deepEqual(await store.findSession("a:b"), { ...row, version: 3 });
      assert.deepEqual(await store.listFolders(), [{ id: "a:b", key: "k", uid: 7 }]);
      assert.equal(await store.findSession("A:B"), null);
    });

    test("lists newest first, in pages that neither repeat nor leave out", async () => {
      await using store = create()();
      for (let at = 0; at < 7; at++) await store.insertSession(session(`s${at}`));
      const first = await store.listSessions({ limit: 3, cursor: null });
      await store.deleteSession("s3");
      await store.insertSession(session("new"));
      const second = await store.listSessions({ limit: 3, cursor: first.cursor });
      assert.deepEqual(
        [...first.items, ...second.items].map(({ id }) => id),
        ["s6", "s5", "s4", "s2", "s1", "s0"],
      );
      assert.equal(second.cursor, null);
      assert.equal(await store.countSessions(), 7);
    });

    test("keeps runs with their output, the newest of each session, and removes them with it", async () => {
      await using store = create()();
      await store.insertSession(session("s"));
      for (let number = 1; number <= 200; number++) {
        await store.insertRun(run("s", number));
        await store.finishRun(
          run("s", number, { state: "done", output: [{ stream: "stdout", text: `${number}` }] }),
          session("s"),
        );
      }
      const last = await store.findRun("run_s_200");
      assert.deepEqual([last?.state, last?.output], ["done", [{ stream: "stdout", text: "200" }]]);
      const { items } = await store.listRuns("s", { limit: 1000, cursor: null });
      assert.ok(items.length >= KEEP_RUNS && items.length < KEEP_RUNS + 100, String(items.length));
      await store.appendLateOutput("run_s_200", "x".repeat(30), 20);
      assert.equal((await store.findRun("run_s_200"))?.lateOutput, "x".repeat(20));
      await store.deleteSession("s");
      assert.equal(await store.findRun("run_s_200"), null);
    });

    test("after a kill, open runs and reserved keys are found again", async () => {
      const open = create();
      const reserved = { requestHash: "h", runId: "run_ran_3" };
      {
        await using store = open();
        await store.insertSession(session("ran", { version: 2 }));
        await store.insertRun(run("ran", 3));
        await store.reserveAnswer("ran", "k", reserved, true);
      }
      await using store = open();
      const runs = (await store.listOpenRuns()).get("ran") ?? [];
      assert.deepEqual(
        runs.map(({ runId }) => runId),
        ["run_ran_3"],
      );
      assert.deepEqual(await store.findAnswer("ran", "k"), reserved);
      await store.finishRun({ ...run("ran", 3), state: "done" }, session("ran", { version: 3 }), true);
      assert.equal((await store.listOpenRuns()).size, 0);
      await store.insertRun(run("ran", 5));
      await store.reserveAnswer("ran", "k5", { requestHash: "h", runId: "run_ran_5" }, false);
      await store.forgetRun("run_ran_5");
      assert.deepEqual([await store.findRun("run_ran_5"), await store.findAnswer("ran", "k5")], [null, null]);
      const unheardOf = { ...run("ran", 4), state: "done" } as const;
      await store.finishRun(unheardOf, session("ran", { version: 4 }));
      assert.equal((await store.findRun(unheardOf.runId))?.state, "done");
    });

    test("recorded answers belong to their scope", async () => {
      await using store = create()();
      const answer = { requestHash: "h", status: 201, body: "{}" };
      await store.recordAnswer("s", "k", answer);
      assert.deepEqual(await store.findAnswer("s", "k"), answer);
      assert.equal(await store.findAnswer("t", "k"), null);
      await store.deleteSession("s");
      assert.equal(await store.findAnswer("s", "k"), null);
    });

    test("is held by one server at a time", async () => {
      const open = create();
      await using store = open();
      await store.insertSession(session("s"));
      assert.throws(open, /locked/);
    });
  });
}

test("a database of an earlier server keeps its runs", async () => {
  const path = join(mkdtempSync(join(tmpdir(), "era-store-")), "era.db");
  const database = new DatabaseSync(path);
  database.exec(`${MIGRATIONS.slice(0, 4).join(";")}; PRAGMA user_version = 4`);
  const insert = database.prepare(`INSERT INTO runs
    (run_id, session_id, number, state, created_at, ended_at, summary, output, late_output, update_data)
    VALUES (?, 's', ?, ?, 'then', NULL, NULL, ?, 'late', ?)`);
  insert.run("run_b", 2, "queued", "[]", '{"a":1}');
  insert.run("run_a", 1, "done", '[{"stream":"stdout","text":"x"}]', null);
  database.close();
  await using store = openSqliteStore({ path, keepRuns: KEEP_RUNS });
  const { items } = await store.listRuns("s", { limit: 10, cursor: null });
  assert.deepEqual(
    items.map(({ runId }) => runId),
    ["run_b", "run_a"],
  );
  const ended = run("s", 1, { runId: "run_a", state: "done", createdAt: "then", lateOutput: "late" });
  assert.deepEqual(await store.findRun("run_a"), { ...ended, output: [{ stream: "stdout", text: "x" }] });
  assert.deepEqual((await store.listOpenRuns()).get("s")?.[0]?.updateData, { a: 1 });
});
