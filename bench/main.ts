/**
 * `era bench`: ours and Jupyter Server with ipykernel, interleaved in one run, as a table and as JSON.
 * usage: main.ts [--quick] [--no-peer] [--json FILE]
 */
import { readFileSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { TestServer } from "../test/support/server.ts";
import { type Jupyter, startJupyter } from "./jupyter.ts";
import { LoadClient, sustain, timeEach } from "./load.ts";
import { type Figures, summarise } from "./statistics.ts";

type Row = { name: string; unit: "ms" | "per second" | "MiB"; figures: Figures | number; reach?: string };

const { values: options } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    "no-peer": { type: "boolean", default: false },
    json: { type: "string" },
  },
});
const scale = options.quick ? 0.1 : 1;
const times = (count: number) => Math.max(3, Math.round(count * scale));
const ROUNDS = options.quick ? 1 : 4;
const SECONDS = options.quick ? 1 : 5;
const rows: Row[] = [];
const samples = new Map<string, number[]>();

function collect(name: string, more: readonly number[]): void {
  samples.set(name, [...(samples.get(name) ?? []), ...more]);
}

function report(name: string, reach?: string): void {
  rows.push({
    name,
    unit: "ms",
    figures: summarise(samples.get(name) ?? []),
    ...(reach === undefined ? {} : { reach }),
  });
}

function reportValue(name: string, unit: Row["unit"], value: number, reach?: string): void {
  rows.push({ name, unit, figures: value, ...(reach === undefined ? {} : { reach }) });
}

/** Waits until as many sandboxes are warm as the pool keeps. */
async function warmedUp(client: LoadClient, size: number): Promise<void> {
  for (let attempt = 0; attempt < 2_000; attempt++) {
    const health = (await client.call("GET", "/health")) as { sandboxes: { warm: number } };
    if (health.sandboxes.warm >= size) return;
    await sleep(5);
  }
  throw new Error("the pool does not fill");
}

async function startToFirstResult(client: LoadClient, warm: number): Promise<number[]> {
  const found: number[] = [];
  for (let at = 0; at < times(25); at++) {
    if (warm > 0) await warmedUp(client, warm);
    const startedAt = performance.now();
    const { id } = await client.call("POST", "/api/sessions", { language: "python" });
    await client.run(String(id));
    found.push(performance.now() - startedAt);
    await client.call("DELETE", `/api/sessions/${id}`);
  }
  return found;
}

async function interleaved(warm: LoadClient, cold: LoadClient, peer: Jupyter | null): Promise<void> {
  for (let at = 0; at < 300; at++) await warm.run("main"); // warm-up
  await peer?.ask("run_quick 20");
  for (let round = 0; round < ROUNDS; round++) {
    collect("warm start to first result", await startToFirstResult(warm, 4));
    collect("cold start to first result", await startToFirstResult(cold, 0));
    if (peer) collect("Jupyter: kernel start to first result", await peer.ask("start"));
    collect("run", await timeEach(times(1500), () => warm.run("main")));
    if (peer) collect("Jupyter: run, plain client", await peer.ask(`run ${times(40)}`));
    if (peer) collect("Jupyter: run, quick acknowledgements", await peer.ask(`run_quick ${times(100)}`));
    await warmedUp(warm, 4);
    collect("one-shot, one client", await timeEach(times(40), () => warm.execute()));
  }
  report("warm start to first result", "p50 <= 10");
  report("cold start to first result", "p50 <= 80");
  if (peer) report("Jupyter: kernel start to first result");
  report("run", "p50 <= 1.5, p99 <= 10");
  if (peer) report("Jupyter: run, plain client");
  if (peer) report("Jupyter: run, quick acknowledgements");
  report("one-shot, one client", "p50 <= 15");
}

async function throughput(client: LoadClient, peer: Jupyter | null): Promise<void> {
  const one = await sustain(8, SECONDS, () => client.run("main"));
  reportValue("runs on one session, 8 clients", "per second", one.perSecond, ">= 1500");
  const eight = await sustain(8, SECONDS, (at) => client.run(`main-${at}`));
  reportValue("runs on 8 sessions, 8 clients", "per second", eight.perSecond);
  const oneShots = await sustain(4, SECONDS * 4, () => client.execute());
  reportValue("one-shot, 4 clients, sustained", "per second", oneShots.perSecond, ">= 45");
  collect("one-shot, 4 clients", oneShots.samples);
  report("one-shot, 4 clients");
  if (peer === null) return;
  const cycles = await peer.ask(`cycle ${SECONDS * 4}`);
  reportValue("Jupyter: start, run, delete, one client", "per second", 1000 / summarise(cycles).p50);
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

async function manySessions(server: TestServer, client: LoadClient, peer: Jupyter | null): Promise<void> {
  const count = times(200);
  await warmedUp(client, 4);
  const before = memoryOf(server);
  const startedAt = performance.now();
  await sustainCount(count, 4, (at) => client.run(`many-${at}`));
  reportValue(
    `${count} live sessions: started`,
    "per second",
    (count / (performance.now() - startedAt)) * 1000,
  );
  reportValue("memory of an idle session (PSS)", "MiB", (memoryOf(server) - before) / count, "<= 12");
  if (peer)
    reportValue(
      "Jupyter: memory of an idle kernel (PSS)",
      "MiB",
      Number((await peer.ask("memory"))[0]) / 1024,
    );
  collect(
    `run among ${count} live sessions`,
    await timeEach(times(1000), (at) => client.run(`many-${(at * 7) % count}`)),
  );
  report(`run among ${count} live sessions`);
}

async function sustainCount(
  count: number,
  clients: number,
  act: (at: number) => Promise<unknown>,
): Promise<void> {
  let next = 0;
  const client = async () => {
    while (next < count) await act(next++);
  };
  await Promise.all(Array.from({ length: clients }, client));
}

function print(): void {
  const cell = (value: number) => (value < 100 ? value.toFixed(2) : value.toFixed(0)).padStart(9);
  console.log(
    `${"".padEnd(44)}${["p50", "p95", "p99"].map((name) => name.padStart(9)).join("")}  unit        reach`,
  );
  for (const { name, unit, figures, reach } of rows) {
    const shown =
      typeof figures === "number"
        ? `${cell(figures)}${" ".repeat(18)}`
        : [figures.p50, figures.p95, figures.p99].map(cell).join("");
    console.log(`${name.padEnd(44)}${shown}  ${unit.padEnd(10)}  ${reach ?? ""}`);
  }
}

async function main(): Promise<void> {
  const settings = { ERA_POOL: "python=4", ERA_MAX_LIVE: "400", ERA_LOG_LEVEL: "error" };
  const server = await TestServer.start(settings);
  const coldServer = await TestServer.start({ ...settings, ERA_POOL: "python=0" });
  const client = new LoadClient(server.url);
  const coldClient = new LoadClient(coldServer.url);
  await using peer = options["no-peer"] ? null : await startJupyter();
  await interleaved(client, coldClient, peer);
  await throughput(client, peer);
  await manySessions(server, client, peer);
  for (const each of [client, coldClient]) each.close();
  for (const each of [server, coldServer]) {
    await each.stop();
    await each.removeData();
  }
  print();
  const machine = {
    cores: cpus().length,
    model: cpus()[0]?.model,
    kernel: readFileSync("/proc/version", "utf8").split(" ")[2],
  };
  if (options.json)
    writeFileSync(
      options.json,
      `${JSON.stringify({ at: new Date().toISOString(), machine, rows }, null, 2)}\n`,
    );
}

await main();
process.exit(0);
