/**
 * The composition root: makes every part of a server in order, and takes all of it down in the reverse order. What a
 * part needs is passed to it here and nowhere else.
 */

import { createHash } from "node:crypto";
import { accessSync, constants, existsSync } from "node:fs";
import { statfs } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { dirname, join } from "node:path";
import { type Config, ConfigError, type PackageIndexes } from "../config.ts";
import { EgressGateway } from "../egress/gateway.ts";
import { KeyRing } from "../http/key-ring.ts";
import { createHttpServer } from "../http/server.ts";
import type { Image } from "../image/find.ts";
import { keepInUse } from "../image/in-use.ts";
import { ensureRuntime } from "../image/runtime.ts";
import { type DescriptorPlan, descriptorLimit, Places, planDescriptors } from "../lib/descriptors.ts";
import { LoopWatch } from "../lib/loop-watch.ts";
import { RetryLater } from "../lib/retry-later.ts";
import { openDataFolder, readSecret } from "../live/data-folder.ts";
import { DiskMonitor } from "../live/disk-monitor.ts";
import type { SandboxHost } from "../live/host.ts";
import { hostLauncher } from "../live/launcher.ts";
import { clearLeftBehind } from "../live/left-behind.ts";
import { defaultLimits } from "../live/plan-sandbox.ts";
import { SandboxPool } from "../live/pool.ts";
import { Preload } from "../live/preload.ts";
import { probeHost } from "../live/probe-host.ts";
import type { Logger } from "../log.ts";
import { addMcp } from "../mcp/http.ts";
import { Metrics } from "../metrics.ts";
import { type Destination, normalizeHost } from "../protocol/egress.ts";
import { OneShots } from "../runs/one-shot.ts";
import { type Cgroup, openCgroupTree } from "../sandbox/cgroup.ts";
import { CA_PATH } from "../sandbox/policy.ts";
import { type Facility, unacceptable } from "../sandbox/probe.ts";
import { seccompPolicy } from "../sandbox/seccomp.ts";
import { UidRange } from "../sandbox/uids.ts";
import { Expiry } from "../session/expiry.ts";
import { Hibernation } from "../session/hibernation.ts";
import { SessionRegistry, STOP_PATIENCE_MS } from "../session/registry.ts";
import type { PlaceStore } from "../store/places.ts";
import { openSqliteStores } from "../store/sqlite/open.ts";
import type { Store } from "../store/store.ts";
import { openSnapshots } from "./open-snapshots.ts";
import { readVersion } from "./version.ts";

type RunningServer = AsyncDisposable & { url: string; facilities: readonly Facility[] };

const SQLITE_BUSY = 5;
const MAX_KEPT_NAMESPACES = 320;
const REMOVE_AGAIN_MS = 1_000;

type Stores = { store: Store; places: PlaceStore };

