/** Sleep and waking by process images: how long, how long nothing runs, and how large, for sessions of three sizes. */
import { setTimeout as sleep } from "node:timers/promises";
import { TestServer } from "../test/support/server.ts";
import { measureGvisor } from "./gvisor.ts";
import { LoadClient, timeEach } from "./load.ts";
import { besides, startPicklers } from "./persistence.ts";
import type { Bench, Report } from "./report.ts";

/** Sizes of the data, beside the interpreter's own 9 MB. */
const SIZES_MB = [0, 10, 100, 500];
const FLUSH_MS = 300;
const MIB = 1 << 20;
/** A generator that is in use: the saved state alone would lose it. */
const codeOf = (mb: number) => `def numbers():
    n = 0
    while True:
        n += 1
        yield n
it = numbers()
data = bytearray(b"x") * (${mb} << 20)`;

type Seen = { state: { imaging: { image: { bytes: number; took_ms: number } | null; lost: string | null } } };

export async function measureImages(bench: Bench): Promise<void> {
  await measureSizes(bench);
  if (bench.withPeers) await measurePeers(bench);
}

/** They keep less (dill: no generator, no thread), or run slower all the time (gVisor). */
async function measurePeers({ report, scale }: Bench): Promise<void> {
  const rounds = scale.times(12);
  const small = 10;
  const gvisor = await measureGvisor(small, rounds);
  if (gvisor !== null) {
    report.collect(`gVisor: checkpoint, ${small} MB`, gvisor.checkpointMs);
    report.collect(`gVisor: restore to first result, ${small} MB`, gvisor.restoreMs);
    report.times(`gVisor: checkpoint, ${small} MB`);
    report.times(`gVisor: restore to first result, ${small} MB`);
  }
  await using peer = startPicklers();
  for (const size of ["small", "large"] as const) {
    for (let round = 0; round < rounds; round++) await besides(report, peer, size);
    for (const step of ["dump", "load"]) report.times(`dill: ${step}, ${size} namespace`);
  }
}

/** Answers how large the image is. */
async function sleepAndWake(
  report: Report,
  client: LoadClient,
  { id, name }: { id: string; name: string },
): Promise<number> {
  const path = `/api/sessions/${id}`;
  await client.run(id, "next(it)");
  const hibernate = await timeEach(1, () => client.call("POST", `${path}/hibernate`));
  const { image, lost } = ((await client.call("GET", path)) as Seen).state.imaging;
  if (image === null) throw new Error(`no image was made: ${lost ?? "none was wanted"}`);
  report.collect(`hibernate by image, ${name}`, hibernate);
  report.collect(`nothing runs meanwhile, ${name}`, [image.took_ms]);
  await sleep(FLUSH_MS); // by then the image is on disk: what sleeps is at rest
  report.collect(
    `wake by image to first result, ${name}`,
    await timeEach(1, () => client.run(id, "next(it), len(data)")),
  );
  return image.bytes;
}

async function measureSizes({ report, scale }: Bench): Promise<void> {
  const server = await TestServer.start({
    ERA_POOL: "python=0",
    ERA_LOG_LEVEL: "error",
    ERA_DISK_MIB: "8192",
  });
  const client = new LoadClient(server.url);
  for (const mb of scale.quick ? SIZES_MB.slice(0, 1) : SIZES_MB) {
    const id = `imaged-${mb}`;
    const path = `/api/sessions/${id}`;
    await client.call("POST", "/api/sessions", { session_id: id, language: "python", memory_mib: 2048 });
    await client.run(id, codeOf(mb));
    await sleep(500);
    let bytes = 0;
    for (let round = 0; round < scale.times(mb > 100 ? 8 : 24); round++)
      bytes = await sleepAndWake(report, client, { id, name: `${mb} MB` });
    const isSmall = mb <= 10;
    report.times(`hibernate by image, ${mb} MB`);
    report.times(`nothing runs meanwhile, ${mb} MB`, isSmall ? { p50: 150 } : undefined);
    report.times(`wake by image to first result, ${mb} MB`, isSmall ? { p50: 200 } : undefined);
    report.value(`image, ${mb} MB`, "MiB", bytes / MIB);
    await client.call("DELETE", path);
  }
  client.close();
  await server.stop();
  await server.removeData();
}
