/** A sandbox with its agent on the line: started, greeted, ready to run. */
import { createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import type { Config } from "../config.ts";
import type { EgressGateway } from "../egress/gateway.ts";
import { GuestChannel, type LineIdentity } from "../guest/channel.ts";
import { SandboxPorts } from "../guest/ports.ts";
import type { Image } from "../image/find.ts";
import type { GuestRuntime } from "../image/runtime.ts";
import type { Places } from "../lib/descriptors.ts";
import { removeTree } from "../lib/remove-tree.ts";
import type { RetryLater } from "../lib/retry-later.ts";
import type { Logger } from "../log.ts";
import { AppError, BugError, shortageError } from "../protocol/errors.ts";
import type { HelloFrame } from "../protocol/guest.ts";
import type { Language } from "../protocol/language.ts";
import type { Cgroup, CgroupTree } from "../sandbox/cgroup.ts";
import type { Imager } from "../sandbox/imaging/imager.ts";
import type { ImageFacts } from "../sandbox/imaging/plan.ts";
import { adoptedSandbox, launchSandbox, type Sandbox } from "../sandbox/launch.ts";
import { type LaunchPlan, planLaunch } from "../sandbox/plan.ts";
import { guestEnvironment, type Limits, type SandboxPolicy } from "../sandbox/policy.ts";
import { limitTerminals } from "../sandbox/terminals.ts";
import type { UidRange } from "../sandbox/uids.ts";
import { createFolder, type Folder, prepareFolder } from "./folder.ts";
import { stateBytesOf } from "./state-budget.ts";

/** What every sandbox of this server is made with. */
export type SandboxHost = {
  config: Config;
  log: Logger;
  image: Image;
  runtime: GuestRuntime;
  caBundle: string | null;
  cgroups: CgroupTree | null;
  uids: UidRange;
  egress: EgressGateway;
  /** What could not be removed at once. */
  leftovers: RetryLater;
  /** For connections that come out of sandboxes. */
  guestPlaces: Places;
  /** Makes and restores process images; null where that cannot be done. */
  imager: Imager | null;
  imaging: ImagingSupport;
  asRoot: boolean;
  /** Known to the servers of this data folder, one after the other, and to nobody else. */
  secret: string;
};

/** Whether process images can be made and restored here, and how that is known. */
export type ImagingSupport = { supported: boolean; detail: string };

export type LiveSandbox = {
  folder: Folder;
  sandbox: Sandbox;
  channel: GuestChannel;
  ports: SandboxPorts;
  /** What its agent said first, or last took up. */
  hello: HelloFrame;
  /** Whether its processes are those of an image. */
  isResumed: boolean;
  /** Whether the kernel of the host ended a process for lack of memory since this was last asked. */
  hasNewOomKills(): boolean;
  /** Has its processes stand still, and ends the line: they can be imaged, and go on when a line is opened again. */
  freeze(): Promise<void>;
  /** Ends the sandbox and the line; the folder stays. */
  end(reason: Error): Promise<void>;
};

const MIB = 1 << 20;
const START_TIMEOUT_MS = 30_000;
const ADOPT_TIMEOUT_MS = 10_000;
const ADOPT_LOOK_MS = 100;
const AGENT = ["/usr/bin/python3.13", "-E", "-s", "-S", "/opt/era/agent/main.py"];

/** What a sandbox is started as. */
export type Start = { language: Language; limits: Limits };

export function defaultLimits(config: Config): Limits {
  const { memoryBytes, cpus, pids, openFiles, tmpBytes, diskBytes } = config.limits;
  // Set before it is known which session a warm sandbox is for.
  const stateFileBytes = stateBytesOf(config, config.maxMemoryMib * MIB);
  return { memoryBytes, cpus, pids, openFiles, tmpBytes, fileBytes: diskBytes, stateFileBytes };
}

/** Starts a sandbox on an existing folder. Rejects with `sandbox_failed`, leaving nothing of it behind. */
export async function startSandbox(host: SandboxHost, folder: Folder, start: Start): Promise<LiveSandbox> {
  const { language, limits } = start;
  await prepareFolder(folder);
  const channel = await GuestChannel.open(folder.socket, identityOf(host, folder, null));
  let sandbox: Sandbox | null = null;
  let cgroup: Cgroup | null = null;
  try {
    cgroup = (await host.cgroups?.create(folder.key, limits)) ?? null;
    const plan = planFor(host, folder, limits, cgroup, [
      ...AGENT,
      language,
      String(Math.floor(limits.memoryBytes / MIB)),
    ]);
    sandbox = await launchSandbox(plan, {
      seccompPath: host.runtime.seccompPath,
      userNamespaceFd: plan.needsUserNamespace ? await host.uids.namespaceFd(folder.uid) : null,
      cgroup,
    });
    const hello = await greeted(sandbox, channel);
    if (host.asRoot && cgroup !== null) await limitTerminals(cgroup);
    return live(host, folder, sandbox, channel, hello);
  } catch (cause) {
    const reason =
      shortageError("start a sandbox", cause) ??
      new AppError("sandbox_failed", `Cannot start a sandbox: ${describe(cause, sandbox)}`, { cause });
    channel.close(reason);
    await (sandbox === null ? cgroup?.remove() : sandbox.end());
    throw reason;
  }
}

/** The launch plan of a sandbox of this server. */
export function planFor(
  host: SandboxHost,
  folder: Folder,
  limits: Limits,
  cgroup: Cgroup | null,
  command: readonly string[],
): LaunchPlan {
  const policy = policyFor(host, folder, limits, command);
  return planLaunch(policy, { asRoot: host.asRoot, cgroupFolders: cgroup?.folders ?? [] });
}

/** What a sandbox on a folder may see and use. */
export function policyFor(
  host: SandboxHost,
  folder: Folder,
  limits: Limits,
  command: readonly string[] = [],
): SandboxPolicy {
  return {
    rootfs: host.image.rootfs,
    guestDir: host.runtime.dir,
    skeleton: host.runtime.skeleton,
    folders: folder,
    caBundle: host.caBundle,
    limits,
    env: guestEnvironment(limits.cpus, host.config.indexes),
    command,
  };
}

/** Of which process image a sandbox is made again: where it lies, and the key and uid of the folder that it was made on. */
export type ImageSource = ImageFacts & { folder: string; key: string; uid: number };

/**
 * Makes a sandbox again on a folder, as it was when its image was made; `admit` is called before anything of it is there.
 * Rejects, leaving nothing of it, when that does, or when it fails.
 */
export async function restoreSandbox(
  host: SandboxHost,
  folder: Folder,
  limits: Limits,
  image: ImageSource,
  admit: () => Promise<void>,
): Promise<LiveSandbox> {
  if (host.imager === null || host.cgroups === null)
    throw new BugError("process images are not supported here");
  await prepareFolder(folder);
  const cgroup = await host.cgroups.create(folder.key, limits);
  const policy = policyFor(host, folder, limits);
  const sandbox = await host.imager.restore(policy, cgroup, image, folder.uid, admit);
  let channel: GuestChannel | null = null;
  try {
    // Now, and not before: as soon as its agent is welcome, its processes go on.
    channel = await GuestChannel.open(folder.socket, identityOf(host, folder, image.key));
    const hello = await channel.greeted(AbortSignal.timeout(ADOPT_TIMEOUT_MS));
    return { ...live(host, folder, sandbox, channel, hello), isResumed: true };
  } catch (error) {
    channel?.close(error instanceof Error ? error : new Error(String(error)));
    await sandbox.end();
    throw error;
  }
}

/**
 * Takes over the sandbox of a folder that an earlier server started: its agent dials again and again. Rejects, after
 * ending it, when it does not come.
 */
export async function adoptSandbox(host: SandboxHost, folder: Folder, cgroup: Cgroup): Promise<LiveSandbox> {
  const sandbox = adoptedSandbox(cgroup);
  await rm(folder.socket, { force: true });
  const channel = await GuestChannel.open(folder.socket, identityOf(host, folder, folder.key));
  const gone = new AbortController();
  const watch = setInterval(() => {
    if (cgroup.isEmpty()) gone.abort(new Error("it has ended"));
  }, ADOPT_LOOK_MS);
  try {
    const hello = await channel.greeted(
      AbortSignal.any([gone.signal, AbortSignal.timeout(ADOPT_TIMEOUT_MS)]),
    );
    return { ...live(host, folder, sandbox, channel, hello), isResumed: !hasMonitor(cgroup) };
  } catch (cause) {
    const reason = new AppError("sandbox_failed", `Cannot adopt a sandbox: ${describe(cause, sandbox)}`, {
      cause,
    });
    channel.close(reason);
    await sandbox.end();
    throw reason;
  } finally {
    clearInterval(watch);
  }
}

/** Whether bubblewrap's own process is there, which stays outside; one that was restored has none. */
const hasMonitor = (cgroup: Cgroup) => cgroup.pids().some((pid) => !isInside(pid));

function isInside(pid: number): boolean {
  try {
    return /^NSpid:\t\d+\t\d+/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return true; // it ended in between
  }
}

/** `knownAs`: the key of the folder on which its agent was told its token; null when it was told none. */
function identityOf(host: SandboxHost, folder: Folder, knownAs: string | null): LineIdentity {
  const tokenOf = (key: string) => createHmac("sha256", host.secret).update(key).digest("hex");
  return {
    token: tokenOf(folder.key),
    expected: knownAs === null ? null : tokenOf(knownAs),
    // Without cgroups, the next server could not find it.
    orphanMs: host.asRoot && host.cgroups !== null ? host.config.orphanMs : 0,
  };
}

async function greeted(sandbox: Sandbox, channel: GuestChannel): Promise<HelloFrame> {
  const early = new AbortController();
  const onExit = () => early.abort(new Error("it ended before its agent answered"));
  void sandbox.exited.then(onExit);
  return channel.greeted(AbortSignal.any([early.signal, AbortSignal.timeout(START_TIMEOUT_MS)]));
}

function describe(cause: unknown, sandbox: Sandbox | null): string {
  const said = sandbox?.diagnostics() ?? "";
  const message = cause instanceof Error ? cause.message : String(cause);
  return said === "" ? message : `${message} (${said.slice(0, 500)})`;
}

function live(
  host: SandboxHost,
  folder: Folder,
  sandbox: Sandbox,
  channel: GuestChannel,
  hello: HelloFrame,
): LiveSandbox {
  let oomKills = 0;
  // Its monitor may end while its processes do not: without it nobody would reap them, so the line is given up too.
  void sandbox.exited.then(() => channel.fail(new Error("The sandbox ended")));
  const ports = new SandboxPorts(`${folder.run}/ports.sock`, host.guestPlaces, (port, ticket) =>
    channel.connect(port, ticket),
  );
  channel.events = { ...channel.events, onRefused: (ticket) => ports.refused(ticket) };
  return {
    folder,
    sandbox,
    channel,
    ports,
    hello,
    isResumed: false,
    hasNewOomKills: () => {
      const before = oomKills;
      oomKills = sandbox.cgroup?.oomKills() ?? 0;
      return oomKills > before;
    },
    freeze: async () => {
      await channel.freeze();
      await ports[Symbol.asyncDispose]();
    },
    end: async (reason) => {
      channel.close(reason);
      await ports[Symbol.asyncDispose]();
      await sandbox.end();
      if (host.asRoot) await host.uids.rest(folder.uid);
    },
  };
}

/** A new folder with a uid of its own. */
export async function createOwnedFolder(host: SandboxHost): Promise<Folder> {
  const uid = host.asRoot ? host.uids.acquire() : (process.getuid?.() ?? 0);
  try {
    return await createFolder(host.config.dataDir, uid, host.asRoot);
  } catch (error) {
    if (host.asRoot) await host.uids.release(uid);
    throw error;
  }
}

/** Starts a sandbox on a new folder of its own. */
export async function startPristine(host: SandboxHost, start: Start): Promise<LiveSandbox> {
  const folder = await createOwnedFolder(host);
  try {
    return await startSandbox(host, folder, start);
  } catch (error) {
    await removeFolder(host, folder);
    throw error;
  }
}

/** Ends a sandbox and removes its folder: nothing of it is left when this resolves. */
export async function destroy(host: SandboxHost, live: LiveSandbox, reason: Error): Promise<void> {
  live.channel.close(reason);
  await live.ports[Symbol.asyncDispose]();
  await live.sandbox.end();
  await removeFolder(host, live.folder);
}

/** Removes a folder that no process uses any more, and frees its uid: now, or as soon as the host lets it. */
export async function removeFolder(host: SandboxHost, folder: Folder): Promise<void> {
  const failure = await host.leftovers.attempt(async () => {
    await removeTree(folder.root);
    if (host.asRoot) await host.uids.release(folder.uid);
  });
  if (failure !== null) host.log.info({ err: failure }, "a folder is removed later");
}
