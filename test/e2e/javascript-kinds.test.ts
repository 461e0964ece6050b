/**
 * Each kind of JavaScript value, made in one run, is itself after a hibernation, can be changed, and is so after
 * another.
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { JAVASCRIPT_KINDS } from "../fixtures/javascript-kinds/index.ts";
import type { ObjectKind } from "../fixtures/object-kinds/kind.ts";
import type { SessionClient } from "../support/client.ts";
import { oneServer } from "../support/one-server.ts";

const it = oneServer({ ERA_POOL: "python=0" });
const KINDS = Object.values(JAVASCRIPT_KINDS).flat();
const KEPT = KINDS.filter(({ lost }) => lost === undefined);
const LOST = KINDS.filter(({ lost }) => lost !== undefined);
const ASSERT = "function assert(fact) { if (!fact) throw new Error('it does not hold') }";
const NAME = /\bv\b/g;

const nameOf = (kind: ObjectKind) => `v_${KINDS.indexOf(kind)}`;
const program = (kind: ObjectKind, text: string) => text.replaceAll(NAME, nameOf(kind));

for (const language of ["node", "deno"]) {
  describe(language, () => {
    const session = () => it.client.session(`kinds-${language}`);
    const hibernate = () => it.client.expect(200, "POST", `${session().path}/hibernate`);

    test("all kinds are made", async () => {
      await it.client.create(session().id, { language, imaging: "never" });
      await session().prints("", ASSERT);
      assert.deepEqual(await runEach(session(), KINDS, "make"), []);
    });

    test("after a hibernation each is what it was, and can be changed", async () => {
      await hibernate();
      assert.deepEqual(await runEach(session(), KEPT, "check"), []);
      assert.deepEqual(await runEach(session(), KEPT, "change"), []);
    });

    test("what cannot be kept is told by name, type and reason, and using it says so", async () => {
      const { state } = await session().get();
      for (const kind of LOST) {
        const told = state.not_kept.find(({ name }: { name: string }) => name === nameOf(kind));
        assert.ok(told?.reason.includes(kind.lost), `${kind.kind}: ${JSON.stringify(told)}`);
        const answer = await session().run(program(kind, "v"));
        assert.match(answer.stderr, new RegExp(`ReferenceError.*${nameOf(kind)}[\\s\\S]*could not be kept`));
      }
      assert.equal(state.not_kept.length, LOST.length, JSON.stringify(state.not_kept));
    });

    test("after a second hibernation each is as it was changed", async () => {
      await hibernate();
      assert.deepEqual(await runEach(session(), KEPT, "changed"), []);
    });
  });
}

/** Runs each program in a run of its own; answers what failed. */
async function runEach(
  session: SessionClient,
  kinds: readonly ObjectKind[],
  part: "make" | "check" | "change" | "changed",
): Promise<string[]> {
  const failures: string[] = [];
  for (const kind of kinds) {
    const text = kind[part];
    if (!text) continue;
    const answer = await session.run(program(kind, text));
    if (answer.exit_code !== 0)
      failures.push(
        `${kind.kind}: ${answer.stderr} ${JSON.stringify(answer.error?.message ?? null)} ${JSON.stringify(answer.state.rolled_back)}`,
      );
  }
  return failures;
}
