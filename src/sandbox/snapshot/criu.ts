/**
 * Snapshots: all processes of a sandbox written to a folder, and made again from it, by CRIU. The folder belongs to
 * the server alone. What a snapshot holds runs only where it fits: on the kernel, the processor and the image that it
 * was made on.
 */
import { mkdir, open, readdir, readFile, stat, statfs, writeFile } from "node:fs/promises";
import { availableParallelism, cpus, release } from "node:os";
import { dirname, join } from "node:path";
import { Gate } from "../../lib/gate.ts";
import { removeTree } from "../../lib/remove-tree.ts";
import { runCommand } from "../../lib/run-command.ts";
import type { Cgroup } from "../cgroup.ts";
import { firstProcess } from "../first-process.ts";
import { adoptedSandbox, type Sandbox } from "../launch.ts";
import { MEMORY_MOUNTS } from "../mounts.ts";
import type { SandboxPolicy } from "../policy.ts";
import {
  type CriuPlace,
  criuEnvironment,
  emptyAtDump,
  planDump,
  planRestore,
  type SnapshotFacts,
} from "./plan.ts";

/** The limit of all that is done for one snapshot, the wait for its turn included. */
const TIMEOUT_MS = 240_000;
const MIN_FREE_BYTES = 2 * 2 ** 30;
const LOG = "criu.log";

/** A snapshot, and the host uid whose processes it holds. */
type Source = SnapshotFacts & { folder: string; uid: number };

export class Criu {
  readonly #criu: CriuPlace;
  /** Each takes a core, and many at once would only slow each other. */
  readonly #gate = new Gate(Math.max(2, availableParallelism()));

  constructor(criu: CriuPlace) {
    this.#criu = criu;
  }

