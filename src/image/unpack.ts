/**
 * Debian packages with all that they depend on, unpacked into a folder: nothing of the host is asked for, or changed.
 */
import { mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { removeTree } from "../lib/remove-tree.ts";
import { runCommand } from "../lib/run-command.ts";
import { findSources } from "./mirror.ts";

type Unpacking = {
  suite: string;
  packages: readonly string[];
  /** Must not exist; the files are in `root` below it afterwards. */
  folder: string;
  debianMirror: string | undefined;
  signal: AbortSignal;
};

const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";
const TIMEOUT_MS = 5 * 60_000;

export async function unpackPackages({
  suite,
  packages,
  folder,
  debianMirror,
  signal,
}: Unpacking): Promise<void> {
  const at = (...parts: string[]) => join(folder, ...parts);
  for (const part of ["root", "lists/partial", "archives/partial"])
    await mkdir(at(part), { recursive: true });
  const [main] = await findSources(suite, debianMirror);
  if (main === undefined)
    throw new Error("Cannot unpack packages: apt knows of no mirror of Debian here; set ERA_DEBIAN_MIRROR");
  await writeFile(at("sources.list"), `${main.replace(/^deb /, `deb [signed-by=${KEYRING}] `)}\n`);
  await writeFile(at("status"), "");
  // An apt of its own: it knows of no installed package, and changes nothing of the host.
  const options = {
    "Dir::Etc::sourcelist": at("sources.list"),
    "Dir::Etc::sourceparts": "/dev/null",
    "Dir::State::lists": at("lists"),
    "Dir::State::status": at("status"),
    "Dir::Cache": folder,
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
  await run([...apt, "install", "--download-only", "-y", ...packages], signal);
  for (const name of await readdir(at("archives")))
    if (name.endsWith(".deb")) await run(["dpkg-deb", "-x", at("archives", name), at("root")], signal);
  await removeTree(at("root/usr/share"));
}

async function run(argv: string[], signal: AbortSignal): Promise<void> {
  const { code, stderr } = await runCommand(argv, { timeoutMs: TIMEOUT_MS, signal });
  if (code !== 0)
    throw new Error(`Cannot unpack packages: '${argv[0]}' failed: ${stderr.trim().slice(-500)}`);
}
