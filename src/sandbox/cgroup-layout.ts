/** Where this host lets us make cgroups: version, folders, and on v2 which controllers reach them. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export const CONTROLLERS = ["memory", "cpu", "pids"] as const;
export type Controller = (typeof CONTROLLERS)[number];
/** On v1 a tree of its own may count what another one limits. */
export type Tree = Controller | "cpuacct";
const V1_TREES: readonly Tree[] = [...CONTROLLERS, "cpuacct"];

/**
 * v1: our own group in the tree of each controller. v2: the top of the one tree as mounted, and our own group in it.
 */
type CgroupLayout =
  | { version: 1; folders: Partial<Record<Tree, string>> }
  | { version: 2; top: string; own: string };

/** `at` says where a group of the hierarchy lies below the mount. */
function mountsIn(mountinfo: string) {
  return mountinfo
    .trim()
    .split("\n")
    .map((line) => {
      const [before = "", after = ""] = line.split(" - ");
      const [, , , mountRoot = "/", mountPoint = ""] = before.split(" ");
      const [type, , options = ""] = after.split(" ");
      const at = (path: string) =>
        join(mountPoint, mountRoot === "/" ? path : path.replace(mountRoot, "")).replace(/\/$/, "");
      return { type, mountPoint, options: options.split(","), at };
    });
}

/** Finds the layout from the texts of /proc/self/cgroup and /proc/self/mountinfo. */
export function findCgroupLayout(selfCgroup: string, mountinfo: string): CgroupLayout | null {
  const own = new Map(
    selfCgroup
      .trim()
      .split("\n")
      .map((line) => line.match(/^\d+:([^:]*):(.*)$/) ?? [])
      .flatMap(([, names = "", path = "/"]) => names.split(",").map((name) => [name, path] as const)),
  );
  const folders: Partial<Record<Tree, string>> = {};
  let unified: CgroupLayout | null = null;
  for (const { type, mountPoint, options, at } of mountsIn(mountinfo)) {
    if (type === "cgroup2") unified = { version: 2, top: mountPoint, own: at(own.get("") ?? "/") };
    if (type !== "cgroup") continue;
    for (const tree of V1_TREES) if (options.includes(tree)) folders[tree] = at(own.get(tree) ?? "/");
  }
  const isLimited = CONTROLLERS.some((controller) => folders[controller] !== undefined);
  return isLimited ? { version: 1, folders } : unified;
}

/** The folder below which each controller can be used; a controller that cannot is left out. */
export function openParents(layout: CgroupLayout): Partial<Record<Tree, string>> {
  if (layout.version === 1) return layout.folders;
  const parents: Partial<Record<Controller, string>> = {};
  for (const controller of CONTROLLERS) {
    // The true top may hold processes and pass controllers on; any other group only without processes of its own.
    const parent = [layout.top, layout.own].find((folder) =>
      passOn(folder, controller, folder === layout.own),
    );
    if (parent !== undefined) parents[controller] = parent;
  }
  return parents;
}

function passOn(folder: string, controller: Controller, isOwn: boolean): boolean {
  try {
    writeFileSync(join(folder, "cgroup.subtree_control"), `+${controller}`);
    return true;
  } catch (error) {
    if (!isOwn || (error as NodeJS.ErrnoException).code !== "EBUSY") return false;
  }
  try {
    emptyInto(folder, join(folder, "era-host"));
    writeFileSync(join(folder, "cgroup.subtree_control"), `+${controller}`);
    return true;
  } catch {
    return false; // not delegated to this user
  }
}

/** Moves the processes of our own group, this server among them, into a leaf of it. */
function emptyInto(folder: string, leaf: string): void {
  mkdirSync(leaf, { recursive: true });
  for (const pid of readFileSync(join(folder, "cgroup.procs"), "utf8").split("\n").filter(Boolean)) {
    writeFileSync(join(leaf, "cgroup.procs"), pid);
  }
}