  /**
   * Writes a snapshot of a sandbox into a new folder; answers its size. `freeze` has its processes stand still: it is
   * called when all is ready for that.
   */
  dump(
    policy: SandboxPolicy,
    cgroup: Cgroup,
    folder: string,
    freeze: () => Promise<void>,
  ): Promise<SnapshotFacts & { bytes: number }> {
    return this.#gate.run(async () => {
      await refuseIfFull(dirname(folder));
      // Inside of a folder of root's alone. The processes that CRIU makes again pass through this one before they have
      // rights.
      await mkdir(folder, { mode: 0o711 });
      const pid = await firstProcess(cgroup);
      const ready = Promise.withResolvers<void>();
      const frozen = ready.promise.then(freeze).then(() => emptyMounts(pid));
      const argv = planDump(this.#criu, policy, { pid, folder });
      await this.#run(argv, folder, frozen.then(emptyAtDump), ready);
      return { bytes: await sizeOf(folder), hasConnections: await hasConnections(pid), empty: await frozen };
    });
  }

  /**
   * Makes the processes of a snapshot again; they stand still until their agent has a line. Before the first of them is
   * made, `admit` is called and waited for. Rejects, with nothing of them left, when that does, or when it cannot be
   * done.
   */
  restore(
    policy: SandboxPolicy,
    cgroup: Cgroup,
    { source, owner, admit }: { source: Source; owner: number; admit: () => Promise<void> },
  ): Promise<Sandbox> {
    const { folder, uid } = source;
    const sandbox = adoptedSandbox(cgroup);
    const line = async () => {
      await admit();
      if (uid !== owner) await changeOwner(folder, uid, owner);
      return "\n";
    };
    return this.#gate.run(async () => {
      try {
        const argv = planRestore(this.#criu, policy, { ...source, owner }, cgroup.folders);
        await this.#run(argv, folder, line());
        return sandbox;
      } catch (error) {
        await sandbox.end();
        throw error;
      }
    });
  }

  /** `isReady` is settled when it waits for its line. Ends after `line` does, however that ends. */
  async #run(
    argv: string[],
    folder: string,
    line: Promise<string>,
    isReady = Promise.withResolvers<void>(),
  ): Promise<void> {
    const env = criuEnvironment(this.#criu);
    const running = runCommand(argv, {
      ...{ timeoutMs: TIMEOUT_MS, stdin: line, env },
      onLine: () => isReady.resolve(),
    });
    const early = () => isReady.reject(new Error("CRIU ended before it was ready"));
    void running.then(early, early);
    isReady.promise.catch(() => undefined);
    const [ended] = await Promise.allSettled([running, line]);
    if (ended.status === "rejected") throw ended.reason;
    const { code, stderr } = ended.value;
    if (code === 0) return;
    const log = await readFile(join(folder, LOG), "utf8").catch(() => "");
    throw new Error(`CRIU ended with ${code ?? "a signal"}: ${reasonIn(log) || stderr.trim().slice(-300)}`);
  }

  /** What a snapshot must have been made on to be used here. */
  hostKey({ rootfs, guestDir }: Pick<SandboxPolicy, "rootfs" | "guestDir">): string {
    return [release(), process.arch, cpus()[0]?.model ?? "", this.#criu.root, rootfs, guestDir].join("|");
  }
}

/** Has a snapshot survive a loss of power. */
export async function flushSnapshotFolder(folder: string): Promise<void> {
  for (const name of [...(await readdir(folder)), "."]) {
    await using file = await open(join(folder, name));
    await file.sync();
  }
}

/** Images count against no session's quota: they stop when they would fill the disk. */
async function refuseIfFull(folder: string): Promise<void> {
  const { bavail, bsize } = await statfs(folder);
  if (bavail * bsize < MIN_FREE_BYTES) throw new Error("the disk is nearly full");
}

export const removeSnapshotFolder = (folder: string): Promise<void> => removeTree(folder);

/** They are mount points: no guest can have put a link in their place. */
async function emptyMounts(pid: number): Promise<string[]> {
  const names = await Promise.all(MEMORY_MOUNTS.map((path) => readdir(`/proc/${pid}/root${path}`)));
  return MEMORY_MOUNTS.filter((_, at) => names[at]?.length === 0);
}

const QUIET = new Set(["0A", "07"]); // listening, closed

/** Whether a connection of its network is open, or being opened or closed; `pid` is in that network. */
async function hasConnections(pid: number): Promise<boolean> {
  const tables = await Promise.all(
    ["tcp", "tcp6"].map((name) => readFile(`/proc/${pid}/net/${name}`, "utf8").catch(() => "")),
  );
  const states = tables.flatMap((table) =>
    table
      .trim()
      .split("\n")
      .slice(1)
      .map((line) => line.trim().split(/\s+/)[3] ?? ""),
  );
  return states.some((state) => !QUIET.has(state));
}

/**
 * The one place where a snapshot names its owner on the host is the map of its user namespace: two entries, in protocol
 * buffers' numbers of seven bits a byte. Uids of the range take five bytes each, so one takes the place of another.
 */
async function changeOwner(folder: string, from: number, to: number): Promise<void> {
  const name = (await readdir(folder)).find((file) => /^userns-\d+\.img$/.test(file));
  if (name === undefined) throw new Error("a snapshot without a user namespace");
  const content = await readFile(join(folder, name));
  const [before, after] = [encodeNumber(from), encodeNumber(to)];
  let found = 0;
  for (let at = content.indexOf(before); at >= 0; at = content.indexOf(before, at + before.length)) {
    content.set(after, at);
    found += 1;
  }
  if (found !== 2 || before.length !== after.length)
    throw new Error("a snapshot whose user namespace is not known");
  await writeFile(join(folder, name), content);
}

function encodeNumber(value: number): Buffer {
  const bytes: number[] = [];
  for (let left = value; left > 0; left = Math.floor(left / 128))
    bytes.push((left % 128) | (left > 127 ? 128 : 0));
  return Buffer.from(bytes);
}

/** The first error that it wrote is the cause; later ones follow from it. */
function reasonIn(log: string): string {
  const line = log.split("\n").find((text) => text.includes("Error") && !text.includes("RLIMIT_NOFILE"));
  return (line ?? "").replace(/^.*?Error \([^)]*\): /, "").slice(0, 300);
}

async function sizeOf(folder: string): Promise<number> {
  const names = await readdir(folder);
  const sizes = await Promise.all(names.map(async (name) => (await stat(join(folder, name))).size));
  return sizes.reduce((sum, size) => sum + size, 0);
}
