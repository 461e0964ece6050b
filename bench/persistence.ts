/** What it costs to remember: saving after runs, sleep and waking, copies, and many sessions on few slots. */
import { execFileSync } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { TestServer } from "../test/support/server.ts";
import { LoadClient, sustainCount, timeEach, warmedUp } from "./load.ts";
import { installPackages, type Peer, startPeer } from "./peer.ts";
import type { Bench, Report } from "./report.ts";

const PACKAGES = ["python3-dill", "python3-cloudpickle", "python3-numpy"];
const SMALL = `import json, math
counter = 41
items = [1, 2, 3]
table = {"a": items, "b": {"c": 1.5}}
def use(): return counter + len(items)
class Point:
    def __init__(self, x): self.x = x
point = Point(7)`;
const LARGE = `${SMALL}\nimport numpy\nbig = numpy.arange(200 * (1 << 20) // 8)`;
const STEP = "counter += 1";
const SIZES = { small: SMALL, large: LARGE } as const;
type Size = keyof typeof SIZES;
const WARM = 2;
/** After a warm sandbox was made: then it has got ready to be woken into. */
const READY_MS = 300;
type Listing = { versions: { bytes_written: number }[] };

export async function measurePersistence(bench: Bench): Promise<void> {
  await using peer = bench.withPeers ? startPicklers() : null;
  await withServer({ ERA_POOL: `python=${WARM}`, ERA_DISK_MIB: "4096" }, async (client) => {
    await savingOnAndOff(bench, client);
    await sleepAndWake(bench, client, peer);
    await copies(bench, client);
  });
  await withServer({ ERA_POOL: "python=0" }, (client) => wakeWithoutPool(bench, client));
  await manyAsleep(bench);
}

async function withServer(
  settings: Record<string, string>,
  work: (client: LoadClient, server: TestServer) => Promise<void>,
): Promise<void> {
  const server = await TestServer.start({ ERA_LOG_LEVEL: "error", ...settings });
  const client = new LoadClient(server.url);
  await work(client, server);
  client.close();
  await server.stop();
  await server.removeData();
}

export function startPicklers(): Peer {
  installPackages(PACKAGES);
  return startPeer("pickle_peer.py", []);
}

async function make(client: LoadClient, id: string, size: Size, durability: string): Promise<void> {
  await client.call("POST", "/api/sessions", {
    session_id: id,
    language: "python",
    memory_mib: 1024,
    durability,
  });
  await client.run(id, SIZES[size]);
  await client.call("POST", `/api/sessions/${id}/hibernate`);
  await client.run(id, size === "large" ? "use(), big[0]" : "use()");
}

/** Runs of sessions that differ only in whether they are saved, in turn, so that noise meets all alike. */
async function savingOnAndOff({ report, scale }: Bench, client: LoadClient): Promise<void> {
  const kinds = ["none", "async", "sync"] as const;
  for (const size of ["small", "large"] as const) {
    for (const kind of kinds) await make(client, `${size}-${kind}`, size, kind);
    for (const kind of kinds) await timeEach(100, () => client.run(`${size}-${kind}`, STEP));
    for (let round = 0; round < scale.times(40); round++) {
      for (const kind of kinds) {
        const name = `run, ${size} session, ${kind}`;
        report.collect(name, await timeEach(20, () => client.run(`${size}-${kind}`, STEP)));
      }
    }
    for (const kind of kinds) report.times(`run, ${size} session, ${kind}`);
    const reach = size === "small" ? { most: 0.3 } : { most: 1 };
    report.difference(
      `added by saving, ${size} session`,
      `run, ${size} session, async`,
      `run, ${size} session, none`,
      reach,
    );
    await sleep(200);
    const listing = (await client.call("GET", `/api/sessions/${size}-async/versions`)) as Listing;
    const written = listing.versions.slice(0, 10).map((version) => version.bytes_written);
    report.value(`written per run, ${size} session`, "KiB", Math.max(...written) / 1024, { most: 64 });
  }
}

async function sleepOnce(report: Report, client: LoadClient, size: "small" | "large"): Promise<void> {
  const id = `sleeper-${size}`;
  const [change, use] = size === "large" ? ["big[1] += 1", "big[7]"] : [STEP, "use()"];
  await client.run(id, change);
  const hibernate = () => client.call("POST", `/api/sessions/${id}/hibernate`);
  report.collect(`hibernate, ${size} session`, await timeEach(1, hibernate));
  await warmedUp(client, WARM); // who wakes a session has not used it for a while
  await sleep(READY_MS);
  report.collect(`wake to first result, ${size} session`, await timeEach(1, () => client.run(id, use)));
}

