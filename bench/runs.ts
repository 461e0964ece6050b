/** What a run, a start and a one-shot cost, beside Jupyter Server, interleaved in one run. */
import { readFileSync } from "node:fs";
import { TestServer } from "../test/support/server.ts";
import { startJupyter } from "./jupyter.ts";
import { LoadClient, sustain, sustainCount, timeEach, warmedUp } from "./load.ts";
import type { Peer } from "./peer.ts";
import type { Bench } from "./report.ts";
import { summarise } from "./statistics.ts";

export async function measureRuns(bench: Bench): Promise<void> {
  const settings = { ERA_POOL: "python=4", ERA_MAX_LIVE: "400", ERA_LOG_LEVEL: "error" };
  const server = await TestServer.start(settings);
  const coldServer = await TestServer.start({ ...settings, ERA_POOL: "python=0" });
  const client = new LoadClient(server.url);
  const coldClient = new LoadClient(coldServer.url);
  await using peer = bench.withPeers ? await startJupyter() : null;
  await interleaved(bench, peer, client, coldClient);
  await throughput(bench, peer, client);
  await manySessions(bench, peer, server, client);
  for (const each of [client, coldClient]) each.close();
  for (const each of [server, coldServer]) {
    await each.stop();
    await each.removeData();
  }
}

async function startToFirstResult({ scale }: Bench, client: LoadClient, warm: number): Promise<number[]> {
  const found: number[] = [];
  for (let at = 0; at < scale.times(25); at++) {
    if (warm > 0) await warmedUp(client, warm);
    const startedAt = performance.now();
    const { id } = await client.call("POST", "/api/sessions", { language: "python" });
    await client.run(String(id));
    found.push(performance.now() - startedAt);
    await client.call("DELETE", `/api/sessions/${id}`);
  }
  return found;
}

async function interleaved(
  bench: Bench,
  peer: Peer | null,
  warm: LoadClient,
  cold: LoadClient,
): Promise<void> {
  const { report, scale } = bench;
  for (let at = 0; at < 300; at++) await warm.run("main"); // warm-up
  await peer?.ask("run_quick 20");
  for (let round = 0; round < (scale.quick ? 1 : 4); round++) {
    report.collect("warm start to first result", await startToFirstResult(bench, warm, 4));
    report.collect("cold start to first result", await startToFirstResult(bench, cold, 0));
    if (peer) report.collect("Jupyter: kernel start to first result", await peer.ask("start"));
    report.collect("run", await timeEach(scale.times(1500), () => warm.run("main")));
    if (peer) report.collect("Jupyter: run, plain client", await peer.ask(`run ${scale.times(40)}`));
    if (peer)
      report.collect("Jupyter: run, quick acknowledgements", await peer.ask(`run_quick ${scale.times(100)}`));
    await warmedUp(warm, 4);
    report.collect("one-shot, one client", await timeEach(scale.times(40), () => warm.execute()));
  }
  report.times("warm start to first result", { p50: 10 });
  report.times("cold start to first result", { p50: 80 });
  if (peer) report.times("Jupyter: kernel start to first result");
  report.times("run", { p50: 1.5, p99: 10 });
  if (peer) report.times("Jupyter: run, plain client");
  if (peer) report.times("Jupyter: run, quick acknowledgements");
  report.times("one-shot, one client", { p50: 15 });
}

async function throughput({ report, scale }: Bench, peer: Peer | null, client: LoadClient): Promise<void> {
  const seconds = scale.quick ? 1 : 5;
  const one = await sustain(8, seconds, () => client.run("main"));
  report.value("runs on one session, 8 clients", "per second", one.perSecond, { least: 1500 });
  const eight = await sustain(8, seconds, (at) => client.run(`main-${at}`));
  report.value("runs on 8 sessions, 8 clients", "per second", eight.perSecond);
  const oneShots = await sustain(4, seconds * 4, () => client.execute());
  report.value("one-shot, 4 clients, sustained", "per second", oneShots.perSecond, { least: 45 });
  report.collect("one-shot, 4 clients", oneShots.samples);
  report.times("one-shot, 4 clients");
  if (peer === null) return;
  const cycles = await peer.ask(`cycle ${seconds * 4}`);
  report.value("Jupyter: start, run, delete, one client", "per second", 1000 / summarise(cycles).p50);
}

/** Proportional set size of every process in the sandboxes of a server, in MiB. */
function memoryOf(server: TestServer): number {
  let kib = 0;
  for (const pid of server.processes()) {
    kib += proportionalSize(pid);
  }
  return kib / 1024;
}

function proportionalSize(pid: number): number {
  try {
    return Number(readFileSync(`/proc/${pid}/smaps_rollup`, "utf8").match(/^Pss:\s+(\d+)/m)?.[1] ?? 0);
  } catch {
    return 0; // it ended in between
  }
}

async function manySessions(
  { report, scale }: Bench,
  peer: Peer | null,
  server: TestServer,
  client: LoadClient,
): Promise<void> {
  const count = scale.times(200);
  await warmedUp(client, 4);
  const before = memoryOf(server);
  const startedAt = performance.now();
  await sustainCount(count, 4, (at) => client.run(`many-${at}`));
  report.value(
    `${count} live sessions: started`,
    "per second",
    (count / (performance.now() - startedAt)) * 1000,
  );
  report.value("memory of an idle session (PSS)", "MiB", (memoryOf(server) - before) / count, { most: 12 });
  if (peer)
    report.value(
      "Jupyter: memory of an idle kernel (PSS)",
      "MiB",
      Number((await peer.ask("memory"))[0]) / 1024,
    );
  report.collect(
    `run among ${count} live sessions`,
    await timeEach(scale.times(1000), (at) => client.run(`many-${(at * 7) % count}`)),
  );
  report.times(`run among ${count} live sessions`);
}
