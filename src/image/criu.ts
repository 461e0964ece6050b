/**
 * CRIU with all that it stands on, unpacked from Debian's packages into a folder of its own beside the images: it is run by
 * its own loader, so that neither the host nor what guests see has anything of it. Debian 12 and 13 have versions that
 * cannot image a socket on kernels since 6.16, so it is taken from the release after them.
 */
import { existsSync } from "node:fs";
import { mkdir, readdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { lockFile } from "../lib/file-lock.ts";
import { removeTree } from "../lib/remove-tree.ts";
import { runCommand } from "../lib/run-command.ts";
import { findSources } from "./mirror.ts";

const SUITE = "forky";
/** `ip` brings up the loopback of a restored network. */
const PACKAGES = ["criu", "iproute2"];
/** Changes when what is unpacked, or how, changes. */
const NAME = `${SUITE}-1`;
const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";
const TIMEOUT_MS = 5 * 60_000;

const toolsDir = (home: string) => join(home, "criu");

/** The folder that CRIU was unpacked into; null when it was not. */
export function findCriu(home: string): string | null {
  const root = join(toolsDir(home), NAME);
  return existsSync(root) ? root : null;
}

/** Unpacks it, unless that was done. Rejects when its packages cannot be had; the server works without. */
export async function ensureCriu(
  home: string,
  debianMirror: string | undefined,
  signal: AbortSignal,
): Promise<string> {
  const found = findCriu(home);
  if (found !== null) return found;
  const base = toolsDir(home);
  await mkdir(base, { recursive: true, mode: 0o755 });
  await using _lock = await lockFile(join(base, ".lock"), () => undefined, signal);
  const foundNow = findCriu(home);
  if (foundNow !== null) return foundNow;
  const staging = join(base, `.unpacking-${NAME}`);
  await removeTree(staging);
  try {
    await unpack(staging, debianMirror, signal);
    await rename(join(staging, "root"), join(base, NAME));
  } finally {
    await removeTree(staging);
  }
  return join(base, NAME);
}

async function unpack(staging: string, debianMirror: string | undefined, signal: AbortSignal): Promise<void> {
  const at = (...parts: string[]) => join(staging, ...parts);
  for (const folder of ["root", "lists/partial", "archives/partial"])
    await mkdir(at(folder), { recursive: true });
  const sources = await findSources(SUITE, debianMirror);
  const [main = `deb http://deb.debian.org/debian ${SUITE} main`] = sources;
  await writeFile(at("sources.list"), `${main.replace(/^deb /, `deb [signed-by=${KEYRING}] `)}\n`);
  await writeFile(at("status"), "");
  // An apt of its own: it knows of no installed package, and changes nothing of the host.
  const options = {
    "Dir::Etc::sourcelist": at("sources.list"),
    "Dir::Etc::sourceparts": "/dev/null",
    "Dir::State::lists": at("lists"),
    "Dir::State::status": at("status"),
    "Dir::Cache": staging,
    "Dir::Cache::archives": at("archives"),
    "APT::Install-Recommends": "false",
    "APT::Sandbox::User": "root",
    "Debug::NoLocking": "true",
  };
  const apt = [
    "apt-get",
    "-qq",
    ...Object.entries(options).flatMap(([name, value]) => ["-o", `${name}=${value}`]),
  ];
  await run([...apt, "update"], signal);
  await run([...apt, "install", "--download-only", "-y", ...PACKAGES], signal);
  for (const name of await readdir(at("archives")))
    if (name.endsWith(".deb")) await run(["dpkg-deb", "-x", at("archives", name), at("root")], signal);
  await removeTree(at("root/usr/share"));
}

async function run(argv: string[], signal: AbortSignal): Promise<void> {
  const { code, stderr } = await runCommand(argv, { timeoutMs: TIMEOUT_MS, signal });
  if (code !== 0) throw new Error(`Cannot unpack CRIU: '${argv[0]}' failed: ${stderr.trim().slice(-500)}`);
}
