/** Process images, where this host can make them. Whoever asks why not finds the reason in /health and `doctor`. */
import { lstat, mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { findCriu } from "../image/criu.ts";
import { removeTree } from "../lib/remove-tree.ts";
import type { SandboxHost, SnapshotSupport } from "../live/host.ts";
import { probeSnapshots } from "../live/probe-snapshots.ts";
import { Criu } from "../sandbox/snapshot/criu.ts";

const MEMORY_FILES = "/dev/shm";

export async function openSnapshots(
  host: SandboxHost,
  instance: string,
  stack: AsyncDisposableStack,
): Promise<{ criu: Criu | null; snapshots: SnapshotSupport }> {
  const no = (detail: string) => ({ criu: null, snapshots: { supported: false, detail } });
  if (!host.asRoot) return no("the server is not root");
  if (host.cgroups === null) return no("this host has no cgroups");
  const root = findCriu(host.config.home);
  if (root === null) return no("CRIU could not be had from Debian's packages: ./era image build tries again");
  const runDir = await openRunDir(`era-criu-${instance}`, host.config.dataDir);
  stack.defer(() => removeTree(runDir));
  const criu = new Criu({ root, runDir });
  const snapshots = await probeSnapshots(host, criu, dirname(root));
  return { criu: snapshots.supported ? criu : null, snapshots };
}

/**
 * Written by root alone, in memory where possible: there CRIU keeps what it has found out of this kernel, and others
 * pass.
 */
async function openRunDir(name: string, dataDir: string): Promise<string> {
  for (const path of [join(MEMORY_FILES, name), join(dataDir, "criu-run")]) {
    await mkdir(path, { mode: 0o711 }).catch(() => undefined); // of an earlier server, or of somebody else
    const info = await lstat(path).catch(() => null);
    if (info?.isDirectory() && info.uid === 0 && (info.mode & 0o066) === 0) return path;
  }
  throw new Error("Cannot make a folder for CRIU");
}
