/** What the pool promises, with a launcher that starts nothing. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { createLogger } from "../log.ts";
import { AppError } from "../protocol/errors.ts";
import type { Language } from "../protocol/languages.ts";
import type { Limits } from "../sandbox/policy.ts";
import { folderAt } from "./folder.ts";
import type { Launcher } from "./launcher.ts";
import { type Lease, SandboxPool } from "./pool.ts";
import type { Start } from "./start.ts";

const LIMITS: Limits = {
  memoryBytes: 1,
  cpus: 1,
  pids: 1,
  openFiles: 1,
  tmpBytes: 1,
  fileBytes: 1,
  mostFileBytes: 1,
};
const REASON = new Error("the test is over");
const log = createLogger("silent");

/** A sandbox that does nothing: what was done with it is written down. */
class Scripted {
  readonly name: number;
  readonly language: Language;
  limits: Limits | null = null;
  ended = false;
  #lost: ((reason: Error) => void) | null = null;

  constructor(name: number, language: Language) {
    this.name = name;
    this.language = language;
  }

  setLimits(limits: Limits): void {
    this.limits = limits;
  }

  onLost(listener: (reason: Error) => void): void {
    this.#lost = listener;
  }

  lose(): void {
    this.#lost?.(new Error("it ended by itself"));
  }

  async end(): Promise<void> {
    this.ended = true;
  }
}

/** Starts as it is told: at once, when the test lets it, or not at all. */
class ScriptedLauncher implements Launcher<Scripted> {
  readonly started: Scripted[] = [];
  /** Starts in progress at the same time, at the most. */
  widest = 0;
  failsWith: () => Error | null = () => null;
  #running = 0;
  #gate: Promise<void> = Promise.resolve();

  /** Starts wait from now on, until the function that is answered is called. */
  hold(): () => void {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#gate = promise;
    return resolve;
  }

