/** One suite over every store: what was written is there after it was opened again. */
import assert from "node:assert/strict";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, test } from "node:test";
import type { PlaceStore } from "../../src/store/places.ts";
import { openSqliteStores } from "../../src/store/sqlite/open.ts";
import { MIGRATIONS } from "../../src/store/sqlite/schema.ts";
import type { RunEffect, RunRow, SessionRow, Store } from "../../src/store/store.ts";

const KEEP_RUNS = 10;
const RECORD_BYTES = 1 << 20;
const LIMITS = { keepRuns: KEEP_RUNS, recordBytes: RECORD_BYTES };
type Stores = { store: Store; places: PlaceStore };
const STORES: Record<string, () => () => Stores> = {
  sqlite: () => {
    const path = join(mkdtempSync(join(tmpdir(), "era-store-")), "era.db");
    return () => openSqliteStores({ path, ...LIMITS });
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
  expiresAfter: null,
  memoryMib: null,
  cpuCount: null,
  diskMib: null,
  claimable: false,
  version: 0,
  fileCounts: { files: 0, bytes: 0 },
  durability: "async",
  saved: { content: 0, savedVersion: 0, bytes: 0, notKept: [], failure: null, rolledBack: null },
  code: null,
  imaging: "auto",
  snapshotLost: null,
  hibernatedAt: null,
  ...fields,
});

