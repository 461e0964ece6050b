/** A sandbox with its agent on the line: started, greeted, ready to run. start.ts, resume.ts and adopt.ts make one. */
import { createHmac } from "node:crypto";
import type { GuestChannel, LineIdentity } from "../guest/channel.ts";
import { SandboxPorts } from "../guest/ports.ts";
import type { HelloFrame } from "../protocol/guest.ts";
import type { Sandbox } from "../sandbox/launch.ts";
import type { Limits } from "../sandbox/policy.ts";
import type { Folder } from "./folder.ts";
import type { SandboxHost } from "./host.ts";
import { removeFolder } from "./owned-folder.ts";

export type LiveSandbox = {
  folder: Folder;
  sandbox: Sandbox;
  channel: GuestChannel;
  ports: SandboxPorts;
  /** What its agent said first, or last took up. */
  hello: HelloFrame;
  /** Whether its processes are those of an image. */
  isResumed: boolean;
  setLimits(limits: Limits): void;
  /** What its programs hold in memory now, in bytes; null where the host does not count it. */
  memoryBytes(): number | null;
  /** Says when it is lost, or has ended by itself; whoever holds the sandbox now is told, and nobody else. */
  onLost(listener: (reason: Error) => void): void;
  /** Processes that the host's kernel has ended for lack of memory since this was last asked. */
  takeOomKills(): number;
  /** Has its processes stand still, and ends the line: they can be imaged, and go on when a line is opened again. */
  freeze(): Promise<void>;
  /** Ends the sandbox and the line; the folder stays. */
  end(reason: Error): Promise<void>;
};

/** What is done with a sandbox whose agent has said hello. */
export function makeLive(
  host: SandboxHost,
  { folder, sandbox, channel, hello }: Pick<LiveSandbox, "folder" | "sandbox" | "channel" | "hello">,
): LiveSandbox {
  let oomKills = 0;
  // Its monitor may end while its processes do not: without it nobody would reap them, so the line is given up too.
  void sandbox.exited.then(() => channel.fail(new Error("The sandbox ended")));
  const ports = new SandboxPorts(`${folder.run}/ports.sock`, host.guestPlaces, (port, ticket) =>
    channel.connect(port, ticket),
  );
  channel.listen({ onRefused: (ticket) => ports.refused(ticket) });
  return {
    folder,
    sandbox,
    channel,
    ports,
    hello,
    isResumed: false,
    setLimits: (limits) => sandbox.cgroup?.setLimits(limits),
    memoryBytes: () => sandbox.cgroup?.memoryBytes() ?? null,
    onLost: (listener) => channel.listen({ onLost: listener }),
    takeOomKills: () => {
      const before = oomKills;
      oomKills = sandbox.cgroup?.meter().oomKills() ?? 0;
      return oomKills - before;
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

/** `knownAs`: the key of the folder on which its agent was told its token; null when it was told none. */
export function identityOf(host: SandboxHost, folder: Folder, knownAs: string | null): LineIdentity {
  const tokenOf = (key: string) => createHmac("sha256", host.secret).update(key).digest("hex");
  return {
    token: tokenOf(folder.key),
    expected: knownAs === null ? null : tokenOf(knownAs),
    // Without cgroups, the next server could not find it.
    orphanMs: host.asRoot && host.cgroups !== null ? host.config.orphanMs : 0,
    preload: knownAs === null ? host.preload.modules : [],
  };
}

/** A failure, with what the sandbox itself has said. */
export function describe(cause: unknown, sandbox: Sandbox | null): string {
  const said = sandbox?.diagnostics() ?? "";
  const message = cause instanceof Error ? cause.message : String(cause);
  return said === "" ? message : `${message} (${said.slice(0, 500)})`;
}

/** Ends a sandbox and removes its folder: nothing of it is left when this resolves. */
export async function destroy(host: SandboxHost, live: LiveSandbox, reason: Error): Promise<void> {
  live.channel.close(reason);
  await live.ports[Symbol.asyncDispose]();
  await live.sandbox.end();
  await removeFolder(host, live.folder);
}
