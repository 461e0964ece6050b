/** 2,000 mixed runs over 50 sessions by 16 clients: every answer right, nothing left behind at the end. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { oneServer } from "../support/one-server.ts";
import { Random } from "../support/random.ts";
import { until } from "../support/server.ts";

const RUNS = 2_000;
const SESSIONS = 50;
const CLIENTS = 16;
const it = oneServer({ ERA_POOL: "python=4" });

/** What a session must hold: its counter, or null when its variables were lost or it was deleted. */
type Expected = { counter: number | null; files: number };

test("mixed runs, deletes, timeouts and crashes", { timeout: 300_000 }, async () => {
  const random = new Random(7);
  const expected: Expected[] = Array.from({ length: SESSIONS }, () => ({ counter: null, files: 0 }));
  const busy = new Set<number>();
  let left = RUNS;
  const client = async () => {
    while (left-- > 0) {
      let at = random.below(SESSIONS);
      while (busy.has(at)) at = (at + 1) % SESSIONS;
      busy.add(at);
      await step(`soak-${at}`, expected[at] as Expected, random.next());
      busy.delete(at);
    }
  };
  await Promise.all(Array.from({ length: CLIENTS }, client));
  await it.client.expect(200, "DELETE", "/api/sessions");
  await until("only the pool is left", async () => {
    const { live, warm } = (await it.client.expect(200, "GET", "/health")).sandboxes;
    return live === warm && warm === 4 && it.server.folders().length === 4;
  });
  assert.equal(it.server.processes().length, 4 * 3, "monitor, agent and kernel of each warm sandbox");
});

async function step(id: string, expected: Expected, dice: number): Promise<void> {
  const session = it.client.session(id);
  if (dice < 0.7) {
    const answer = await session.run("n = globals().get('n', 0) + 1\nprint(n)");
    expected.counter = (expected.counter ?? 0) + 1;
    assert.deepEqual([answer.stdout, answer.stderr, answer.exit_code], [`${expected.counter}\n`, "", 0]);
  } else if (dice < 0.8) {
    const answer = await session.run(
      "import os\nopen(f'f{len(os.listdir())}', 'w').write('x')\nprint(len(os.listdir()) - 1)",
    );
    expected.files += 1;
    assert.equal(answer.stdout, `${expected.files}\n`);
  } else if (dice < 0.86) {
    const answer = await session.run("raise KeyError(1)");
    assert.deepEqual([answer.exit_code, answer.error.name], [1, "KeyError"]);
  } else if (dice < 0.9) {
    const answer = await session.run("while True: pass", { timeout: 0.2 });
    assert.equal(answer.exit_code, 124);
  } else if (dice < 0.94) {
    const answer = await session.run("import os; os.kill(os.getpid(), 11)");
    assert.equal(answer.exit_code, 139, JSON.stringify(answer));
  } else if (dice < 0.97) {
    const answer = await it.client.execute("print(6 * 7)");
    assert.equal(answer.stdout, "42\n");
  } else {
    const { status } = await it.client.call("DELETE", session.path);
    assert.ok(status === 200 || (status === 404 && expected.counter === null && expected.files === 0));
    Object.assign(expected, { counter: null, files: 0 });
  }
}