/** What a run has done to its session: it is at this version now. */
function effect(version: number, data: RunEffect["data"] = null): RunEffect {
  const { lastRunAt, fileCounts, saved, leftOut, snapshotLost, hibernatedAt } = session("any");
  return { progress: { lastRunAt, version, fileCounts, saved, leftOut, snapshotLost, hibernatedAt }, data };
}

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
  describe(`sessions in the ${name} store`, () => {
    test("keeps sessions, with odd text in them, over a restart", async () => {
      const open = create();
      const data = { 'quote"': "ünï\u0000", __proto__: 1, nested: [[1.5, null]] };
      const row = session("a:b", { data });
      const place = { folder: { key: "k", uid: 7, movedFrom: { key: "j", uid: 6 } }, snapshot: null };
      const code = { code: "x", description: "", updatedAt: "then" };
      const setup = { request: { pip: ["x"] }, status: "running" as const, result: null };
      {
        const { store, places } = open();
        await using _closed = store;
        assert.equal(await store.insertSession(row), true);
        assert.equal(await store.insertSession(row), false);
        await places.savePlace("a:b", place, true);
        await store.saveProgress("a:b", effect(3).progress);
        await store.saveCode("a:b", code);
        await store.saveSetup("a:b", setup);
        const {
          lastRunAt: _l,
          version: _v,
          fileCounts: _f,
          saved: _s,
          leftOut: _o,
          ...rest
        } = session("a:b");
        const { snapshotLost: _n, hibernatedAt: _h, data: _d, code: _c, setup: _u, ...settings } = rest;
        await store.saveSettings({ ...settings, cpuCount: 2 });
      }
      const { store, places } = open();
      await using _closed = store;
      const expected = { ...row, version: 3, cpuCount: 2, code, setup };
      assert.deepEqual(await store.findSession("a:b"), expected);
      assert.deepEqual(await places.findPlace("a:b"), place);
      assert.deepEqual(await places.listFolders(), [{ id: "a:b", key: "k", uid: 7 }]);
      assert.deepEqual(await places.listMoves(), [{ id: "a:b", folder: place.folder }]);
      assert.deepEqual(await store.listOpenSetups(), ["a:b"]);
      assert.equal(await store.findSession("A:B"), null);
      assert.deepEqual(await places.findPlace("A:B"), { folder: null, snapshot: null });
      await store.saveCode("a:b", null);
      await store.saveData("a:b", { a: 1 });
      await store.finishRun({ ...run("a:b", 4), state: "done" }, effect(4, { b: 2 }));
      const found = await store.findSession("a:b");
      assert.deepEqual([found?.code, found?.data, found?.version], [null, { b: 2 }, 4]);
    });

    test("writes nothing of a session that was deleted", async () => {
      const { store, places } = create()();
      await using _closed = store;
      await store.insertSession(session("gone"));
      await store.deleteSession("gone");
      await places.savePlace("gone", { folder: { key: "k", uid: 7 }, snapshot: null });
      await store.saveData("gone", { a: 1 });
      await store.saveCode("gone", { code: "x", description: "", updatedAt: "then" });
      await store.insertSession(session("gone"));
      const found = await store.findSession("gone");
      assert.deepEqual([found?.data, found?.code, await places.listFolders()], [{}, null, []]);
    });
  });

  describe(`lists of sessions in the ${name} store`, () => {
    test("lists newest first, in pages that neither repeat nor leave out", async () => {
      const { store } = create()();
      await using _closed = store;
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
    });
  });

  describe(`runs in the ${name} store`, () => {
    test("keeps runs with their output, the newest of each session, and removes them with it", async () => {
      const { store } = create()();
      await using _closed = store;
      await store.insertSession(session("s"));
      for (let number = 1; number <= 200; number++) {
        await store.insertRun(run("s", number));
        await store.finishRun(
          run("s", number, { state: "done", output: [{ stream: "stdout", text: `${number}` }] }),
          effect(number),
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
        const { store } = open();
        await using _closed = store;
        await store.insertSession(session("ran", { version: 2 }));
        await store.insertRun(run("ran", 3));
        await store.reserveAnswer("ran", "k", reserved, true);
      }
      const { store } = open();
      await using _closed = store;
      const runs = (await store.listOpenRuns()).get("ran") ?? [];
      assert.deepEqual(
        runs.map(({ runId }) => runId),
        ["run_ran_3"],
      );
      assert.deepEqual(await store.findAnswer("ran", "k"), { ...reserved, status: null, body: null });
      await store.finishRun({ ...run("ran", 3), state: "done" }, effect(3), true);
      assert.equal((await store.listOpenRuns()).size, 0);
      await store.insertRun(run("ran", 5));
      await store.reserveAnswer("ran", "k5", { requestHash: "h", runId: "run_ran_5" }, false);
      await store.forgetRun("run_ran_5");
      assert.deepEqual([await store.findRun("run_ran_5"), await store.findAnswer("ran", "k5")], [null, null]);
      const unheardOf = { ...run("ran", 4), state: "done" } as const;
      await store.finishRun(unheardOf, effect(4));
      assert.equal((await store.findRun(unheardOf.runId))?.state, "done");
    });
  });

  describe(`ends of runs in the ${name} store`, () => {
    test("what is saved after a run has ended is not undone by its end", async () => {
      const { store } = create()();
      await using _closed = store;
      await store.insertSession(session("s"));
      const ended = store.finishRun(run("s", 1, { state: "done" }), effect(1, { from: "run" }));
      const saved = [store.saveProgress("s", effect(2).progress), store.saveData("s", { from: "client" })];
      await Promise.all([ended, ...saved]);
      const found = await store.findSession("s");
      assert.deepEqual([found?.version, found?.data], [2, { from: "client" }]);
    });

    test("runs that end together are all stored, but for one that cannot be, and in the order of the calls", async () => {
      const { store } = create()();
      await using _closed = store;
      for (const id of ["a", "b", "gone"]) await store.insertSession(session(id));
      const end = (id: string, fields: Partial<RunRow> = {}) =>
        store.finishRun(run(id, 1, { state: "done", ...fields }), effect(1), id === "b");
      const refused = end("a", { runId: "run_none", state: null as never });
      const ends = await Promise.allSettled([
        end("a"),
        refused,
        end("b"),
        end("gone"),
        store.deleteSession("gone"),
      ]);
      const [first, second, third] = ends.map(({ status }) => status);
      assert.deepEqual([first, second, third], ["fulfilled", "rejected", "fulfilled"]);
      const ids = ["run_a_1", "run_none", "run_b_1", "run_gone_1"];
      const found = await Promise.all(ids.map(async (id) => (await store.findRun(id))?.state ?? null));
      assert.deepEqual(found, ["done", null, "done", null]);
      assert.equal((await store.findSession("b"))?.version, 1);
    });
  });

  describe(`the room of records in the ${name} store`, () => {
    const printed = (bytes: number) => [{ stream: "stdout" as const, text: "x".repeat(bytes) }];

    test("the oldest make room, which is counted, and keys of their runs are not free again", async () => {
      const { store } = create()();
      await using _closed = store;
      await store.insertSession(session("s"));
      await store.insertRun(run("s", 1));
      await store.reserveAnswer("s", "k", { requestHash: "h", runId: "run_s_1" }, false);
      for (let number = 1; number <= 30; number++)
        await store.finishRun(
          run("s", number, { state: "done", output: printed(RECORD_BYTES / 8) }),
          effect(number),
        );
      const numbers = async () =>
        (await store.listRuns("s", { limit: 100, cursor: null })).items.map((item) => item.number);
      assert.deepEqual(await numbers(), [30, 29, 28, 27, 26, 25, 24]);
      assert.equal(await store.countRemovedRuns("s"), 23);
      assert.equal((await store.findAnswer("s", "k"))?.status, 200);
      await store.finishRun(run("s", 31, { state: "done", output: printed(3 * RECORD_BYTES) }), effect(31));
      assert.deepEqual([await numbers(), await store.countRemovedRuns("s")], [[31], 30]);
      await store.deleteSession("s");
      assert.equal(await store.countRemovedRuns("s"), 0);
    });

    test("large answers make room, small ones do not, and that there was one stays", async () => {
      const { store } = create()();
      await using _closed = store;
      const record = (key: string, bytes: number, status: number) =>
        store.recordAnswer("s", key, { requestHash: key, status, body: "x".repeat(bytes) });
      await record("small", 1000, 200);
      await store.reserveAnswer("s", "run", { requestHash: "run", runId: "run_s_1" }, false);
      for (const key of ["a", "run", "b", "c"]) await record(key, RECORD_BYTES / 2 - 1, 201);
      const found = async (key: string) => (await store.findAnswer("s", key))?.body?.length ?? null;
      assert.deepEqual(await Promise.all(["small", "a", "run", "b", "c"].map(found)), [
        1000,
        null,
        null,
        RECORD_BYTES / 2 - 1,
        RECORD_BYTES / 2 - 1,
      ]);
      const left = { requestHash: "run", runId: "run_s_1", status: 201, body: null };
      assert.deepEqual(await store.findAnswer("s", "run"), left);
    });

    test("what a record is too small for is counted in it", async () => {
      const { store } = create()();
      await using _closed = store;
      await store.insertSession(session("s"));
      const result = { data: { "text/plain": "x".repeat(2 << 20) } };
      const summary = { results: [result, result] } as unknown as RunRow["summary"];
      await store.finishRun(run("s", 1, { state: "done", summary }), effect(1));
      const found = (await store.findRun("run_s_1"))?.summary;
      assert.deepEqual([found?.results, found?.resultsLeftOut], [[], 2]);
    });
  });

  describe(`answers in the ${name} store`, () => {
    test("recorded answers belong to their scope", async () => {
      const { store } = create()();
      await using _closed = store;
      const answer = { requestHash: "h", status: 201, body: "{}" };
      await store.recordAnswer("s", "k", answer);
      assert.deepEqual(await store.findAnswer("s", "k"), { ...answer, runId: null });
      assert.equal(await store.findAnswer("t", "k"), null);
      await store.deleteSession("s");
      assert.equal(await store.findAnswer("s", "k"), null);
    });

    test("is held by one server at a time", async () => {
      const open = create();
      const { store } = open();
      await using _closed = store;
      await store.insertSession(session("s"));
      assert.throws(open, /locked/);
    });
  });
}

