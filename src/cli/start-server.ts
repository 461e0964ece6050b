/**
 * The composition root: makes every part of a server in order, and takes all of it down in the reverse order. What a
 * part needs is passed to it here and nowhere else.
 */

import { createHash, randomBytes } from "node:crypto";
import { accessSync, constants, existsSync, readFileSync, statSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { dirname, join } from "node:path";
import { type Config, ConfigError, type PackageIndexes } from "../config.ts";
import { EgressGateway } from "../egress/gateway.ts";
import { createHttpServer } from "../http/server.ts";
import type { Image } from "../image/find.ts";
import { ensureRuntime } from "../image/runtime.ts";
import { type DescriptorPlan, descriptorLimit, Places, planDescriptors } from "../lib/descriptors.ts";
import { RetryLater } from "../lib/retry-later.ts";
import { DiskMonitor } from "../live/disk-monitor.ts";
import { checkSocketPath, folderAt, removeUnowned, sessionsDir } from "../live/folder.ts";
import type { SandboxHost } from "../live/host.ts";
import { hostLauncher } from "../live/launcher.ts";
import { isLeft } from "../live/move-folder.ts";
import { defaultLimits } from "../live/plan-sandbox.ts";
import { SandboxPool } from "../live/pool.ts";
import { probeHost } from "../live/probe-host.ts";
import { removeStrayImages } from "../live/snapshots.ts";
import type { Logger } from "../log.ts";
import { type Destination, normalizeHost } from "../protocol/egress.ts";
import { OneShots } from "../runs/one-shot.ts";
import { type Cgroup, type CgroupTree, openCgroupTree } from "../sandbox/cgroup.ts";
import { CA_PATH } from "../sandbox/policy.ts";
import { type Facility, unacceptable } from "../sandbox/probe.ts";
import { seccompPolicy } from "../sandbox/seccomp.ts";
import { UidRange } from "../sandbox/uids.ts";
import { Hibernation } from "../session/hibernation.ts";
import { SessionRegistry, STOP_PATIENCE_MS } from "../session/registry.ts";
import { openSqliteStore } from "../store/sqlite/open.ts";
import type { FolderPlace, Store } from "../store/store.ts";
import { openImaging } from "./open-imaging.ts";

type RunningServer = AsyncDisposable & { url: string; facilities: readonly Facility[] };

const SQLITE_BUSY = 5;
const SECRET_FILE = "secret";
const MAX_KEPT_NAMESPACES = 320;
const REMOVE_AGAIN_MS = 1_000;

export async function startServer(config: Config, image: Image, log: Logger): Promise<RunningServer> {
  await using stack = new AsyncDisposableStack();
  const { host, store, left } = await openHost(config, image, log, stack);
  const facilities = await probeHost(host);
  refuseUnsafe(facilities, config);

  const disk = stack.use(
    new DiskMonitor(config.dataDir, { bytes: config.limits.diskBytes, files: config.limits.diskFiles }, log),
  );
  const { pool: sizes, maxLive } = host.config;
  const limits = defaultLimits(host.config);
  const pool = stack.use(new SandboxPool({ launcher: hostLauncher(host), sizes, maxLive, limits, log }));
  const onError = (error: unknown) => log.error({ err: error }, "cannot remove a sandbox");
  const { outputBytes } = config;
  const oneShots = stack.use(new OneShots({ pool, disk, egress: host.egress, outputBytes, onError }));
  const registry = new SessionRegistry({ host, store, pool, disk });
  const hibernation = stack.use(new Hibernation(() => registry.known(), config.idleMs, log));
  pool.reclaim = () => hibernation.reclaim();
  await registry.takeOver(left);
  await pool.fill();

  const { imaging } = host;
  const maxConnections = planDescriptors(descriptorLimit()).clients;
  const health = {
    version: readVersion(),
    facilities,
    imaging,
    image: image.name,
    pool,
    dataDir: config.dataDir,
  };
  const app = createHttpServer({ config, log, store, registry, oneShots, health, maxConnections });
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

/** Everything that a sandbox is made with, after what an earlier server left behind was removed. */
export async function openHost(
  wanted: Config,
  image: Image,
  log: Logger,
  stack: AsyncDisposableStack,
): Promise<{ host: SandboxHost; store: Store; left: Map<string, Cgroup> }> {
  const asRoot = process.getuid?.() === 0;
  const descriptors = planDescriptors(descriptorLimit());
  const config = withinDescriptors(wanted, descriptors);
  checkSocketPath(config.dataDir);
  await mkdir(sessionsDir(config.dataDir), { recursive: true, mode: 0o711 });
  if (asRoot) for (const path of [config.dataDir, image.rootfs]) checkReachable(path);
  const runtime = await ensureRuntime(config.home, image, seccompPolicy());
  const store = stack.use(openStore(config));
  const cgroups = openCgroupTree(instanceOf(config.dataDir));
  stack.defer(() => cgroups?.dispose());
  const leaving = await stopMoves(store, cgroups, config.dataDir);
  const folders = await store.listFolders();
  const places = [...folders, ...leaving];
  const owned = new Set(places.map(({ key }) => key));
  await cgroups?.clear(owned);
  const left = await findLeftSandboxes(cgroups, folders);
  const removed = await removeUnowned(config.dataDir, owned);
  log.info({ removed_folders: removed, sandboxes: left.size }, "cleaned up after the last server");
  const uids = stack.use(
    new UidRange(
      config.uidBase,
      places.map(({ uid }) => uid),
      Math.min(MAX_KEPT_NAMESPACES, descriptors.namespaces),
    ),
  );
  const secret = await readSecret(join(config.dataDir, SECRET_FILE));
  const caBundle = findCaBundle();
  const leftovers = stack.use(new RetryLater(REMOVE_AGAIN_MS));
  const guestPlaces = new Places(descriptors.guests);
  const egress = stack.use(new EgressGateway(indexHosts(config.indexes), guestPlaces, log));
  const parts = {
    config,
    log,
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
  const bare = { ...parts, imager: null, imaging: { supported: false, detail: "not looked at yet" } };
  const host = { ...parts, ...(await openImaging(bare, instanceOf(config.dataDir), stack)) };
  await removeStrayImages(config.dataDir, new Set(await store.listImages()));
  return { host, store, left };
}

/**
 * Ends what holds sessions that were moving into a warm sandbox when the last server ended: what has not arrived was not
 * taken up there either. Answers the folders that the moves began with: sessions go on with them when they are used.
 */
async function stopMoves(store: Store, cgroups: CgroupTree | null, dataDir: string): Promise<FolderPlace[]> {
  const places: FolderPlace[] = [];
  for (const { folder } of await store.listMoves()) {
    if (folder?.movedFrom === undefined) continue;
    const { key, uid } = folder.movedFrom;
    if (isLeft(folderAt(dataDir, key, uid))) await cgroups?.open(folder.key).remove();
    places.push(folder.movedFrom);
  }
  return places;
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

/** Sandboxes of sessions that an earlier server left running, by session; groups with nothing in them are removed. */
async function findLeftSandboxes(
  cgroups: CgroupTree | null,
  folders: readonly { id: string; key: string }[],
): Promise<Map<string, Cgroup>> {
  if (cgroups === null) return new Map();
  const inUse = new Set(cgroups.inUse());
  await cgroups.clear(inUse);
  return new Map(folders.filter(({ key }) => inUse.has(key)).map(({ id, key }) => [id, cgroups.open(key)]));
}

/** What an agent proves itself with to a later server of the same data folder. */
async function readSecret(path: string): Promise<string> {
  try {
    const secret = randomBytes(32).toString("hex");
    await writeFile(path, secret, { mode: 0o600, flag: "wx" });
    return secret;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    return readFile(path, "utf8");
  }
}

function openStore(config: Config): Store {
  try {
    return openSqliteStore({ path: join(config.dataDir, "era.db"), keepRuns: config.keepRuns });
  } catch (cause) {
    if ((cause as { errcode?: number }).errcode !== SQLITE_BUSY) throw cause;
    throw new ConfigError(
      `Cannot use the data folder '${config.dataDir}': another server is using it (see ERA_PORT, and --server of run)`,
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

/** Sandboxes enter as users of their own: each folder above must let others pass. */
function checkReachable(path: string): void {
  for (let folder = path; folder !== "/"; folder = dirname(folder)) {
    if ((statSync(folder).mode & constants.S_IXOTH) !== 0) continue;
    throw new ConfigError(
      `Cannot use '${path}': sandboxes have users of their own, and '${folder}' lets no other user pass`,
    );
  }
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

function readVersion(): string {
  return (
    JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as { version: string }
  ).version;
}
