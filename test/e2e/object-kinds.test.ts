/** Each kind of object, made in one run, is itself after a hibernation, can be changed, and is so after another one. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { OBJECT_KINDS } from "../fixtures/object-kinds/index.ts";
import type { ObjectKind } from "../fixtures/object-kinds/kind.ts";
import type { SessionClient } from "../support/client.ts";
import { oneServer } from "../support/one-server.ts";

const it = oneServer({ ERA_OUTPUT_KIB: "256" });
const KINDS = Object.values(OBJECT_KINDS).flat();
const KEPT = KINDS.filter(({ lost }) => lost === undefined);
const LOST = KINDS.filter(({ lost }) => lost !== undefined);
const NAME = /\bv\b/g;

/** A program about one kind, with the name of its own variable. */
function program(kind: ObjectKind, text: string): string {
  return text.replaceAll(NAME, nameOf(kind));
}

const nameOf = (kind: ObjectKind) => `v_${KINDS.indexOf(kind)}`;

async function hibernate(session: SessionClient): Promise<void> {
  await it.client.expect(200, "POST", `${session.path}/hibernate`);
}

/** Runs each program in a run of its own; answers what failed. */
async function runEach(session: SessionClient, part: "check" | "change" | "changed"): Promise<string[]> {
  const failures: string[] = [];
  for (const kind of KEPT) {
    const text = kind[part];
    if (!text) continue;
    const answer = await session.run(program(kind, text));
    if (answer.exit_code !== 0) failures.push(`${kind.kind}: ${answer.stderr}`);
  }
  return failures;
}

const kinds = () => it.client.session("kinds");

test("at least 120 kinds, at least 95 % of which are kept", () => {
  assert.ok(KINDS.length >= 120, String(KINDS.length));
  assert.ok(KEPT.length / KINDS.length >= 0.95, `${KEPT.length} of ${KINDS.length}`);
  assert.equal(new Set(KINDS.map(({ kind }) => kind)).size, KINDS.length);
});

test("all kinds are made in one run", async () => {
  const session = await it.client.create("kinds", { memory_mib: 1024, imaging: "never" });
  const answer = await session.run(KINDS.map((kind) => program(kind, kind.make)).join("\n"), { timeout: 60 });
  assert.equal(answer.stderr, "");
  assert.equal(answer.exit_code, 0);
});

test("after a hibernation each is what it was, and can be changed", { timeout: 120_000 }, async () => {
  await hibernate(kinds());
  assert.deepEqual(await runEach(kinds(), "check"), []);
  assert.deepEqual(await runEach(kinds(), "change"), []);
});

test("what cannot be kept is told by name, type and reason, and using it says so", async () => {
  const { state } = await kinds().get();
  for (const kind of LOST) {
    const told = state.not_kept.find(({ name }: { name: string }) => name === nameOf(kind));
    assert.ok(told?.reason.includes(kind.lost), `${kind.kind}: ${JSON.stringify(told)}`);
    const answer = await kinds().run(program(kind, "v"));
    assert.match(answer.stderr, new RegExp(`NameError.*${nameOf(kind)}[\\s\\S]*could not be kept`));
  }
  assert.deepEqual(state.not_kept.map(({ name }: { name: string }) => name).sort(), LOST.map(nameOf).sort());
});

test("after a second hibernation each is as it was changed", { timeout: 120_000 }, async () => {
  await hibernate(kinds());
  assert.deepEqual(await runEach(kinds(), "changed"), []);
});
