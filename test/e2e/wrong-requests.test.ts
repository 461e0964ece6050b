/**
 * Requests, commands and settings that are wrong, with what is said of each: the table of docs/errors.md. With
 * ERA_TEST_WRITE=1 the answers are written down anew, to be read before they are committed.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { oneServer } from "../support/one-server.ts";

type WrongRequest = { method: string; path: string; body?: unknown; status?: number; answer?: object };
type WrongCommand = { command: string[]; status?: number; says?: string };
type WrongSetting = { env: Record<string, string>; says?: string };
type Wrong = { requests: WrongRequest[]; commands: WrongCommand[]; settings: WrongSetting[] };

const FILE = fileURLToPath(new URL("../fixtures/wrong-requests.json", import.meta.url));
const ERA = fileURLToPath(new URL("../../era", import.meta.url));
const WRITES = process.env.ERA_TEST_WRITE === "1";
const wrong = JSON.parse(readFileSync(FILE, "utf8")) as Wrong;
const it = oneServer({ ERA_POOL: "python=0" });

async function prepare(): Promise<void> {
  const session = await it.client.create("a");
  await it.client.create("b", { language: "bash" });
  await it.client.expect(200, "PUT", `${session.path}/files/notes.txt`, "notes");
  await it.client.expect(200, "POST", `${session.path}/folders/sub`);
}
after(() => {
  if (WRITES) writeFileSync(FILE, `${JSON.stringify(wrong, null, 1)}\n`);
});

/** What is expected and what came of one; the latter is kept when answers are written. */
function compare<T extends object>(expected: T, found: Partial<T>): void {
  if (WRITES) Object.assign(expected, found);
  else assert.deepEqual({ ...expected, ...found }, expected);
}

test("each wrong request is refused with its field, what it may be, or what to do", async () => {
  assert.ok(wrong.requests.length >= 100);
  await prepare();
  for (const request of wrong.requests) {
    const { method, path, body } = request;
    const { status, body: answer } = await it.client.call(method, path, body);
    const { error, code, hint } = answer;
    compare(request, { status, answer: { error, code, ...(hint === undefined ? {} : { hint }) } });
    assert.match(error, /^Cannot /);
    assert.ok(
      hint !== undefined || /: /.test(error),
      `${method} ${path}: '${error}' says neither why nor what to do`,
    );
  }
});

test("each wrong command says how it is written, or what is wrong", { timeout: 120_000 }, () => {
  for (const wrongCommand of wrong.commands) {
    const env = { ...process.env, ERA_PORT: new URL(it.server.url).port };
    const { status, stderr } = spawnSync(ERA, wrongCommand.command, { env, encoding: "utf8", input: "" });
    compare(wrongCommand, { status: status ?? -1, says: stderr.trim() });
    assert.match(stderr, /^(usage: era|Cannot )/);
  }
});

test("each wrong setting is named, with what it may be", () => {
  for (const setting of wrong.settings) {
    const { status, stderr } = spawnSync(ERA, ["up"], {
      env: { PATH: process.env.PATH, ...setting.env },
      encoding: "utf8",
      timeout: 20_000,
    });
    compare(setting, { says: stderr.trim() });
    assert.notEqual(status, 0);
    assert.ok(stderr.startsWith("Cannot "), stderr);
  }
});
