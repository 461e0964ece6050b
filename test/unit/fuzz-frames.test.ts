/**
 * Frames that no agent and no kernel would send: the line is given up, and nothing else of the server is touched.
 * ERA_TEST_FUZZ says how many; each kind has its share.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { GuestChannel } from "../../src/guest/channel.ts";
import { resolveOutcome } from "../../src/runs/outcome.ts";
import { parseResults } from "../../src/runs/rich-values.ts";
import { parseData } from "../../src/session/saved/data.ts";
import { endFrame } from "../support/end-frame.ts";
import { Random } from "../support/random.ts";
import { HELLO, ScriptedAgent } from "../support/scripted-agent.ts";

const FRAMES = Number(process.env.ERA_TEST_FUZZ ?? 20_000);
const FRAMES_OF_A_LINE = 40;
const MAX_GROWN_BYTES = 64 << 20;
const KEEP = { versions: 20, bytes: 1 << 30 };
const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const SAVED = {
  type: "saved",
  version: 1,
  written: 1,
  bytes: 1,
  not_kept: [{ name: "x", type: "int", reason: "" }],
  failed: null,
  staged: false,
  complete: true,
  background: 0,
};
const RESTORED = {
  version: 1,
  run: "run_1",
  result: { outcome: "ok", exit_code: 0, error: null },
  not_kept: [],
  damage: [],
};
const VALID: readonly object[] = [
  { type: "output", run: "run_1", stream: "stdout" },
  { type: "late", run: "run_0", stream: "stderr" },
  endFrame({ results_bytes: 3, has_data: true }),
  endFrame({ outcome: "raised", error: { name: "E", message: "m", traceback: "t" }, exit_code: 1 }),
  endFrame({ outcome: "signalled", signal: 9, exit_code: null, restored: RESTORED as never }),
  { type: "kernel", epoch: 2, outcome: "signalled", exit_code: 137, signal: 9 },
  SAVED,
  { type: "unknown", run: "run_1" },
  { type: "inspected" },
  { type: "rolled_back", error: null, epoch: 2, restored: RESTORED },
  { ...HELLO, type: "moved_in", protocol: undefined, token: undefined, running: undefined },
  { type: "frozen", error: "no" },
  { type: "refused", ticket: "t" },
  { type: "fault", message: "m" },
  HELLO,
];
const PAYLOADS = [
  "",
  "[]",
  "{}",
  "[{}]",
  '[{"main":true,"text":"1"}]',
  '{"a":{"b":[1]}}',
  "\u0000\u0001",
  "x".repeat(70_000),
];

/** One line, until it is given up or has carried its frames; answers how many those were. */
async function fuzzLine(folder: string, random: Random): Promise<number> {
  const path = join(folder, `${random.next()}.sock`);
  const channel = await GuestChannel.open(path, {
    token: "secret",
    expected: null,
    orphanMs: 1_000,
    preload: [],
  });
  const seen: unknown[] = [];
  const note = (...what: unknown[]) => seen.push(what.length);
  channel.listen({ onLate: note, onKernelLost: note, onSaved: note, onRefused: note, onLost: note });
  const agent = new ScriptedAgent(path);
  agent.say(random.chance(0.9) ? HELLO : (random.mutated(HELLO) as object));
  const greeted = await channel.greeted(AbortSignal.timeout(5_000)).then(
    () => true,
    () => false,
  );
  const program = {
    id: "run_1",
    name: "<run 1>",
    code: "1",
    timeoutMs: 60_000,
    outputBytes: 1 << 20,
    onOutput: note,
  };
  const asked = greeted
    ? [channel.run(program).then(judge, () => undefined), ask(channel, random).catch(() => undefined)]
    : [];
  let sent = 1;
  for (; greeted && sent < FRAMES_OF_A_LINE && !channel.isLost; sent++) {
    agent.sayBytes(bytesOf(random));
    if (sent % 8 === 0) await nextTurn();
  }
  await nextTurn();
  agent.socket.destroy();
  channel.close(new Error("the test is over"));
  await Promise.all(asked);
  assert.ok(channel.isLost);
  return sent;
}

function bytesOf(random: Random): Buffer {
  const valid = random.of(VALID);
  const header = random.chance(0.5) ? valid : (random.mutated(valid) as object);
  const bytes = ScriptedAgent.encode(header, Buffer.from(random.of(PAYLOADS)));
  return random.chance(0.9) ? bytes : random.mutatedBytes(bytes);
}

/** What the server makes of an end that it believes. */
function judge({ frame, results, data }: Awaited<ReturnType<GuestChannel["run"]>>): void {
  parseResults(results);
  if (data !== null) parseData(data);
  resolveOutcome(frame, {
    timeoutMs: 1_000,
    ranOutOfMemory: () => false,
    memoryLimitBytes: () => null,
    overDiskQuota: null,
  });
}

function ask(channel: GuestChannel, random: Random): Promise<unknown> {
  const kind = random.below(4);
  if (kind === 0) return channel.inspect();
  if (kind === 1) return channel.save(1, KEEP);
  if (kind === 2) return channel.rollback(1, 2);
  return channel.moveIn();
}

test(
  `${FRAMES} frames of agents harm nobody, and nothing of them stays`,
  { timeout: 3_600_000 },
  async () => {
    const folder = mkdtempSync(join(tmpdir(), "era-fuzz-"));
    const random = new Random(11);
    let before = 0;
    let lines = 0;
    for (let sent = 0; sent < FRAMES; lines++) {
      sent += await fuzzLine(folder, random);
      if (before === 0 && sent > FRAMES / 10) before = process.memoryUsage().rss;
    }
    rmSync(folder, { recursive: true });
    const grown = process.memoryUsage().rss - before;
    assert.ok(grown < MAX_GROWN_BYTES, `${grown >> 20} MiB more after ${lines} lines`);
  },
);

test(`${FRAMES} frames of kernels end the kernel at most, never the agent`, { timeout: 3_600_000 }, () => {
  const argv = [`${ROOT}test/support/fuzz_frames.py`, `${ROOT}guest`, String(FRAMES)];
  const { status, stdout, stderr } = spawnSync("python3", argv, { encoding: "utf8" });
  assert.equal(status, 0, stdout + stderr);
  const { tried, accepted, refused, grown_kib } = JSON.parse(stdout);
  assert.ok(tried === FRAMES && accepted > FRAMES / 50 && refused > FRAMES / 10, stdout);
  assert.ok(grown_kib < MAX_GROWN_BYTES / 1024, stdout);
});
