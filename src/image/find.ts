/**
 * Images on disk: `<home>/images/<name>/rootfs`, with image.json written last, so that a folder without it is no image.
 */
import { existsSync, readFileSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";

export type Image = { name: string; dir: string; rootfs: string; builtAt: string };

const manifest = z.object({ name: z.string(), built_at: z.string() });

export const imagesDir = (home: string) => join(home, "images");
export const manifestPath = (dir: string) => join(dir, "image.json");

export function findImage(home: string, name: string): Image | null {
  const dir = join(imagesDir(home), name);
  if (!existsSync(manifestPath(dir))) return null;
  const { built_at } = manifest.parse(JSON.parse(readFileSync(manifestPath(dir), "utf8")));
  return { name, dir, rootfs: join(dir, "rootfs"), builtAt: built_at };
}

export async function listImages(home: string): Promise<Image[]> {
  const names = await readdir(imagesDir(home)).catch(() => []);
  return names.flatMap((name) => findImage(home, name) ?? []);
}
