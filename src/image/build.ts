/**
 * Builds the image once. It is made in a folder of its own and renamed into place when it is whole, under a lock that
 * dies with its holder: an interrupted build leaves nothing that is found, and two builds at once make one image.
 */
import { cp, mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { lockFile } from "../lib/file-lock.ts";
import { removeTree } from "../lib/remove-tree.ts";
import { runCommand } from "../lib/run-command.ts";
import { findImage, type Image, imagesDir, manifestPath } from "./find.ts";
import { findSources } from "./mirror.ts";
import { imageName, type Recipe } from "./recipe.ts";

type BuildOptions = {
  home: string;
  debianMirror: string | undefined;
  /** Told in short sentences what goes on, with the share that is done, from 0 to 1. */
  onProgress: (message: string, share: number) => void;
  signal?: AbortSignal;
};

const TIMEOUT_MS = 45 * 60_000;
const UNFINISHED = ".building-";

/** The image of this recipe: found, or built now. */
export async function ensureImage(recipe: Recipe, options: BuildOptions): Promise<Image> {
  const name = imageName(recipe);
  const found = findImage(options.home, name);
  if (found !== null) return found;
  const images = imagesDir(options.home);
  await mkdir(images, { recursive: true, mode: 0o755 });
  const onWait = () => options.onProgress("waiting for another build to end", 0);
  await using _lock = await lockFile(join(images, ".lock"), onWait, options.signal);
  const foundNow = findImage(options.home, name);
  if (foundNow !== null) return foundNow;
  await removeUnfinished(images);
  // Awaited here: the lock is let go when this function returns.
  return await build(name, recipe, options);
}

async function removeUnfinished(images: string): Promise<void> {
  for (const entry of await readdir(images)) {
    if (entry.startsWith(UNFINISHED)) await removeTree(join(images, entry));
  }
}

async function build(name: string, recipe: Recipe, options: BuildOptions): Promise<Image> {
  const images = imagesDir(options.home);
  const staging = join(images, `${UNFINISHED}${name}`);
  const rootfs = join(staging, "rootfs");
  await mkdir(staging, { mode: 0o755 });
  try {
    if (asRoot()) await bootstrap("directory", rootfs, recipe, options);
    else await bootstrapUnprivileged(staging, rootfs, recipe, options);
    options.onProgress("adding programs from npm", 0.97);
    for (const { source, target } of recipe.fromNpm) {
      await mkdir(dirname(join(rootfs, target)), { recursive: true });
      await cp(source, join(rootfs, target), { recursive: true });
    }
    await writeFile(
      manifestPath(staging),
      JSON.stringify({ name, built_at: new Date().toISOString(), recipe }, null, 2),
    );
    await rename(staging, join(images, name));
  } catch (error) {
    await removeTree(staging);
    throw error;
  }
  const image = findImage(options.home, name);
  if (image === null) throw new Error(`Cannot find the image '${name}' right after its build`);
  return image;
}

const asRoot = () => process.getuid?.() === 0;

/** Without root, mmdebstrap makes files of other (subordinate) users: unpacked again, all are the server's own. */
async function bootstrapUnprivileged(
  staging: string,
  rootfs: string,
  recipe: Recipe,
  options: BuildOptions,
): Promise<void> {
  const archive = join(staging, "rootfs.tar");
  await bootstrap("tar", archive, recipe, options);
  await mkdir(rootfs, { mode: 0o755 });
  const unpack = ["tar", "-xf", archive, "-C", rootfs, "--no-same-owner", "--exclude=./dev/*"];
  const { code, stderr } = await runCommand(unpack, { timeoutMs: TIMEOUT_MS });
  if (code !== 0) throw new Error(`Cannot unpack the image: ${stderr.slice(0, 1000)}`);
  await rm(archive);
}

async function bootstrap(
  format: "directory" | "tar",
  target: string,
  recipe: Recipe,
  options: BuildOptions,
): Promise<void> {
  const sources = await findSources(recipe.suite, options.debianMirror);
  const argv = [
    // In a pid namespace of its own, so that all that it started ends with it when the build is interrupted.
    ...(asRoot() ? ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--"] : []),
    "mmdebstrap",
    `--mode=${asRoot() ? "root" : "unshare"}`,
    "--verbose",
    "--variant=minbase",
    `--format=${format}`,
    ...recipe.excludePaths.map((path) => `--dpkgopt=path-exclude=${path}`),
    "--aptopt=APT::Install-Recommends false",
    `--include=${recipe.packages.join(",")}`,
    `--customize-hook=${await readFile(recipe.customizeScript, "utf8")}`,
    recipe.suite,
    target,
    ...(sources.length === 0 ? [] : ["-"]),
  ];
  const lines: string[] = [];
  const progress = createProgress(recipe.packages.length);
  options.onProgress("fetching the list of packages", 0.01);
  const result = await runCommand(argv, {
    timeoutMs: TIMEOUT_MS,
    stdin: `${sources.join("\n")}\n`,
    env: { ...(process.env as Record<string, string>), LC_ALL: "C.UTF-8" },
    ...(options.signal === undefined ? {} : { signal: options.signal }),
    onLine: (line) => {
      lines.push(line);
      const step = progress(line);
      if (step !== null) options.onProgress(step.message, step.share);
    },
  });
  options.signal?.throwIfAborted();
  if (result.code !== 0)
    throw new Error(`Cannot build the image: mmdebstrap failed\n${lines.slice(-25).join("\n")}`);
}

const STAGES: [RegExp, string, number][] = [
  [/^I: running apt-get update/, "fetching the list of packages", 0.02],
  [/^I: downloading packages/, "downloading the base system", 0.06],
  [/^I: extracting archives/, "unpacking the base system", 0.1],
  [/^I: installing essential/, "setting up the base system", 0.14],
  [/^I: installing remaining/, "downloading packages", 0.2],
  [/^I: running --customize-hook/, "preparing fonts", 0.9],
  [/^I: cleaning/, "cleaning up", 0.95],
];
/** A package brings about this many others with it. */
const DEPENDENCY_FACTOR = 12;

function createProgress(packages: number): (line: string) => { message: string; share: number } | null {
  let touched = 0;
  const expected = packages * DEPENDENCY_FACTOR * 2;
  return (line) => {
    const stage = STAGES.find(([pattern]) => pattern.test(line));
    if (stage !== undefined) return { message: stage[1], share: stage[2] };
    const step = line.match(/^(Unpacking|Setting up) ([^\s:]+)/);
    if (step === null) return null;
    touched += 1;
    const verb = step[1] === "Unpacking" ? "unpacking" : "setting up";
    return { message: `${verb} ${step[2]}`, share: 0.2 + 0.68 * Math.min(1, touched / expected) };
  };
}
