/** Shell commands in sessions of any language. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Body, SessionClient } from "../support/client.ts";
import { oneServer } from "../support/one-server.ts";
import { until } from "../support/server.ts";

const it = oneServer({ ERA_POOL: "python=1" });
const hibernate = (session: SessionClient) => it.client.expect(200, "POST", `${session.path}/hibernate`);
const shell = (session: SessionClient, command: string, fields: object = {}): Promise<Body> =>
  it.client.expect(200, "POST", `${session.path}/shell`, { command, ...fields });

test("a shell command works in a session of any language, and leaves its variables alone", async () => {
  for (const [language, set, get] of [
    ["python", "x = 41", "print(x + 1)"],
    ["node", "let x = 41", "console.log(x + 1)"],
    ["bash", "x=41", "echo $((x + 1))"],
  ] as const) {
    const session = await it.client.create(`any-${language}`, { language });
    await session.run(set);
    const answer = await shell(session, "echo out; echo err >&2; pwd; echo $MINE > made; exit 3", {
      env: { MINE: "m" },
    });
    assert.deepEqual(
      [answer.stdout, answer.stderr, answer.exit_code],
      ["out\n/workspace\n", "err\n", 3],
      language,
    );
    assert.equal((await shell(session, "cat made")).stdout, "m\n");
    const before = (await session.get()).state.version;
    assert.equal(before, 1);
    await hibernate(session);
    assert.equal((await shell(session, "cat made | wc -c")).stdout.trim(), "2");
    await session.prints("42\n", get);
  }
});

test("a shell command's programs end quietly when nobody reads them any more", async () => {
  const session = await it.client.create("quiet");
  const { stdout, stderr } = await shell(session, "yes | head -1");
  assert.deepEqual([stdout, stderr], ["y\n", ""]);
});

test("a shell command that takes too long, or is interrupted, is ended with all that it started", async () => {
  const session = await it.client.create("slow-shell");
  await session.prints("", "x = 1");
  const answer = await shell(session, "sleep 100 & sleep 100", { timeout: 0.5 });
  assert.deepEqual([answer.exit_code, answer.outcome], [124, "timed_out"]);
  const running = shell(session, "trap '' INT; sleep 100; echo never");
  await until("it runs", async () => (await session.get()).status === "running");
  await it.client.expect(200, "POST", `${session.path}/interrupt`);
  assert.equal((await running).outcome, "interrupted");
  assert.equal((await shell(session, "pgrep -c sleep")).stdout.trim(), "0");
  await session.prints("1\n", "print(x)");
  assert.equal((await shell(session, "kill -9 $$")).exit_code, 137);
  assert.equal((await it.client.call("POST", `${session.path}/shell`, {})).status, 400);
  const made = await it.client.expect(200, "POST", "/api/sessions/made-by-shell/shell", {
    command: "echo 1 > one; pwd",
    language: "bash",
  });
  assert.deepEqual([made.created, made.stdout], [true, "/workspace\n"]);
  await it.client.session("made-by-shell").prints("1\n", "cat one");
});
