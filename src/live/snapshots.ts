/**
 * Process images of sessions: when one is made, whether it can be used, and what becomes of it. An image goes with the
 * files as they were and is used at most once; the saved state is there beside it, for all that can be saved.
 */
import { cp, mkdir, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fingerprint } from "../files/fingerprint.ts";
import { randomBase36 } from "../lib/random-id.ts";
import { shortageIn } from "../lib/shortage.ts";
import { flushImage, type Imager, removeImage } from "../sandbox/imaging/imager.ts";
import type { ProcessImage, SessionRow, Store } from "../store/store.ts";
import type { Folder } from "./folder.ts";
import type { SandboxHost } from "./host.ts";
import type { LiveSandbox } from "./live-sandbox.ts";
import { defaultLimits, policyFor } from "./plan-sandbox.ts";

const imagesDir = (dataDir: string) => join(dataDir, "images");

/** Where a new image is to be written: in a folder that only the server may enter. */
export async function newImage(host: SandboxHost): Promise<{ name: string; folder: string }> {
  await mkdir(imagesDir(host.config.dataDir), { recursive: true, mode: 0o700 });
  const name = randomBase36(16);
  return { name, folder: join(imagesDir(host.config.dataDir), name) };
}

/** What an image must have been made on to be used by this server. */
export const hostKey = ({ image, runtime }: SandboxHost, imager: Imager) =>
  imager.hostKey({ rootfs: image.rootfs, guestDir: runtime.dir });

/** What of a session goes on between its runs. */
type Activity = { hasBackgroundWork: boolean; threads: number };

/** Whether its processes are to be imaged: asked for, or because the saved state alone would lose something. */
export function wantsImage(host: SandboxHost, { imaging, saved }: SessionRow, activity: Activity): boolean {
  if (host.imager === null || imaging === "never") return false;
  return imaging === "always" || activity.hasBackgroundWork || saved.notKept.length > 0;
}

/**
 * Has a sandbox stand still and images it. `prepareFiles` is called then, and answers the fingerprint of the files that it is
 * to be restored on, its own or a copy of them; those that it removes must be there until the image `isDone`.
 */
export async function takeImage(
  host: SandboxHost,
  row: SessionRow,
  live: LiveSandbox,
  { threads }: Activity,
  prepareFiles: (isDone: Promise<unknown>) => Promise<string>,
): Promise<ProcessImage> {
  const { imager } = host;
  const { cgroup } = live.sandbox;
  if (imager === null || cgroup === null) throw new Error("process images are not supported here");
  const { name, folder } = await newImage(host);
  const policy = policyFor(host, live.folder, defaultLimits(host.config));
  let startedAt = 0;
  const still = Promise.withResolvers<void>();
  const dumped = imager.dump(policy, cgroup, folder, async () => {
    startedAt = performance.now();
    await live.freeze();
    still.resolve();
  });
  dumped.catch(still.reject); // also when it never came to that
  const prepared = still.promise.then(() => prepareFiles(dumped));
  try {
    const [{ bytes, ...facts }, files] = await allOf(dumped, prepared);
    return {
      name,
      bytes,
      ...facts,
      tookMs: Math.round(performance.now() - startedAt),
      version: row.saved.content,
      files,
      host: hostKey(host, imager),
      key: live.folder.key,
      uid: live.folder.uid,
      threads,
      unflushedBoot: await bootId(),
      isUsed: false,
    };
  } catch (error) {
    await removeImage(folder);
    throw error;
  }
}

/** Both, when neither goes on any more. */
async function allOf<A, B>(first: Promise<A>, second: Promise<B>): Promise<[A, B]> {
  await Promise.allSettled([first, second]);
  return Promise.all([first, second]);
}

/** Why an image cannot be restored now, whatever the files are like; null when nothing is against it. */
export async function reasonAgainst(host: SandboxHost, image: ProcessImage): Promise<string | null> {
  if (host.imager === null) return "this host cannot restore process images";
  if (image.unflushedBoot !== null && image.unflushedBoot !== (await bootId()))
    return "the machine stopped before it was on disk";
  if (image.isUsed) return "the server ended while it was made or restored";
  if (image.host !== hostKey(host, host.imager))
    return "the kernel, the processor, or what the sandbox stands on has changed";
  return null;
}

/** The same of the files that it would be restored on. */
export async function reasonInFiles(image: ProcessImage, folder: Folder): Promise<string | null> {
  const files = await fingerprintOf(folder).catch((error: unknown) => {
    if (shortageIn(error) !== null) throw error; // nothing is known of them
    return null;
  });
  return files === image.files ? null : "files were changed while the session slept";
}

/** Of all files that programs of a session use. */
export const fingerprintOf = ({ workspace, home }: Folder): Promise<string> => fingerprint([workspace, home]);

/** For a copy of a session that sleeps; null when its image is of no use to the session itself. */
export async function copyImage(
  host: SandboxHost,
  image: ProcessImage,
  source: Folder,
  copy: Folder,
): Promise<ProcessImage | null> {
  if (((await reasonAgainst(host, image)) ?? (await reasonInFiles(image, source))) !== null) return null;
  const { name, folder } = await newImage(host);
  try {
    await cp(imageFolder(host, image), folder, { recursive: true });
    const files = await fingerprintOf(copy);
    return { ...image, name, files, unflushedBoot: await bootId() };
  } catch (error) {
    await removeImage(folder);
    throw error;
  }
}

/** After that it outlives the machine's own end. */
export async function flushImageOf(host: SandboxHost, store: Store, row: SessionRow): Promise<void> {
  const { image } = row;
  if (image === null) return;
  await flushImage(imageFolder(host, image));
  if (row.image?.name !== image.name || row.image.isUsed) return; // used meanwhile
  row.image = { ...row.image, unflushedBoot: null };
  await store.updateSession(row);
}

/** Of this run of the machine. */
export const bootId = async () => (await readFile("/proc/sys/kernel/random/boot_id", "utf8")).trim();

export const imageFolder = (host: SandboxHost, { name }: ProcessImage) =>
  join(imagesDir(host.config.dataDir), name);

export const dropImage = (host: SandboxHost, image: ProcessImage): Promise<void> =>
  removeImage(imageFolder(host, image));

/** Removes images that no session has: those that a killed server was making. */
export async function removeStrayImages(dataDir: string, owned: ReadonlySet<string>): Promise<void> {
  const names = await readdir(imagesDir(dataDir)).catch(() => []);
  for (const name of names) if (!owned.has(name)) await removeImage(join(imagesDir(dataDir), name));
}
