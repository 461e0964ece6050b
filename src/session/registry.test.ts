/** What the registry promises of ids and rows, with sessions that run nothing: its launcher starts no sandbox. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { openBareHost } from "../../test/support/bare-host.ts";
import { DiskMonitor } from "../live/disk-monitor.ts";
import type { Launcher } from "../live/launcher.ts";
import { defaultLimits } from "../live/plan-sandbox.ts";
import { SandboxPool } from "../live/pool.ts";
import { AppError } from "../protocol/errors.ts";
import { queuedRun } from "../runs/run-row.ts";
import { deleteAllSessions } from "./delete-all.ts";
import { type CreateRequest, DEFAULTS } from "./new-row.ts";
import { SessionRegistry } from "./registry.ts";
import { NO_PROGRESS } from "./saved/progress.ts";

const refuse = () => Promise.reject(new Error("no sandbox is started here"));
const LAUNCHER: Launcher = {
  startPristine: refuse,
  start: refuse,
  resume: refuse,
  adopt: refuse,
  destroy: async () => undefined,
};
const asked = (id: string | null, fields: Partial<CreateRequest> = {}): CreateRequest => ({
  ...DEFAULTS,
  id,
  language: "python",
  ...fields,
});
const code = (expected: string) => (error: unknown) => error instanceof AppError && error.code === expected;

function openRegistry(settings: Record<string, string> = {}, dataDir?: string) {
  const bare = openBareHost(settings, dataDir);
  const { host } = bare;
  const limits = defaultLimits(host.config);
  const pool = new SandboxPool({
    launcher: LAUNCHER,
    sizes: new Map(),
    maxLive: 2,
    limits,
    patienceMs: 0,
    log: host.log,
  });
  const disk = new DiskMonitor(host.config.dataDir, host.log);
  const registry = new SessionRegistry({ ...bare, pool, disk });
  return {
    ...bare,
    registry,
    [Symbol.asyncDispose]: async () => {
      await registry[Symbol.asyncDispose]();
      await disk[Symbol.asyncDispose]();
      await bare[Symbol.asyncDispose]();
    },
  };
}

test("of two who create one id at once, one gets it, whole, and the other is told that it is taken", async () => {
  await using it = openRegistry();
  const both = await Promise.allSettled([
    it.registry.create(asked("x", { data: { by: 1 } })),
    it.registry.create(asked("x", { data: { by: 2 } })),
  ]);
  assert.deepEqual(both.map(({ status }) => status).sort(), ["fulfilled", "rejected"]);
  const loser = both.find((each) => each.status === "rejected");
  assert.ok(code("session_exists")(loser?.reason));
  assert.deepEqual((await it.registry.get("x")).row.data, { by: 1 });
});

test("everybody who uses an id has the same object, also while it is being made or loaded", async () => {
  await using it = openRegistry();
  const made = it.registry.create(asked("x"));
  const found = await Promise.all([
    made,
    it.registry.getOrCreate("x", "python").then(({ session }) => session),
  ]);
  assert.equal(found[0], found[1]);
  const again = await Promise.all([it.registry.get("x"), it.registry.get("x")]);
  assert.deepEqual([again[0] === found[0], again[1] === found[0]], [true, true]);
});

test("a session that a run has made is claimed once, with its data unless other is given", async () => {
  await using it = openRegistry();
  const { metadata: _m, data: _d, setup: _s, ...settings } = DEFAULTS;
  const made = {
    ...settings,
    ...NO_PROGRESS,
    id: "x",
    language: "python",
    createdAt: "",
    claimable: true,
  } as const;
  await it.store.insertSession({ ...made, metadata: {}, data: { kept: true }, code: null, setup: null });
  await assert.rejects(it.registry.create(asked("x", { language: "node" })), code("session_exists"));
  const claimed = await it.registry.create(asked("x", { metadata: { name: "a" } }));
  assert.deepEqual([claimed.row.data, claimed.row.metadata], [{ kept: true }, { name: "a" }]);
  await assert.rejects(it.registry.create(asked("x")), code("session_exists"));
});

test("an unknown id is refused where runs do not make sessions", async () => {
  await using it = openRegistry({ ERA_AUTO_CREATE: "false" });
  await assert.rejects(it.registry.getOrCreate("x", "python"), code("session_not_found"));
  await assert.rejects(it.registry.get("x"), code("session_not_found"));
  assert.equal(await it.registry.find("x"), null);
});

test("deleting all deletes what there was when it began, page by page; an id is free again", async () => {
  await using it = openRegistry();
  for (let at = 0; at < 230; at++) await it.registry.create(asked(`s${at}`));
  const [ids] = await Promise.all([
    deleteAllSessions(it.registry, null),
    it.registry.delete("s7").catch(() => undefined),
  ]);
  assert.equal(new Set(ids).size, 230);
  assert.deepEqual((await it.registry.list({ limit: 10, cursor: null })).items, []);
  await it.registry.create(asked("s7"));
  assert.deepEqual(
    (await it.registry.list({ limit: 10, cursor: null })).items.map(({ id }) => id),
    ["s7"],
  );
});

test("what was stored is there for the next server, and a run that nobody can have run is told as lost", async () => {
  let dataDir = "";
  {
    await using it = openRegistry();
    dataDir = it.host.config.dataDir;
    await it.registry.create(asked("x", { data: { a: 1 } }));
    await it.store.insertRun(queuedRun("x", 1, null));
  }
  await using it = openRegistry({}, dataDir);
  const [open] = (await it.store.listOpenRuns()).get("x") ?? [];
  await it.registry.takeOver(new Map());
  const session = await it.registry.get("x");
  await session.settled();
  assert.deepEqual(session.row.data, { a: 1 });
  assert.equal((await it.store.findRun(open?.runId ?? ""))?.state, "lost");
});

test("a server that stops begins nothing new", async () => {
  await using it = openRegistry();
  await it.registry.create(asked("x"));
  await it.registry[Symbol.asyncDispose]();
  await assert.rejects(it.registry.create(asked("y")), code("shutting_down"));
  await assert.rejects(it.registry.getOrCreate("z", "python"), code("shutting_down"));
  await assert.rejects(
    it.registry.duplicate("x", { id: "w", data: null, version: null, resources: {} }),
    code("shutting_down"),
  );
});
