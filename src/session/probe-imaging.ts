/**
 * Whether this host can make and restore process images: found out with a sandbox of its own, once for each boot, kernel
 * and version of what takes part, and remembered beside CRIU.
 */
import { createHash } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { type Imager, removeImage } from "../sandbox/imaging/imager.ts";
import {
  defaultLimits,
  type ImagingSupport,
  type LiveSandbox,
  policyFor,
  removeFolder,
  restoreSandbox,
  type SandboxHost,
  startPristine,
} from "./live-sandbox.ts";
import { newImage } from "./process-images.ts";

const remembered = z.object({ supported: z.boolean(), detail: z.string() });
const DONE = new Error("the probe is over");

/** The host with its imager if that works, else without; and what was found. */
export async function probeImaging(
  host: SandboxHost,
  imager: Imager,
  memory: string,
): Promise<ImagingSupport> {
  const key = `${await readFile("/proc/sys/kernel/random/boot_id", "utf8")}${imager.hostKey(policyFor(host, NOWHERE, defaultLimits(host.config)))}`;
  const path = join(memory, `probe-${createHash("sha256").update(key).digest("hex").slice(0, 16)}.json`);
  const known = await readFile(path, "utf8").catch(() => null);
  if (known !== null) return remembered.parse(JSON.parse(known));
  const found = await tryOut({ ...host, imager }, imager);
  await mkdir(memory, { recursive: true });
  await writeFile(path, JSON.stringify(found));
  return found;
}

const NOWHERE = { key: "", uid: 0, root: "", socket: "", workspace: "", home: "", state: "", run: "" };

async function tryOut(host: SandboxHost, imager: Imager): Promise<ImagingSupport> {
  const limits = defaultLimits(host.config);
  const first = await startPristine(host, { language: "python", limits });
  const { folder, sandbox } = first;
  const { folder: image } = await newImage(host);
  let second: LiveSandbox | null = null;
  try {
    await first.freeze();
    if (sandbox.cgroup === null) throw new Error("there are no cgroups");
    await imager.dump(policyFor(host, folder, limits), sandbox.cgroup, image);
    await first.end(DONE);
    second = await restoreSandbox(host, folder, limits, { folder: image, key: folder.key, uid: folder.uid });
    return { supported: true, detail: "processes are imaged and restored by CRIU" };
  } catch (error) {
    return { supported: false, detail: (error as Error).message.slice(0, 500) };
  } finally {
    await (second ?? first).end(DONE);
    await removeFolder(host, folder);
    await removeImage(image);
  }
}
