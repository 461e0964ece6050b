/** GET /health: that the server answers, which isolation is in force, and what it is short of. Without a key. */
import { statfs } from "node:fs/promises";
import type { FastifyInstance } from "fastify";
import { health } from "../api/server.ts";
import type { LoopWatch } from "../lib/loop-watch.ts";
import type { SnapshotSupport } from "../live/host.ts";
import type { SandboxPool } from "../live/pool.ts";
import type { Facility } from "../sandbox/probe.ts";
import { serve } from "./serve.ts";

export type HealthInfo = {
  version: string;
  facilities: readonly Facility[];
  snapshots: SnapshotSupport;
  image: string;
  pool: SandboxPool;
  dataDir: string;
  loop: LoopWatch;
};

export function addHealth(
  app: FastifyInstance,
  { version, facilities, snapshots, image, pool, dataDir, loop }: HealthInfo,
): void {
  const isolation = Object.fromEntries(
    facilities.map(({ name, state, detail }) => [name, { state, detail }]),
  );
  serve(app, health, async () => {
    const now = new Date().toISOString();
    const problems = await problemsOf(dataDir);
    return {
      status: problems.length === 0 ? ("healthy" as const) : ("degraded" as const),
      ...(problems.length === 0 ? {} : { problems }),
      version,
      time: now,
      timestamp: now,
      image,
      sandboxes: pool.counts,
      event_loop: viewLoop(loop),
      isolation,
      imaging: snapshots,
    };
  });
}

/** How long the server did not come to what was due, of the last one to two minutes. */
function viewLoop({ recent }: LoopWatch) {
  const rounded = (ms: number) => Math.round(ms * 10) / 10;
  return { longest_delay_ms: rounded(recent.longestMs), p99_delay_ms: rounded(recent.p99Ms) };
}

const MIB = 1 << 20;
const LOW_DISK_BYTES = 64 * MIB;

/** Sentences for a person; none when nothing is short. */
async function problemsOf(dataDir: string): Promise<string[]> {
  const { bavail, bsize, files, ffree } = await statfs(dataDir);
  const free = bavail * bsize;
  const problems: string[] = [];
  if (free < LOW_DISK_BYTES)
    problems.push(`The disk of the data folder is full: ${Math.floor(free / MIB)} MiB are free`);
  // A file system without a fixed number of files says that it has none.
  if (files > 0 && ffree === 0) problems.push("The disk of the data folder can take no more files");
  return problems;
}
