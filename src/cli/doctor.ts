/** `era doctor`: what this host enforces and what it cannot; exit status 1 when something needed is missing. */
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Config } from "../config.ts";
import { findImage, type Image } from "../image/find.ts";
import { imageName, readRecipe } from "../image/recipe.ts";
import { descriptorLimit } from "../lib/descriptors.ts";
import { removeTree } from "../lib/remove-tree.ts";
import { runCommand } from "../lib/run-command.ts";
import type { SnapshotSupport } from "../live/host.ts";
import { probeHost } from "../live/probe-host.ts";
import type { Logger } from "../log.ts";
import { type Facility, unacceptable } from "../sandbox/probe.ts";
import { openHost } from "./start-server.ts";

const PROGRAMS = [
  ["bwrap", "bubblewrap"],
  ["nsenter", "util-linux"],
  ["unshare", "util-linux"],
  ["flock", "util-linux"],
  ["mmdebstrap", "mmdebstrap"],
] as const;

export async function doctor(config: Config, log: Logger): Promise<number> {
  let failed = false;
  const say = (state: string, name: string, detail: string) =>
    console.log(`${state.padEnd(9)} ${name.padEnd(13)} ${detail}`);
  for (const [program, debianPackage] of PROGRAMS) {
    const version = await versionOf(program);
    failed ||= version === null;
    say(version === null ? "missing" : "ok", program, version ?? `apt-get install ${debianPackage}`);
  }
  const image = findImage(config.home, imageName(readRecipe(config.imagePackages)));
  say(image === null ? "missing" : "ok", "image", image?.rootfs ?? "./era image build");
  if (image === null || failed) return 1;
  const { facilities, snapshots, maxLive } = await probe(config, image, log);
  for (const { name, state, detail } of facilities) say(state, name, detail);
  say(snapshots.supported ? "ok" : "without", "imaging", snapshots.detail);
  const { limits } = config;
  const mib = (bytes: number) => `${bytes >> 20} MiB`;
  say(
    "limit",
    "one session",
    `memory ${mib(limits.memoryBytes)}, ${limits.cpus} CPU, ${limits.pids} processes, ${limits.openFiles} open files`,
  );
  say(
    "limit",
    "its disk",
    `${mib(limits.diskBytes)}, ${limits.diskFiles} files; /tmp ${mib(limits.tmpBytes)}`,
  );
  say(
    "limit",
    "this server",
    `${maxLive} live sandboxes, ${descriptorLimit()} open files, uids from ${config.uidBase}`,
  );
  return unacceptable(facilities, config.allowWeak).length === 0 ? 0 : 1;
}

async function versionOf(program: string): Promise<string | null> {
  const result = await runCommand([program, "--version"], { timeoutMs: 10_000 }).catch(() => null);
  return result === null ? null : (result.stdout.split("\n")[0] ?? "");
}

/** In a data folder of its own: a server may be running on the real one. */
async function probe(
  config: Config,
  image: Image,
  log: Logger,
): Promise<{ facilities: Facility[]; snapshots: SnapshotSupport; maxLive: number }> {
  const dataDir = await mkdtemp(join(tmpdir(), "era-doctor-"));
  await runCommand(["chmod", "711", dataDir], { timeoutMs: 10_000 });
  try {
    await using stack = new AsyncDisposableStack();
    const { host } = await openHost({ config: { ...config, dataDir }, image, log }, stack);
    return { facilities: await probeHost(host), snapshots: host.snapshots, maxLive: host.config.maxLive };
  } finally {
    await removeTree(dataDir);
  }
}