test("a database of an earlier server keeps its sessions and runs", async () => {
  const path = join(mkdtempSync(join(tmpdir(), "era-store-")), "era.db");
  const database = new DatabaseSync(path);
  database.exec(`${MIGRATIONS.slice(0, 4).join(";")}; PRAGMA user_version = 4`);
  const insert = database.prepare(`INSERT INTO runs
    (run_id, session_id, number, state, created_at, ended_at, summary, output, late_output, update_data)
    VALUES (?, 's', ?, ?, 'then', NULL, NULL, ?, 'late', ?)`);
  const folder = { key: "k", uid: 7 };
  const { data: _data, code: _code, snapshotLost: _lost, ...old } = session("old", { version: 5 });
  database
    .prepare("INSERT INTO sessions (id, folder_key, folder_uid, version, row) VALUES ('old', 'k', 7, 5, ?)")
    .run(JSON.stringify({ ...old, data: { a: 1 }, folder, image: { name: "i" }, imageLost: "gone" }));
  insert.run("run_b", 2, "queued", "[]", '{"a":1}');
  insert.run("run_a", 1, "done", '[{"stream":"stdout","text":"x"}]', null);
  database.close();
  const { store, places } = openSqliteStores({ path, ...LIMITS });
  await using _closed = store;
  assert.deepEqual(
    await store.findSession("old"),
    session("old", { version: 5, data: { a: 1 }, snapshotLost: "gone" }),
  );
  assert.deepEqual(await places.findPlace("old"), { folder, snapshot: { name: "i" } });
  const { items } = await store.listRuns("s", { limit: 10, cursor: null });
  assert.deepEqual(
    items.map(({ runId }) => runId),
    ["run_b", "run_a"],
  );
  const ended = run("s", 1, { runId: "run_a", state: "done", createdAt: "then", lateOutput: "late" });
  assert.deepEqual(await store.findRun("run_a"), { ...ended, output: [{ stream: "stdout", text: "x" }] });
  assert.deepEqual((await store.listOpenRuns()).get("s")?.[0]?.updateData, { a: 1 });
});
