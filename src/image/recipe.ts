/** What the image is made of, and the name that follows from it: equal recipes have equal names. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";

export const IMAGES_DIR = fileURLToPath(new URL("../../images/", import.meta.url));
const CUSTOMIZE_SCRIPT = join(IMAGES_DIR, "customize.sh");

/** `path` is of a file or folder in the package. */
const fromNpm = z.strictObject({ package: z.string(), path: z.string(), target: z.string() });
const recipeFile = z.strictObject({
  suite: z.string(),
  packages: z.array(z.string()),
  /** By architecture, and those of `all`. */
  npm: z.record(z.string(), z.array(fromNpm)),
  excludePaths: z.array(z.string()),
});

export type Recipe = {
  suite: string;
  packages: string[];
  excludePaths: string[];
  customizeScript: string;
  /** Programs and libraries copied from npm packages of this repository's lockfile. */
  fromNpm: { source: string; target: string; version: string }[];
};

const DEBIAN_PACKAGE = /^[a-z0-9][a-z0-9+.-]+$/;

export function readRecipe(extraPackages: readonly string[]): Recipe {
  const file = recipeFile.parse(JSON.parse(readFileSync(join(IMAGES_DIR, "recipe.json"), "utf8")));
  const wrong = extraPackages.find((name) => !DEBIAN_PACKAGE.test(name));
  if (wrong !== undefined)
    throw new Error(`Cannot use ERA_IMAGE_PACKAGES: '${wrong}' is not the name of a Debian package`);
  const ofArchitecture = file.npm[process.arch];
  if (ofArchitecture === undefined)
    throw new Error(`Cannot build an image: no programs are known for the architecture '${process.arch}'`);
  return {
    suite: file.suite,
    packages: [...new Set([...file.packages, ...extraPackages])],
    excludePaths: file.excludePaths,
    customizeScript: CUSTOMIZE_SCRIPT,
    fromNpm: [...ofArchitecture, ...(file.npm.all ?? [])].map(findInNpm),
  };
}

function findInNpm(entry: z.infer<typeof fromNpm>): Recipe["fromNpm"][number] {
  const manifest = createRequire(import.meta.url).resolve(`${entry.package}/package.json`);
  const { version } = z.object({ version: z.string() }).parse(JSON.parse(readFileSync(manifest, "utf8")));
  return {
    source: join(dirname(manifest), entry.path),
    target: entry.target,
    version: `${entry.package}@${version}`,
  };
}

/** The image's name: its suite and a hash of all that goes into it. */
export function imageName(recipe: Recipe): string {
  const content = JSON.stringify([
    recipe.suite,
    recipe.packages,
    recipe.excludePaths,
    readFileSync(recipe.customizeScript, "utf8"),
    recipe.fromNpm.map(({ target, version }) => [target, version]),
    process.arch,
  ]);
  return `${recipe.suite}-${createHash("sha256").update(content).digest("hex").slice(0, 16)}`;
}