  async startPristine({ language }: Start): Promise<Scripted> {
    this.#running += 1;
    this.widest = Math.max(this.widest, this.#running);
    await this.#gate;
    await sleep(1);
    this.#running -= 1;
    const error = this.failsWith();
    if (error !== null) throw error;
    const made = new Scripted(this.started.length, language);
    this.started.push(made);
    return made;
  }

  start = (_folder: unknown, start: Start) => this.startPristine(start);
  resume = () => this.startPristine({ language: "python", limits: LIMITS });
  adopt = () => this.startPristine({ language: "python", limits: LIMITS });
  destroy = (sandbox: Scripted) => sandbox.end();
}

function poolOf(maxLive: number, sizes: [Language, number][] = [], patienceMs = 0) {
  const launcher = new ScriptedLauncher();
  const pool = new SandboxPool({ launcher, sizes: new Map(sizes), maxLive, limits: LIMITS, patienceMs, log });
  return { launcher, pool };
}

const endAll = (leases: Lease<Scripted>[]) => Promise.all(leases.map((lease) => lease.end(REASON)));

test("a warm sandbox is handed out once, and another one takes its place a moment later", async () => {
  const { pool, launcher } = poolOf(10, [["python", 2]]);
  await pool.fill();
  assert.deepEqual(pool.counts, { live: 2, warm: 2, max: 10 });
  const [first, second] = [await pool.take("python", null), await pool.take("python", null)];
  assert.notEqual(first.live, second.live);
  assert.equal(launcher.started.length, 2);
  while (pool.counts.warm < 2) await sleep(5);
  assert.deepEqual([pool.counts.warm, launcher.started.length], [2, 4]);
  await endAll([first, second]);
  await pool[Symbol.asyncDispose]();
  assert.ok(launcher.started.every(({ ended }) => ended));
  assert.equal(pool.counts.live, 2, "the pool's own are not given back: the server is at its end");
});

test("whoever finds no slot waits for one, in the order of coming, as long as it has patience", async () => {
  const { pool } = poolOf(2, [], 5_000);
  const leases = await Promise.all([1, 2].map(() => pool.take("python", null)));
  const order: string[] = [];
  const waiting = ["first", "second"].map(async (name) => {
    const lease = await pool.take("node", null);
    order.push(name);
    return lease;
  });
  await sleep(5);
  assert.deepEqual(order, []);
  await leases[0]?.end(REASON);
  const first = await waiting[0];
  await leases[1]?.end(REASON);
  const second = await waiting[1];
  assert.deepEqual([order, pool.counts.live], [["first", "second"], 2]);
  for (const lease of [first, second]) await lease?.end(REASON);
});

test("a session that is idle a moment later makes way for who waits; patience ends", async () => {
  const { pool } = poolOf(1, [], 600);
  const lease = await pool.take("python", null);
  let canSpare = false;
  pool.reclaim = async () => {
    if (canSpare) await lease.end(REASON);
    return canSpare;
  };
  const waiting = pool.take("python", null);
  await sleep(50);
  canSpare = true;
  const second = await waiting;
  canSpare = false;
  const startedAt = performance.now();
  await assert.rejects(pool.take("python", null), { code: "no_slot" });
  assert.ok(performance.now() - startedAt >= 590);
  await second.end(REASON);
});

test("there are never more than the slots, and whoever finds none is told at once", async () => {
  const { pool } = poolOf(3);
  const leases = await Promise.all([1, 2, 3].map(() => pool.take("python", null)));
  await assert.rejects(pool.take("python", null), { code: "no_slot" });
  await assert.rejects(pool.wake(folderAt("/nowhere", "k", 1), "node", null), { code: "no_slot" });
  await leases[0]?.end(REASON);
  await (await pool.take("node", null)).end(REASON);
  await endAll(leases.slice(1));
  assert.equal(pool.counts.live, 0);
});

test("a lease that is ended twice frees one slot", async () => {
  const { pool } = poolOf(2);
  const lease = await pool.take("python", null);
  await lease.end(REASON);
  await lease.destroy(REASON);
  assert.equal(pool.counts.live, 0);
});

test("a session that can sleep makes way, and so does a warm sandbox of another language before it", async () => {
  const { pool, launcher } = poolOf(2, [["node", 1]]);
  await pool.fill();
  const first = await pool.take("python", null);
  let asked = 0;
  pool.reclaim = async () => {
    asked += 1;
    if (asked > 1) return false; // there is no other one
    await first.end(REASON);
    return true;
  };
  const second = await pool.take("python", null);
  assert.deepEqual([asked, launcher.started[0]?.ended], [0, true], "the warm one first");
  const third = await pool.take("python", null);
  assert.ok(asked > 0);
  await endAll([second, third]);
});

test("a burst is started few at a time, serves in the order of arrival, and leaves no slot taken", async () => {
  const { pool, launcher } = poolOf(100);
  const order: number[] = [];
  const release = launcher.hold();
  const burst = Array.from({ length: 20 }, async (_, at) => {
    const lease = await pool.take("python", null);
    order.push(at);
    return lease;
  });
  await sleep(5);
  release();
  const leases = await Promise.all(burst);
  assert.deepEqual(
    order,
    [...order].sort((a, b) => a - b),
  );
  assert.ok(launcher.widest <= 16, `${launcher.widest} starts at once`);
  assert.equal(pool.counts.live, 20);
  await endAll(leases);
  assert.equal(pool.counts.live, 0);
});

test("a start that fails is told to who waits for it, and its slot is free again", async () => {
  const { pool, launcher } = poolOf(4);
  launcher.failsWith = () => new Error("cannot start");
  const asked = [1, 2, 3].map(() => pool.take("python", null));
  for (const each of asked) await assert.rejects(each, /cannot start/);
  assert.equal(pool.counts.live, 0);
  launcher.failsWith = () => null;
  await (await pool.take("python", null)).end(REASON);
});

test("a host that is short of processes is given some back by warm sandboxes, then by sessions that sleep", async () => {
  const { pool, launcher } = poolOf(6, [["node", 1]]);
  await pool.fill();
  const [warm] = launcher.started;
  const spared: string[] = [];
  launcher.failsWith = () =>
    warm?.ended === true && spared.length === 2 ? null : new AppError("host_exhausted", "short of processes");
  pool.reclaim = async () => spared.push("a session") > 0;
  const lease = await pool.take("python", null);
  assert.equal(spared.length, 2);
  assert.equal(pool.counts.live, 1);
  pool.reclaim = async () => false;
  launcher.failsWith = () => new AppError("host_exhausted", "short of processes");
  await assert.rejects(pool.take("python", null), { code: "host_exhausted" });
  launcher.failsWith = () => new AppError("sandbox_failed", "broken");
  pool.reclaim = () => assert.fail("no session sleeps for a host that is broken");
  await assert.rejects(pool.take("python", null), { code: "sandbox_failed" });
  assert.equal(pool.counts.live, 1);
  await lease.end(REASON);
});

test("a host that cannot start sandboxes is not asked again and again to fill the pool", async () => {
  const { pool, launcher } = poolOf(4, [["python", 2]]);
  launcher.failsWith = () => new Error("cannot start");
  let starts = 0;
  const { startPristine } = launcher;
  launcher.startPristine = (start) => {
    starts += 1;
    return startPristine.call(launcher, start);
  };
  await pool.fill();
  await sleep(100);
  assert.ok(starts <= 2, `${starts} starts`);
  assert.equal(pool.counts.live, 0);
});

test("a warm sandbox that ends by itself is destroyed, and never handed out", async () => {
  const { pool, launcher } = poolOf(4, [["python", 1]]);
  await pool.fill();
  const [warm] = launcher.started;
  warm?.lose();
  const lease = await pool.take("python", null);
  assert.notEqual(lease.live, warm);
  assert.equal(warm?.ended, true);
  await lease.end(REASON);
});

test("limits of a session are set on a warm sandbox; an engine that is sized at its start is started for them", async () => {
  const { pool, launcher } = poolOf(10, [
    ["python", 1],
    ["node", 1],
  ]);
  await pool.fill();
  const larger = { ...LIMITS, memoryBytes: 2 };
  const python = await pool.take("python", larger);
  assert.deepEqual([python.live.limits, launcher.started.includes(python.live)], [larger, true]);
  const before = launcher.started.length;
  const node = await pool.take("node", larger);
  assert.equal(launcher.started.indexOf(node.live) >= before, true);
  await endAll([python, node]);
});

test("a pool that is closed refuses, and whoever waits is told", async () => {
  const { pool, launcher } = poolOf(4);
  const release = launcher.hold();
  const waiting = pool.take("python", null);
  await sleep(5);
  const closing = pool[Symbol.asyncDispose]();
  release();
  const lease = await waiting.catch(() => null);
  await lease?.end(REASON);
  await closing;
  await assert.rejects(pool.take("python", null), { code: "shutting_down" });
});
