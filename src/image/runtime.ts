/**
 * The guest programs as a sandbox mounts them: a copy of guest/ compiled to bytecode by the image's own Python, and
 * the system call filter compiled by the image's libseccomp. Made once for each content, beside the images.
 */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { cp, mkdir, readdir, readFile, rename, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { removeTree } from "../lib/remove-tree.ts";
import { runCommand } from "../lib/run-command.ts";
import { AGENT_FOLDERS, DEVICES } from "../sandbox/mounts.ts";
import type { SeccompPolicy } from "../sandbox/seccomp.ts";
import type { Image } from "./find.ts";
import { IMAGES_DIR } from "./recipe.ts";

export type GuestRuntime = {
  dir: string;
  seccompPath: string;
  /** Empty places for what is mounted in /dev and /run of a sandbox that is restored from an image. */
  skeleton: string;
};

const GUEST_DIR = fileURLToPath(new URL("../../guest/", import.meta.url));
const COMPILE_SECCOMP = join(IMAGES_DIR, "compile-seccomp.py");
/** What kernels cannot do without and do not bring along: how it is called in the runtime, and where it is. */
const VENDORED = {
  "javascript/vendor/acorn.mjs": fileURLToPath(import.meta.resolve("acorn").replace(/[^/]*$/, "acorn.mjs")),
};
/**
 * What the JavaScript kernel's modules use of the language. They share their global scope with the session's programs,
 * which may call a variable of theirs Map: each module is given these names for itself, as they are when it starts.
 */
const BUILTINS =
  `Array ArrayBuffer Atomics BigInt Boolean DataView Date Deno Error Function Int32Array JSON Map Math Number Object
  Promise Proxy ReadableStream ReferenceError Reflect RegExp Set SharedArrayBuffer String Symbol SyntaxError TypeError Uint8Array Uint32Array
  URL URLSearchParams WeakMap WeakRef`.split(/\s+/);
/** Changes with what is made beside the guest programs. */
const LAYOUT = "5";
const TIMEOUT_MS = 60_000;
const UNFINISHED = ".making-";

export const runtimesDir = (home: string) => join(home, "runtime");

export async function ensureRuntime(
  home: string,
  image: Image,
  policy: SeccompPolicy,
): Promise<GuestRuntime> {
  const hash = await contentHash(
    [LAYOUT, image.name, JSON.stringify(policy)],
    [GUEST_DIR, COMPILE_SECCOMP, ...Object.values(VENDORED)],
  );
  const base = runtimesDir(home);
  const root = join(base, hash);
  const runtime = {
    dir: join(root, "guest"),
    seccompPath: join(root, "seccomp.bpf"),
    skeleton: join(root, "skeleton"),
  };
  if (existsSync(root)) return runtime;
  await mkdir(base, { recursive: true, mode: 0o755 });
  await removeUnfinished(base);
  const staging = join(base, `${UNFINISHED}${hash}-${process.pid}`);
  await mkdir(staging, { mode: 0o755 });
  try {
    await make(staging, image, policy);
    await rename(staging, root);
  } catch (error) {
    await removeTree(staging);
    // Another server may have made the same in the meantime: then the rename found it in its place.
    if (!existsSync(root)) throw error;
  }
  return runtime;
}

/** What a killed start left half-made. */
async function removeUnfinished(base: string): Promise<void> {
  for (const name of await readdir(base)) {
    const maker = name.startsWith(UNFINISHED) ? name.split("-").at(-1) : undefined;
    if (maker !== undefined && !existsSync(`/proc/${maker}`)) await removeTree(join(base, name));
  }
}

async function make(staging: string, image: Image, policy: SeccompPolicy): Promise<void> {
  await cp(GUEST_DIR, join(staging, "guest"), {
    recursive: true,
    filter: (path) => !path.includes("__pycache__"),
  });
  for (const [target, source] of Object.entries(VENDORED)) await cp(source, join(staging, "guest", target));
  await bindBuiltins(join(staging, "guest", "javascript"));
  await makeSkeleton(join(staging, "skeleton"));
  await cp(COMPILE_SECCOMP, join(staging, "compile-seccomp.py"));
  const inImage = (command: string[], stdin?: string) => inImageOnce(image, staging, command, stdin);
  // Hashes instead of times, never checked again: the mount is read-only, and a copy has new times.
  await inImage(["-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "/opt/era/guest"]);
  await inImage(["/opt/era/compile-seccomp.py", "/opt/era/seccomp.bpf"], JSON.stringify(policy));
}

/** See BUILTINS. On the first line, so that every other keeps its number. */
async function bindBuiltins(folder: string): Promise<void> {
  for (const path of await readdir(folder, { recursive: true })) {
    if (!path.endsWith(".mjs")) continue;
    const text = await readFile(join(folder, path), "utf8");
    await writeFile(join(folder, path), `const { ${BUILTINS.join(", ")} } = globalThis; ${text}`);
  }
}

/** As bubblewrap fills the memory file systems that it mounts there; and what lies over the agent in /proc. */
async function makeSkeleton(path: string): Promise<void> {
  for (const folder of [
    "run/era",
    "run/era-state",
    "dev/pts",
    "dev/shm",
    ...AGENT_FOLDERS.map((name) => `none/${name}`),
  ])
    await mkdir(join(path, folder), { recursive: true, mode: 0o755 });
  await writeFile(join(path, "none/mem"), "");
  for (const device of DEVICES) await writeFile(join(path, "dev", device), "");
  for (const [name, target] of Object.entries(DEVICE_LINKS)) await symlink(target, join(path, "dev", name));
}

const DEVICE_LINKS = {
  stdin: "/proc/self/fd/0",
  stdout: "/proc/self/fd/1",
  stderr: "/proc/self/fd/2",
  fd: "/proc/self/fd",
  core: "/proc/kcore",
  ptmx: "pts/ptmx",
};

/** Runs the image's Python on our own programs (not a guest's), with the folder in the making at /opt/era. */
async function inImageOnce(image: Image, folder: string, command: string[], stdin = ""): Promise<void> {
  const argv = [
    ...["bwrap", "--ro-bind", image.rootfs, "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"],
    ...["--bind", folder, "/opt/era", "--unshare-pid", "--unshare-net", "--die-with-parent", "--clearenv"],
    ...["--", "/usr/bin/python3", "-I", ...command],
  ];
  const { code, stderr } = await runCommand(argv, { timeoutMs: TIMEOUT_MS, stdin });
  if (code !== 0)
    throw new Error(`Cannot prepare the guest programs: '${command.join(" ")}' failed\n${stderr}`);
}

async function contentHash(texts: string[], paths: string[]): Promise<string> {
  const hash = createHash("sha256").update(JSON.stringify(texts));
  for (const path of paths) {
    for (const file of await filesBelow(path)) hash.update(JSON.stringify(file)).update(await readFile(file));
  }
  return hash.digest("hex").slice(0, 16);
}

async function filesBelow(path: string): Promise<string[]> {
  if (!path.endsWith("/")) return [path];
  const entries = await readdir(path, { withFileTypes: true, recursive: true });
  return entries
    .filter((entry) => entry.isFile() && !entry.parentPath.includes("__pycache__"))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}
