import { readdir, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Config } from "../config.ts";
import { ensureImage } from "../image/build.ts";
import { ensureCriu, findCriu } from "../image/criu.ts";
import { findImage, type Image, listImages } from "../image/find.ts";
import { foldersInUse } from "../image/in-use.ts";
import { imageName, readRecipe } from "../image/recipe.ts";
import { runtimesDir } from "../image/runtime.ts";
import { nullIfMissing } from "../lib/missing.ts";
import { removeTree } from "../lib/remove-tree.ts";
import { createProgress } from "./progress.ts";

const RETRY_MS = 3_600_000;
const CRIU_MS = 180_000;

/** The image of the current recipe, and CRIU: made, with visible progress, when they are not there. */
export async function obtainImage(config: Config, signal: AbortSignal): Promise<Image> {
  const image = await buildOnce(config, signal);
  if (process.getuid?.() === 0) await obtainCriu(config, signal);
  return image;
}

/** The server works without it: what fails is said, and not tried again by each start. */
async function obtainCriu(config: Config, signal: AbortSignal): Promise<void> {
  const failure = criuFailure(config);
  const failedAt = (await stat(failure).catch(() => null))?.mtimeMs ?? 0;
  if (findCriu(config.home) !== null || Date.now() - failedAt < RETRY_MS) return;
  console.error("Unpacking CRIU (once)");
  try {
    await ensureCriu(
      config.home,
      config.debianMirror,
      AbortSignal.any([signal, AbortSignal.timeout(CRIU_MS)]),
    );
    await rm(failure, { force: true });
  } catch (error) {
    signal.throwIfAborted();
    console.error(`${(error as Error).message}\nSessions sleep without snapshots of their processes`);
    await writeFile(failure, "");
  }
}

const criuFailure = ({ home }: Config) => join(home, "criu-failed");

async function buildOnce(config: Config, signal: AbortSignal): Promise<Image> {
  const recipe = readRecipe(config.imagePackages);
  const found = findImage(config.home, imageName(recipe));
  if (found !== null) return found;
  const progress = createProgress("Building the image (once)", process.stderr);
  const image = await ensureImage(recipe, {
    home: config.home,
    debianMirror: config.debianMirror,
    onProgress: progress.report,
    signal,
  });
  progress.done(image.name);
  return image;
}

export async function imageCommand(
  args: readonly string[],
  config: Config,
  signal: AbortSignal,
): Promise<number> {
  const current = imageName(readRecipe(config.imagePackages));
  switch (args[0]) {
    case "build":
      await rm(criuFailure(config), { force: true });
      console.log((await obtainImage(config, signal)).rootfs);
      return 0;
    case "list":
      for (const { name, builtAt } of await listImages(config.home)) {
        console.log(`${name}  ${builtAt}${name === current ? "  current" : ""}`);
      }
      return 0;
    case "prune":
      await prune(config, current);
      return 0;
    default:
      console.error("usage: era image build | list | prune");
      return 2;
  }
}

/** Removes images that neither the recipe asks for nor a server or sandbox uses, and what was compiled for them. */
async function prune(config: Config, current: string): Promise<void> {
  const inUse = foldersInUse();
  for (const { name, dir, rootfs } of await listImages(config.home)) {
    if (name === current) continue;
    if (inUse.has(dir) || inUse.has(rootfs)) {
      console.log(`${name}  in use`);
      continue;
    }
    await removeTree(dir);
    console.log(`${name}  removed`);
  }
  const runtimes = runtimesDir(config.home);
  for (const name of (await readdir(runtimes).catch(nullIfMissing)) ?? []) {
    // Those of the current image are made again by the next start.
    const path = join(runtimes, name);
    if (!inUse.has(path) && !inUse.has(join(path, "guest"))) await removeTree(path);
  }
}
