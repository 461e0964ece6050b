/**
 * Limits on memory, CPU and number of processes, by cgroup v2 or by the older layout of one tree a controller (also in
 * its hybrid form). One group a sandbox, below one group for each data folder, so that a start finds what an earlier
 * crash left. A dead group that is still busy is retried for a bounded time.
 */
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmdirSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { mkdir, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { CONTROLLERS, type Controller, findCgroupLayout, openParents, type Tree } from "./cgroup-layout.ts";
import type { Limits } from "./policy.ts";

type Trees = Partial<Record<Tree, string>>;

const CPU_PERIOD_US = 100_000;
/** What a sandbox's sockets may hold besides, as a share of its memory. */
const SOCKET_SHARE = 1 / 16;
const REMOVE_ATTEMPTS = 200;
const LIMIT_FILE = { 1: "memory.limit_in_bytes", 2: "memory.max" };
const OOM_FILE = { 1: "memory.oom_control", 2: "memory.events" };
const PEAK_FILE = { 1: "memory.max_usage_in_bytes", 2: "memory.peak" };
/** Read into, and looked at before anything else is. */
const METER_BYTES = Buffer.alloc(4096);
const CPU_USAGE = /^usage_usec (\d+)$/m;
const OOM_KILLS = /^oom_kill (\d+)$/m;

/** The files to write for a sandbox's limits: [controller, file, value]. */
export function planCgroup(version: 1 | 2, limits: Limits): [Controller, string, string][] {
  const quota = String(Math.round(limits.cpus * CPU_PERIOD_US));
  if (version === 2) {
    return [
      ["memory", "memory.max", String(limits.memoryBytes)],
      ["memory", "memory.swap.max", "0"],
      ["cpu", "cpu.max", `${quota} ${CPU_PERIOD_US}`],
      ["pids", "pids.max", String(limits.pids)],
    ];
  }
  return [
    ["memory", "memory.limit_in_bytes", String(limits.memoryBytes)],
    // Without it a memory bomb would move on into the host's swap.
    ["memory", "memory.swappiness", "0"],
    // What sockets hold is counted apart here; v2 counts it with all else.
    ["memory", "memory.kmem.tcp.limit_in_bytes", String(Math.floor(limits.memoryBytes * SOCKET_SHARE))],
    ["cpu", "cpu.cfs_period_us", String(CPU_PERIOD_US)],
    ["cpu", "cpu.cfs_quota_us", quota],
    ["pids", "pids.max", String(limits.pids)],
  ];
}

export type CgroupTree = {
  version: 1 | 2;
  /** Controllers in force. */
  controllers: Controller[];
  create(name: string, limits: Limits): Promise<Cgroup>;
  /** Names of the groups in which something runs. */
  inUse(): string[];
  open(name: string): Cgroup;
  /** Ends and removes every sandbox's group, with what is in it, but for those named. */
  clear(spare: ReadonlySet<string>): Promise<void>;
  dispose(): void;
};

/** Counts what is used in a group while one run goes on. */
type Meter = {
  begin(): void;
  /**
   * Since begin(): processor time of all processes, in microseconds; and what was in use at most, in bytes. Null where
   * the host does not count it.
   */
  read(): { cpuTimeUs: number | null; memoryPeakBytes: number | null };
  /** How often the kernel ended a process here for lack of memory. */
  oomKills(): number;
};

export type Cgroup = {
  /** Folders whose cgroup.procs a process joins. */
  folders: string[];
  /** Its files stay open until the group is removed: to open them takes longer than all else that a run asks of it. */
  meter(): Meter;
  /** What programs hold in memory now, in bytes, without what the kernel can take back; null where nobody counts it. */
  memoryBytes(): number | null;
  /** In bytes; null where there is none. */
  memoryLimitBytes(): number | null;
  setLimits(limits: Limits): void;
  /** Host pids of what runs here. */
  pids(): number[];
  kill(): void;
  isEmpty(): boolean;
  remove(): Promise<void>;
};

/** Makes the group that holds all sandboxes of one server; null where this host allows none. */
export function openCgroupTree(instance: string): CgroupTree | null {
  const layout = findCgroupLayout(
    readFileSync("/proc/self/cgroup", "utf8"),
    readFileSync("/proc/self/mountinfo", "utf8"),
  );
  if (layout === null) return null;
  const trees: Trees = {};
  for (const [name, parent] of Object.entries(openParents(layout)) as [Tree, string][]) {
    const folder = openTree(parent, `era-${instance}`, layout.version, name);
    if (folder !== null) trees[name] = folder;
  }
  const controllers = CONTROLLERS.filter((controller) => trees[controller] !== undefined);
  if (controllers.length === 0) return null;
  const roots = [...new Set(Object.values(trees))];
  const { version } = layout;
  const open = (name: string) => openCgroup(trees, version, name);
  const groups = () => [...new Set(roots.flatMap(subgroups))];
  return {
    version,
    controllers,
    create: (name, limits) => createCgroup(trees, version, name, limits),
    inUse: () => groups().filter((name) => !open(name).isEmpty()),
    open,
    clear: async (spare) => {
      const stray = groups().filter((name) => !spare.has(name));
      await Promise.all(stray.map((name) => open(name).remove()));
    },
    dispose: () => {
      for (const root of roots) {
        try {
          rmdirSync(root);
        } catch {
          // another sandbox's group is still in it: the next start clears it
        }
      }
    },
  };
}

function openTree(parent: string, name: string, version: 1 | 2, controller: Tree): string | null {
  const folder = join(parent, name);
  try {
    mkdirSync(folder, { recursive: true });
    if (version === 2) writeFileSync(join(folder, "cgroup.subtree_control"), `+${controller}`);
    return folder;
  } catch {
    return null; // not delegated to this user: doctor and health say which limits are missing
  }
}

async function createCgroup(trees: Trees, version: 1 | 2, name: string, limits: Limits): Promise<Cgroup> {
  // The kernel makes and removes groups under a lock that can take a millisecond: not on the event loop.
  await Promise.all([...new Set(Object.values(trees))].map((root) => mkdir(join(root, name))));
  const cgroup = openCgroup(trees, version, name);
  try {
    cgroup.setLimits(limits);
    cgroup.meter(); // opened now, and not by the first run
    return cgroup;
  } catch (error) {
    await cgroup.remove();
    throw error;
  }
}

function openCgroup(trees: Trees, version: 1 | 2, name: string): Cgroup {
  const folders = [...new Set(Object.values(trees))].map((root) => join(root, name));
  const memory = trees.memory && join(trees.memory, name);
  const kill = () => {
    for (const folder of folders) killGroup(folder);
  };
  const isEmpty = () => folders.every((folder) => processes(folder).length === 0);
  let meter: (Meter & Disposable) | null = null;
  return {
    folders,
    meter: () => {
      meter ??= openMeter(trees, version, name);
      return meter;
    },
    memoryLimitBytes: () => (memory ? readMemoryLimit(join(memory, LIMIT_FILE[version])) : null),
    memoryBytes: () => (memory ? readMemoryBytes(join(memory, "memory.stat"), version) : null),
    setLimits: (limits) => {
      for (const [controller, file, value] of planCgroup(version, limits)) {
        const root = trees[controller];
        if (root !== undefined) writeIfPresent(join(root, name, file), value);
      }
    },
    pids: () => processes(folders[0] ?? ""),
    kill,
    isEmpty,
    remove: async () => {
      meter?.[Symbol.dispose]();
      for (let attempt = 0; !isEmpty() && attempt < REMOVE_ATTEMPTS; attempt++) {
        kill();
        await sleep(Math.min(1 + attempt, 50));
      }
      await Promise.all(folders.map(removeGroup));
    },
  };
}

/** On v2 a peak is reset, and told, by one descriptor; only new kernels can reset it. */
function openMeter(trees: Trees, version: 1 | 2, name: string): Meter & Disposable {
  const file = (tree: Tree, file: string) => (trees[tree] === undefined ? "" : join(trees[tree], name, file));
  const cpuFile = version === 1 ? file("cpuacct", "cpuacct.usage") : file("cpu", "cpu.stat");
  let cpu = openMeterFile(cpuFile, "r");
  let peak = openMeterFile(file("memory", PEAK_FILE[version]), "r+");
  let oom = openMeterFile(file("memory", OOM_FILE[version]), "r");
  const cpuTimeUs = () => {
    const text = readMeterFile(cpu);
    if (text === null) return null;
    return version === 1 ? Math.round(Number(text) / 1000) : Number(CPU_USAGE.exec(text)?.[1] ?? 0);
  };
  let before: number | null = null;
  let isReset = false;
  return {
    begin: () => {
      isReset = resetMeterFile(peak);
      before = cpuTimeUs();
    },
    read: () => {
      const now = cpuTimeUs();
      const text = isReset ? readMeterFile(peak) : null;
      return {
        cpuTimeUs: now === null || before === null ? null : now - before,
        memoryPeakBytes: text === null ? null : Number(text),
      };
    },
    oomKills: () => Number(OOM_KILLS.exec(readMeterFile(oom) ?? "")?.[1] ?? 0),
    [Symbol.dispose]: () => {
      for (const descriptor of [cpu, peak, oom]) if (descriptor !== null) closeSync(descriptor);
      cpu = peak = oom = null; // the numbers are other files' from now on
    },
  };
}

function openMeterFile(path: string, flags: "r" | "r+"): number | null {
  try {
    return openSync(path, flags);
  } catch {
    return null; // the host does not count it, or the group is gone
  }
}

function readMeterFile(descriptor: number | null): string | null {
  if (descriptor === null) return null;
  try {
    return METER_BYTES.toString("latin1", 0, readSync(descriptor, METER_BYTES, 0, METER_BYTES.length, 0));
  } catch {
    return null; // the group is gone
  }
}

function resetMeterFile(descriptor: number | null): boolean {
  try {
    return descriptor !== null && writeSync(descriptor, "0", 0) > 0;
  } catch {
    return false;
  }
}

function readMemoryBytes(file: string, version: 1 | 2): number | null {
  try {
    const text = readFileSync(file, "utf8");
    const parts = version === 1 ? ["total_rss", "total_shmem"] : ["anon", "shmem"];
    const sizes = parts.map((part) => Number(new RegExp(`^${part} (\\d+)$`, "m").exec(text)?.[1] ?? 0));
    return sizes.reduce((sum, size) => sum + size, 0);
  } catch {
    return null; // the group is gone
  }
}

function readMemoryLimit(file: string): number | null {
  try {
    const limit = Number(readFileSync(file, "utf8"));
    return Number.isNaN(limit) ? null : limit; // "max"
  } catch {
    return null; // the group is gone
  }
}

function subgroups(root: string): string[] {
  return readdirSync(root, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name);
}

function writeIfPresent(path: string, value: string): void {
  if (existsSync(path)) writeFileSync(path, value);
}

function processes(folder: string): number[] {
  try {
    return readFileSync(join(folder, "cgroup.procs"), "utf8").split("\n").filter(Boolean).map(Number);
  } catch {
    return []; // removed already
  }
}

/**
 * The newest first: a sandbox's first process holds the ends of terminals, and whoever sees one close may yet write a
 * file, when nothing is to change any more. All others die with that process: a fork in between cannot escape.
 */
function killGroup(folder: string): void {
  for (const pid of processes(folder).toSorted((one, other) => other - one)) {
    try {
      if (pid > 0) process.kill(pid, "SIGKILL");
    } catch {
      // it ended by itself
    }
  }
  const together = join(folder, "cgroup.kill");
  if (existsSync(together)) writeFileSync(together, "1");
}

async function removeGroup(folder: string): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    try {
      await rmdir(folder);
      return;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "ENOENT") return;
      if (code !== "EBUSY" || attempt >= REMOVE_ATTEMPTS) throw error;
      await sleep(Math.min(1 + attempt, 50));
    }
  }
}
