/** The server's end of a line, against a peer that says what the test wants it to. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { endFrame } from "../../test/support/end-frame.ts";
import { HELLO, ScriptedAgent } from "../../test/support/scripted-agent.ts";
import { GuestChannel } from "./channel.ts";
import type { GuestProgram } from "./run-frame.ts";

const PROGRAM: GuestProgram = {
  id: "run_1",
  name: "<run 1>",
  code: "1",
  timeoutMs: 60_000,
  outputBytes: 1 << 20,
  onOutput: () => undefined,
};
const END = endFrame();
const soon = () => AbortSignal.timeout(5_000);

async function openLine(expected: string | null = null) {
  const path = join(mkdtempSync(join(tmpdir(), "era-line-")), "agent.sock");
  const channel = await GuestChannel.open(path, { token: "secret", expected, orphanMs: 1_000, preload: [] });
  const lost = Promise.withResolvers<Error>();
  channel.listen({ onLost: lost.resolve });
  return { path, channel, lost: lost.promise };
}

/** A line whose agent has said hello. */
async function greetedLine() {
  const line = await openLine();
  const peer = new ScriptedAgent(line.path);
  peer.say(HELLO);
  await line.channel.greeted(soon());
  return { ...line, peer };
}

test("an agent that says hello is welcomed, with what it must prove itself with later", async () => {
  const { channel, peer } = await greetedLine();
  assert.deepEqual(await peer.hears("welcome"), {
    type: "welcome",
    token: "secret",
    orphan_ms: 1_000,
    preload: [],
  });
  channel.close(new Error("the test is over"));
});

test("output comes in order and before the end; a run that is over takes no more", async () => {
  const { channel, peer, lost } = await greetedLine();
  const heard: string[] = [];
  const run = channel.run({ ...PROGRAM, onOutput: (stream, chunk) => heard.push(`${stream} ${chunk}`) });
  await peer.hears("run");
  peer.say({ type: "output", run: "run_1", stream: "stdout" }, Buffer.from("a"));
  peer.say({ type: "output", run: "run_1", stream: "stderr" }, Buffer.from("b"));
  peer.say({ ...END, results_bytes: 2, has_data: true }, Buffer.from("[]{}"));
  const ended = await run;
  assert.deepEqual(heard, ["stdout a", "stderr b"]);
  assert.deepEqual([ended.results.toString(), ended.data?.toString()], ["[]", "{}"]);
  peer.say({ type: "output", run: "run_1", stream: "stdout" }, Buffer.from("late"));
  assert.match((await lost).message, /not in progress/);
});

for (const [what, header] of Object.entries({
  "a second hello": HELLO,
  "an answer that nobody asked for": { type: "frozen", error: null },
  "the end of another run": { ...END, run: "run_2" },
  "a field that is not of the protocol": { type: "late", run: "run_1", stream: "stdout", more: 1 },
  "a kind of frame that there is not": { type: "shutdown" },
  "a payload shorter than its header says": { ...END, results_bytes: 9 },
})) {
  test(`${what} ends the line, and the run in progress with it`, async () => {
    const { channel, peer, lost } = await greetedLine();
    const run = channel.run(PROGRAM);
    await peer.hears("run");
    peer.say(header);
    await assert.rejects(run);
    await lost;
    assert.equal(channel.isLost, true);
    await assert.rejects(channel.run(PROGRAM), "nothing more is begun on it");
  });
}

test("bytes that are no frame end the line before they are collected", async () => {
  const { peer, lost } = await greetedLine();
  peer.socket.write(Buffer.from("ffffffffffffffff", "hex"));
  assert.match((await lost).message, /over the limit/);
});

test("an agent that hangs up in a run rejects it once; one that the server closed is no loss", async () => {
  const first = await greetedLine();
  const run = first.channel.run(PROGRAM);
  await first.peer.hears("run");
  first.peer.socket.destroy();
  await assert.rejects(run, /hung up/);
  assert.match((await first.lost).message, /hung up/);
  const second = await greetedLine();
  let isTold = false;
  second.channel.listen({
    onLost: () => {
      isTold = true;
    },
  });
  second.channel.close(new Error("it sleeps"));
  await once(second.peer.socket, "close");
  assert.equal(isTold, false);
});

test("on the line of an earlier server's agent only who has its token is heard, however many others call first", async () => {
  const { path, channel } = await openLine("the token");
  const strangers = Array.from({ length: 8 }, (_, at) => {
    const peer = new ScriptedAgent(path);
    peer.say({ ...HELLO, token: at === 0 ? null : `guess ${at}` });
    return once(peer.socket, "close");
  });
  await Promise.all(strangers);
  const silent = new ScriptedAgent(path);
  await once(silent.socket, "connect");
  const agent = new ScriptedAgent(path);
  agent.say({ ...HELLO, token: "the token", version: 7 });
  assert.equal((await channel.greeted(soon())).version, 7);
  await once(silent.socket, "close");
  channel.close(new Error("the test is over"));
});

test("a question waits for the one before it, and each gets its own answer", async () => {
  const { channel, peer } = await greetedLine();
  const listing = channel.inspect();
  const rolledBack = channel.rollback(3, 4);
  await peer.hears("inspect");
  peer.say({ type: "inspected" }, Buffer.from(JSON.stringify({ variables: [], versions: [], not_kept: [] })));
  assert.deepEqual((await listing).variables, []);
  await peer.hears("rollback");
  peer.say({ type: "rolled_back", error: null, epoch: 2, restored: null });
  assert.equal((await rolledBack).epoch, 2);
  channel.close(new Error("the test is over"));
});
