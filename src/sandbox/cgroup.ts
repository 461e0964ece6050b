/**
 * Limits on memory, CPU and number of processes, by cgroup v2 or by the older layout of one tree a controller (also in
 * its hybrid form). One group a sandbox, below one group for each data folder, so that a start finds what an earlier
 * crash left. A dead group that is still busy is retried for a bounded time.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { mkdir, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Limits } from "./policy.ts";

const CONTROLLERS = ["memory", "cpu", "pids"] as const;
type Controller = (typeof CONTROLLERS)[number];

/** Where groups can be made: one folder for v2, one for each controller for v1. */
type CgroupLayout = { version: 1 | 2; folders: Partial<Record<Controller, string>> };

const CPU_PERIOD_US = 100_000;
const REMOVE_ATTEMPTS = 200;

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
    ["cpu", "cpu.cfs_period_us", String(CPU_PERIOD_US)],
    ["cpu", "cpu.cfs_quota_us", quota],
    ["pids", "pids.max", String(limits.pids)],
  ];
}

/** Finds the layout from the texts of /proc/self/cgroup and /proc/self/mountinfo. */
export function findCgroupLayout(selfCgroup: string, mountinfo: string): CgroupLayout | null {
  const own = new Map<string, string>();
  for (const line of selfCgroup.trim().split("\n")) {
    const [, names = "", path = "/"] = line.match(/^\d+:([^:]*):(.*)$/) ?? [];
    for (const name of names.split(",")) own.set(name, path);
  }
  const folders: CgroupLayout["folders"] = {};
  let unified: string | null = null;
  for (const line of mountinfo.trim().split("\n")) {
    const [before = "", after = ""] = line.split(" - ");
    const [, , , mountRoot = "/", mountPoint = ""] = before.split(" ");
    const [type, , options = ""] = after.split(" ");
    const at = (path: string) =>
      join(mountPoint, mountRoot === "/" ? path : path.replace(mountRoot, "")).replace(/\/$/, "");
    if (type === "cgroup2") unified = at(own.get("") ?? "/");
    for (const controller of CONTROLLERS) {
      if (type === "cgroup" && options.split(",").includes(controller))
        folders[controller] = at(own.get(controller) ?? "/");
    }
  }
  if (Object.keys(folders).length > 0) return { version: 1, folders };
  if (unified === null) return null;
  return { version: 2, folders: { memory: unified, cpu: unified, pids: unified } };
}

export type CgroupTree = {
  version: 1 | 2;
  /** Controllers in force. */
  controllers: Controller[];
  create(name: string, limits: Limits): Promise<Cgroup>;
  /** Ends and removes every sandbox's group, with what is in it. */
  clear(): Promise<void>;
  dispose(): void;
};

export type Cgroup = {
  /** Folders whose cgroup.procs a process joins. */
  folders: string[];
  /** How often the kernel ended a process here for lack of memory. */
  oomKills(): number;
  memoryBytes(): number;
  setLimits(limits: Limits): void;
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
  const trees: Partial<Record<Controller, string>> = {};
  for (const controller of CONTROLLERS) {
    const parent = layout.folders[controller];
    const tree = parent && openTree(parent, `era-${instance}`, layout.version, controller);
    if (tree) trees[controller] = tree;
  }
  const controllers = CONTROLLERS.filter((controller) => trees[controller] !== undefined);
  if (controllers.length === 0) return null;
  const roots = [...new Set(Object.values(trees))];
  const { version } = layout;
  return {
    version,
    controllers,
    create: (name, limits) => createCgroup(trees, version, name, limits),
    clear: async () => {
      const names = new Set(roots.flatMap(subgroups));
      for (const name of names) await openCgroup(trees, version, name).remove();
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

function openTree(parent: string, name: string, version: 1 | 2, controller: Controller): string | null {
  const folder = join(parent, name);
  try {
    if (version === 2) writeFileSync(join(parent, "cgroup.subtree_control"), `+${controller}`);
    mkdirSync(folder, { recursive: true });
    if (version === 2) writeFileSync(join(folder, "cgroup.subtree_control"), `+${controller}`);
    return folder;
  } catch {
    return null; // not delegated to this user: doctor and health say which limits are missing
  }
}

async function createCgroup(
  trees: Partial<Record<Controller, string>>,
  version: 1 | 2,
  name: string,
  limits: Limits,
): Promise<Cgroup> {
  // The kernel makes and removes groups under a lock that can take a millisecond: not on the event loop.
  await Promise.all([...new Set(Object.values(trees))].map((root) => mkdir(join(root, name))));
  const cgroup = openCgroup(trees, version, name);
  cgroup.setLimits(limits);
  return cgroup;
}

function openCgroup(trees: Partial<Record<Controller, string>>, version: 1 | 2, name: string): Cgroup {
  const folders = [...new Set(Object.values(trees))].map((root) => join(root, name));
  const memory = trees.memory && join(trees.memory, name);
  const kill = () => {
    for (const folder of folders) killGroup(folder);
  };
  const isEmpty = () => folders.every((folder) => processes(folder).length === 0);
  return {
    folders,
    oomKills: () => (memory ? readOomKills(memory) : 0),
    setLimits: (limits) => {
      for (const [controller, file, value] of planCgroup(version, limits)) {
        const root = trees[controller];
        if (root !== undefined) writeIfPresent(join(root, name, file), value);
      }
    },
    memoryBytes: () => (memory ? readNumber(memory, ["memory.current", "memory.usage_in_bytes"]) : 0),
    kill,
    isEmpty,
    remove: async () => {
      for (let attempt = 0; !isEmpty() && attempt < REMOVE_ATTEMPTS; attempt++) {
        kill();
        await sleep(Math.min(1 + attempt, 50));
      }
      await Promise.all(folders.map(removeGroup));
    },
  };
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

function killGroup(folder: string): void {
  const together = join(folder, "cgroup.kill");
  if (existsSync(together)) {
    writeFileSync(together, "1");
    return;
  }
  // The sandbox's first process is among them, and all others die with it: a fork in between cannot escape.
  for (const pid of processes(folder)) {
    try {
      if (pid > 0) process.kill(pid, "SIGKILL");
    } catch {
      // it ended by itself
    }
  }
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

function readOomKills(folder: string): number {
  for (const file of ["memory.events", "memory.oom_control"]) {
    if (!existsSync(join(folder, file))) continue;
    const line = readFileSync(join(folder, file), "utf8").match(/^oom_kill (\d+)$/m);
    if (line) return Number(line[1]);
  }
  return 0;
}

function readNumber(folder: string, files: string[]): number {
  const file = files.find((name) => existsSync(join(folder, name)));
  return file === undefined ? 0 : Number(readFileSync(join(folder, file), "utf8"));
}