/** `open` opens the stores of a configuration; tests put others in their place. */
export async function startServer(
  config: Config,
  image: Image,
  log: Logger,
  open: (config: Config) => Stores = openStores,
): Promise<RunningServer> {
  await using stack = new AsyncDisposableStack();
  const { host, store, places, left } = await openHost({ config, image, log }, stack, open);
  const facilities = await probeHost(host);
  refuseUnsafe(facilities, config);

  const { disk, pool, oneShots } = makeRunners(host, stack);
  const registry = new SessionRegistry({ host, store, places, pool, disk });
  const hibernation = stack.use(new Hibernation(() => registry.residents(), config.idleMs, log));
  pool.reclaim = () => hibernation.reclaim();
  stack.use(new Expiry({ store, sessions: registry, expireMs: config.expireMs, log }));
  await registry.takeOver(left);
  await pool.fill();

  const loop = stack.use(watchLoop(log));
  const maxConnections = planDescriptors(descriptorLimit()).clients;
  const health = {
    version: readVersion(),
    facilities,
    snapshots: host.snapshots,
    image: image.name,
    pool,
    dataDir: config.dataDir,
    loop,
  };
  watchServer(host, { pool, store, loop });
  const keys = new KeyRing(store, config.apiKey);
  await keys.load();
  const app = await createHttpServer({
    config,
    log,
    metrics: host.metrics,
    store,
    keys,
    registry,
    oneShots,
    health,
    loop,
    maxConnections,
  });
  addMcp(app, { version: health.version, maxBodyBytes: config.bodyBytes });
  // Together: requests in progress end when their runs do, and runs are ended by the registry.
  stack.defer(async () => {
    const closing = app.close();
    const impatient = setTimeout(() => oneShots.stop(), STOP_PATIENCE_MS);
    const hopeless = setTimeout(() => app.server.closeAllConnections(), 2 * STOP_PATIENCE_MS);
    await Promise.all([registry[Symbol.asyncDispose](), closing]);
    for (const timer of [impatient, hopeless]) clearTimeout(timer);
  });
  await app.listen({ host: config.host, port: config.port });
  const { port } = app.server.address() as AddressInfo;
  const owned = stack.move();
  const address = config.host.includes(":") ? `[${config.host}]` : config.host;
  return { url: `http://${address}:${port}`, facilities, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** Where programs run, before there are sessions. */
function makeRunners(host: SandboxHost, stack: AsyncDisposableStack) {
  const { config, log, metrics } = host;
  const disk = stack.use(new DiskMonitor(config.dataDir, log));
  const { pool: sizes, maxLive, slotWaitMs: patienceMs, outputBytes } = config;
  const limits = defaultLimits(config);
  const launcher = hostLauncher(host);
  const pool = stack.use(new SandboxPool({ launcher, sizes, maxLive, limits, patienceMs, log }));
  pool.onClaim = (language, isWarm) => metrics.claimed(language, isWarm);
  const onError = (error: unknown) => log.error({ err: error }, "cannot remove a sandbox");
  const diskQuota = { bytes: config.limits.diskBytes, files: config.limits.diskFiles };
  const oneShots = stack.use(
    new OneShots({
      pool,
      disk,
      egress: host.egress,
      metrics,
      preload: host.preload,
      outputBytes,
      diskQuota,
      onError,
    }),
  );
  return { disk, pool, oneShots };
}

type Watched = { pool: SandboxPool; store: Store; loop: LoopWatch };

function watchServer({ metrics, config }: SandboxHost, { pool, store, loop }: Watched): void {
  metrics.watch({
    sandboxes: () => pool.counts,
    countSessions: () => store.countSessions(null),
    loopDelayMs: () => loop.recent.longestMs,
    freeDiskBytes: async () => {
      const { bavail, bsize } = await statfs(config.dataDir);
      return bavail * bsize;
    },
  });
}

function watchLoop(log: Logger): LoopWatch {
  return new LoopWatch(({ delayMs, operations }) =>
    log.warn({ delay_ms: delayMs, operations }, "the server was held up"),
  );
}

/** Everything that a sandbox is made with, after what an earlier server left behind was removed. */
export async function openHost(
  { config: wanted, image, log }: { config: Config; image: Image; log: Logger },
  stack: AsyncDisposableStack,
  open: (config: Config) => Stores = openStores,
): Promise<{ host: SandboxHost; left: Map<string, Cgroup> } & Stores> {
  const asRoot = process.getuid?.() === 0;
  const descriptors = planDescriptors(descriptorLimit());
  const config = withinDescriptors(wanted, descriptors);
  await openDataFolder(config.dataDir, image.rootfs, asRoot);
  const runtime = await ensureRuntime(config.home, image, seccompPolicy());
  stack.use(await keepInUse([image.dir, dirname(runtime.dir)]));
  const { store, places } = open(config);
  stack.use(store);
  const cgroups = openCgroupTree(instanceOf(config.dataDir));
  stack.defer(() => cgroups?.dispose());
  const left = await clearLeftBehind(places, cgroups, config.dataDir, log);
  const maxNamespaces = Math.min(MAX_KEPT_NAMESPACES, descriptors.namespaces);
  const uids = stack.use(new UidRange(config.uidBase, left.uids, maxNamespaces));
  const secret = await readSecret(config.dataDir);
  const caBundle = findCaBundle();
  const leftovers = stack.use(new RetryLater(REMOVE_AGAIN_MS));
  const guestPlaces = new Places(descriptors.guests);
  const egress = stack.use(new EgressGateway(indexHosts(config.indexes), guestPlaces, log));
  const parts = {
    config,
    log,
    metrics: new Metrics(),
    preload: new Preload(config.preload),
    image,
    runtime,
    caBundle,
    cgroups,
    uids,
    egress,
    guestPlaces,
    leftovers,
    asRoot,
    secret,
  };
  const bare = { ...parts, criu: null, snapshots: { supported: false, detail: "not looked at yet" } };
  const host = { ...parts, ...(await openSnapshots(bare, instanceOf(config.dataDir), stack)) };
  return { host, store, places, left: left.sandboxes };
}

/** Settings that this process's own limit of descriptors allows. */
function withinDescriptors(config: Config, { sandboxes }: DescriptorPlan): Config {
  const openFiles = Math.min(config.limits.openFiles, descriptorLimit());
  return {
    ...config,
    maxLive: Math.min(config.maxLive, sandboxes),
    limits: { ...config.limits, openFiles },
  };
}

/** Where package indexes are that the operator has named. */
function indexHosts(indexes: PackageIndexes): Destination[] {
  return Object.values(indexes).flatMap((text) => {
    if (text === undefined) return [];
    const url = new URL(text);
    const port = Number(url.port || (url.protocol === "https:" ? 443 : 80));
    return [{ host: normalizeHost(url.hostname) ?? url.hostname, port }];
  });
}

export function openStores({ dataDir, keepRuns, recordBytes }: Config): Stores {
  try {
    return openSqliteStores({ path: join(dataDir, "era.db"), keepRuns, recordBytes });
  } catch (cause) {
    if ((cause as { errcode?: number }).errcode !== SQLITE_BUSY) throw cause;
    throw new ConfigError(
      `Cannot use the data folder '${dataDir}': another server is using it (see ERA_PORT, and --server of run)`,
      {
        cause,
      },
    );
  }
}

function refuseUnsafe(facilities: readonly Facility[], config: Config): void {
  const missing = unacceptable(facilities, config.allowWeak);
  if (missing.length === 0) return;
  const list = missing.map(({ name, detail }) => `${name} (${detail})`).join(", ");
  throw new ConfigError(
    `Cannot isolate sessions on this host: ${list}. ERA_ALLOW_WEAK=NAME starts without, at your risk`,
  );
}

function findCaBundle(): string | null {
  if (!existsSync(CA_PATH)) return null;
  accessSync(CA_PATH, constants.R_OK);
  return CA_PATH;
}

/** Tells servers with different data folders on one host apart. */
function instanceOf(dataDir: string): string {
  return createHash("sha256").update(dataDir).digest("hex").slice(0, 10);
}
