/**
 * Sleeping and waking by image again and again, with a state that grows: nothing lost, nothing left, no slower at the
 * end.
 */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { SessionClient } from "../support/client.ts";
import { TestServer, until } from "../support/server.ts";

/** `./era test` takes a few cycles; the long form sets ERA_TEST_CYCLES=300. */
const CYCLES = Number(process.env.ERA_TEST_CYCLES ?? 6);
const TOGETHER = CYCLES < 100 ? { sessions: 3, cycles: 3 } : { sessions: 20, cycles: 50 };
const MAX_SLOWER = 1.5;
const YOUNG_EVERY = 5;

const MAKE = `import threading, time, subprocess
def numbers():
    n = 0
    while True:
        n += 1
        yield n
it, kept, ticks = numbers(), [], 0
def tick():
    global ticks
    while True:
        time.sleep(0.005)
        ticks += 1
threading.Thread(target=tick, daemon=True).start()
child = subprocess.Popen(["cat"], stdin=-1, stdout=-1, bufsize=0)
open("log", "w").close()`;
const GROW = `before = ticks
kept.append([next(it), "x" * 1000])
with open("log", "a") as file: file.write(f"{len(kept)}\\n")
child.stdin.write(b"%d\\n" % len(kept))
while ticks == before: time.sleep(0.002)
print(len(kept), kept[-1][0], child.stdout.readline().strip().decode(), sum(1 for _ in open("log")))`;

async function cycle(session: SessionClient, time: number): Promise<number> {
  await session.client.expect(200, "POST", `${session.path}/hibernate`);
  const startedAt = performance.now();
  await session.prints(`${time} ${time} ${time} ${time}\n`, GROW);
  return performance.now() - startedAt;
}

async function firstCycle(server: TestServer, id: string): Promise<number> {
  const session = await server.client.create(id);
  await session.prints("", MAKE);
  const took = await cycle(session, 1);
  await session.delete();
  return took;
}

/** What there is of this host that a leak would add to. */
function traces(server: TestServer) {
  return {
    processes: server.processes().length,
    mounts: readFileSync("/proc/self/mountinfo", "utf8").split("\n").length,
    folders: server.folders().length,
    images: readdirSync(join(server.dataDir, "images")).length,
    litter: readdirSync("/tmp").filter((name) => name.startsWith("cr-tmpfs")).length,
  };
}

const median = (values: number[]) => values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;

test(`${CYCLES} cycles of one session`, { timeout: CYCLES * 20_000 }, async (context) => {
  const server = await TestServer.start({ ERA_POOL: "python=0" });
  const session = await server.client.create("s");
  await session.prints("", MAKE);
  const times = [await cycle(session, 1)];
  await until("the first image is removed", () => traces(server).images === 0);
  const before = traces(server);
  const young: number[] = [];
  for (let time = 2; time <= CYCLES; time++) {
    times.push(await cycle(session, time));
    if (time % YOUNG_EVERY === 0) young.push(await firstCycle(server, `young-${time}`));
  }
  await until("images are removed", () => traces(server).images === 0);
  assert.deepEqual(traces(server), before);
  // Against new sessions of the same minutes: whatever else this machine does, it does to both.
  const lastThird = (values: number[]) => median(values.slice(-Math.ceil(values.length / 3)));
  const [old, fresh] = [lastThird(times), lastThird(young)];
  context.diagnostic(
    `wake of the last cycles: ${old.toFixed(0)} ms, of new sessions: ${fresh.toFixed(0)} ms`,
  );
  if (CYCLES >= 100) assert.ok(old < fresh * MAX_SLOWER, `${old} ms, of new sessions ${fresh} ms`);
  await server.stop();
  await server.removeData();
});

test(
  `${TOGETHER.cycles} cycles of each of ${TOGETHER.sessions} sessions at once`,
  { timeout: 3_600_000 },
  async () => {
    const server = await TestServer.start({ ERA_POOL: "python=0" });
    const work = Array.from({ length: TOGETHER.sessions }, async (_, at) => {
      const session = await server.client.create(`s${at}`);
      await session.prints("", MAKE);
      for (let time = 1; time <= TOGETHER.cycles; time++) await cycle(session, time);
      await session.delete();
    });
    await Promise.all(work);
    await until("nothing is left", () => {
      const { processes, folders, images } = traces(server);
      return processes === 0 && folders === 0 && images === 0;
    });
    await server.stop();
    await server.removeData();
  },
);
