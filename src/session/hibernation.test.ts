/** Who sleeps, and when, with sessions that only say how long they have been idle. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { createLogger } from "../log.ts";
import { Hibernation } from "./hibernation.ts";

const log = createLogger("silent");
const NEVER = 3_600_000;

class Scripted {
  readonly id: string;
  idleMs: number | null;
  spareableMs: number | null = null;
  isDeleted = false;
  isSaved = true;
  asked = 0;
  /** What becomes of its save. */
  save: () => Promise<void> = async () => undefined;

  constructor(id: string, idleMs: number | null) {
    this.id = id;
    this.idleMs = idleMs;
  }

  async hibernate(): Promise<void> {
    this.asked += 1;
    await this.save();
    this.idleMs = null;
    this.spareableMs = null;
  }
}

const asked = (sessions: Scripted[]) => sessions.filter(({ asked }) => asked > 0).map(({ id }) => id);

test("the session that has been idle for longest makes way; none that is busy, or could not be saved", async () => {
  const sessions = [
    new Scripted("a", 5),
    new Scripted("b", 50),
    new Scripted("busy", null),
    new Scripted("full", 99),
  ];
  const [, , , full] = sessions;
  if (full !== undefined) full.isSaved = false;
  await using hibernation = new Hibernation(() => sessions, NEVER, log);
  assert.equal(await hibernation.reclaim(), true);
  assert.deepEqual(asked(sessions), ["b"]);
  assert.equal(await hibernation.reclaim(), true);
  assert.deepEqual(asked(sessions), ["a", "b"]);
  assert.equal(await hibernation.reclaim(), false, "nobody is left to be spared");
});

test("one whose programs go on makes way when no other can, and not at once after its last run", async () => {
  const [idle, young, old] = [
    new Scripted("idle", 5),
    new Scripted("young", null),
    new Scripted("old", null),
  ];
  young.spareableMs = 100;
  old.spareableMs = 60_000;
  await using hibernation = new Hibernation(() => [young, old, idle], NEVER, log);
  assert.equal(await hibernation.reclaim(), true);
  assert.deepEqual(asked([young, old, idle]), ["idle"]);
  assert.equal(await hibernation.reclaim(), true);
  assert.deepEqual(asked([young, old, idle]), ["old", "idle"]);
  assert.equal(await hibernation.reclaim(), false);
});

test("when all that could be spared is on its way, the next that has gone leaves its slot", async () => {
  const saved = Promise.withResolvers<void>();
  const only = new Scripted("only", 5);
  only.save = () => saved.promise;
  await using hibernation = new Hibernation(() => [only], NEVER, log);
  const [first, second] = [hibernation.reclaim(), hibernation.reclaim()];
  saved.resolve();
  assert.deepEqual(await Promise.all([first, second]), [true, true]);
  assert.equal(only.asked, 1);
});

test("one whose save failed is passed over, and is not tried again at once", async () => {
  const bad = new Scripted("bad", 50);
  bad.save = async () => {
    throw new Error("the disk is full");
  };
  const good = new Scripted("good", 5);
  await using hibernation = new Hibernation(() => [bad, good], NEVER, log);
  assert.equal(await hibernation.reclaim(), true);
  assert.equal(await hibernation.reclaim(), false);
  assert.deepEqual([bad.asked, good.asked], [1, 1]);
});

test("sessions sleep by themselves when they have been idle for long enough", async () => {
  const due = new Scripted("due", 100);
  const recent = new Scripted("recent", 10);
  await using _hibernation = new Hibernation(() => [due, recent], 50, log);
  while (due.asked === 0) await sleep(5);
  assert.deepEqual([due.asked, recent.asked], [1, 0]);
});