async function sleepAndWake({ report, scale }: Bench, client: LoadClient, peer: Peer | null): Promise<void> {
  for (const size of ["small", "large"] as const) {
    const id = `sleeper-${size}`;
    await make(client, id, size, "async");
    const count = scale.times(size === "small" ? 60 : 12);
    for (let round = 0; round < count; round++) {
      await sleepOnce(report, client, size);
      if (peer) await besides(report, peer, size);
    }
    report.times(`hibernate, ${size} session`);
    report.times(`wake to first result, ${size} session`, size === "small" ? { p50: 80 } : { p50: 600 });
    for (const way of peer ? ["dill", "cloudpickle"] : []) {
      report.times(`${way}: dump, ${size} namespace`);
      report.times(`${way}: load, ${size} namespace`);
    }
  }
}

/** As when more sessions wake at once than the pool keeps sandboxes for. */
async function wakeWithoutPool({ report, scale }: Bench, client: LoadClient): Promise<void> {
  const id = "sleeper";
  const name = "wake to first result, small session, no warm sandbox";
  await make(client, id, "small", "async");
  for (let round = 0; round < scale.times(40); round++) {
    await client.call("POST", `/api/sessions/${id}/hibernate`);
    report.collect(name, await timeEach(1, () => client.run(id, "use()")));
  }
  report.times(name);
}

/** The same by those who pickle a whole namespace. */
export async function besides(report: Bench["report"], peer: Peer, size: Size): Promise<void> {
  for (const way of ["dill", "cloudpickle"]) {
    const [dump = 0, load = 0] = await peer.ask(`${way} ${size} 1`);
    report.collect(`${way}: dump, ${size} namespace`, [dump]);
    report.collect(`${way}: load, ${size} namespace`, [load]);
  }
}

async function copies({ report, scale }: Bench, client: LoadClient): Promise<void> {
  for (const size of ["small", "large"] as const) {
    const count = scale.times(size === "small" ? 30 : 6);
    for (let round = 0; round < count; round++) {
      const id = `copy-${size}-${round}`;
      report.collect(
        `duplicate, ${size} session`,
        await timeEach(1, () =>
          client.call("POST", `/api/sessions/sleeper-${size}/duplicate`, { new_id: id }),
        ),
      );
      report.collect(`first run of a copy, ${size}`, await timeEach(1, () => client.run(id, "use()")));
      await client.call("DELETE", `/api/sessions/${id}`);
    }
    report.times(`duplicate, ${size} session`);
    report.times(`first run of a copy, ${size}`);
  }
}

/** Many sessions, few of them live, used at random: each must have what is its own. */
async function manyAsleep({ report, scale }: Bench): Promise<void> {
  const [count, slots, uses] = scale.quick ? [60, 12, 60] : [5_000, 200, 2_000];
  await withServer({ ERA_POOL: "python=0", ERA_MAX_LIVE: String(slots) }, async (client, server) => {
    const startedAt = performance.now();
    await sustainCount(count, 8, (at) => client.run(`many-${at}`, `mine = ${at}; items = [mine] * 10`));
    const perSecond = (count / (performance.now() - startedAt)) * 1000;
    report.value(`${count} sessions on ${slots} slots: made`, "per second", perSecond);
    const name = `run in one of ${count} sessions on ${slots} slots`;
    const errors: unknown[] = [];
    await sustainCount(uses, 8, async () => {
      const at = Math.floor(Math.random() * count);
      const callAt = performance.now();
      try {
        const answer = await client.run(`many-${at}`, "print(mine, len(items))");
        if (answer.stdout !== `${at} 10\n`) errors.push(answer);
      } catch (error) {
        errors.push(error);
      }
      report.collect(name, [performance.now() - callAt]);
    });
    report.times(name);
    if (errors.length > 0) console.error("the first error:", errors[0]);
    report.value("errors among them", "count", errors.length, { most: 0 });
    const kib = Number(execFileSync("du", ["-sk", server.dataDir], { encoding: "utf8" }).split("\t")[0]);
    report.value("disk of each of them", "KiB", kib / count);
  });
}
