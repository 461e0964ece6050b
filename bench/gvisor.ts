/** gVisor as Debian has it: what it takes to image a small Python program and to restore it to its first result. */
import { spawnSync } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseConfig } from "../src/config.ts";
import { findImage } from "../src/image/find.ts";
import { imageName, readRecipe } from "../src/image/recipe.ts";
import { unpackPackages } from "../src/image/unpack.ts";

const FLAGS = ["--platform=systrap", "--network=none", "--ignore-cgroups"];
/** Says what its generator gives, every millisecond. */
const PROGRAM = `import os, sys, time
def numbers():
    n = 0
    while True:
        n += 1
        yield n
data = b"x" * (int(sys.argv[1]) << 20)
for n in numbers():
    with open("/bench/new", "w") as file: file.write(str(n))
    os.rename("/bench/new", "/bench/n")
    time.sleep(0.001)`;

export type GvisorFigures = { checkpointMs: number[]; restoreMs: number[] };

/** Null when runsc cannot be had, or does not run here. */
export async function measureGvisor(mb: number, rounds: number): Promise<GvisorFigures | null> {
  const folder = mkdtempSync(join(tmpdir(), "era-bench-gvisor-"));
  try {
    const figures: GvisorFigures = { checkpointMs: [], restoreMs: [] };
    await unpackPackages({
      suite: "trixie",
      packages: ["runsc"],
      folder: join(folder, "debian"),
      debianMirror: undefined,
      signal: AbortSignal.timeout(180_000),
    });
    const runsc = (...args: string[]) => {
      const program = join(folder, "debian/root/usr/bin/runsc");
      // Not a pipe: what it starts would hold it open.
      const errors = openSync(`${folder}/errors`, "w");
      const { status } = spawnSync(program, [`--root=${folder}/run`, ...FLAGS, ...args], {
        stdio: ["ignore", errors, errors],
        timeout: 30_000,
      });
      closeSync(errors);
      if (status !== 0)
        throw new Error(`runsc ${args[0]} failed: ${readFileSync(`${folder}/errors`, "utf8").slice(-500)}`);
    };
    const said = () =>
      existsSync(`${folder}/bench/n`) ? Number(readFileSync(`${folder}/bench/n`, "utf8")) : 0;
    const until = async (holds: () => boolean) => {
      for (let look = 0; !holds(); look++) {
        if (look > 20_000) throw new Error("the program says nothing");
        await sleep(1);
      }
    };
    mkdirSync(`${folder}/bench`);
    writeFileSync(`${folder}/bench/program.py`, PROGRAM);
    writeFileSync(`${folder}/config.json`, JSON.stringify(bundle(folder, mb)));
    runsc("run", "--detach", `--bundle=${folder}`, "c0");
    await until(() => said() > 3);
    for (let round = 0; round < rounds; round++) {
      const image = `${folder}/image-${round}`;
      mkdirSync(image);
      let startedAt = performance.now();
      runsc("checkpoint", `--image-path=${image}`, "--leave-running", `c${round}`);
      figures.checkpointMs.push(performance.now() - startedAt);
      runsc("delete", "--force", `c${round}`);
      rmSync(`${folder}/bench/n`, { force: true });
      startedAt = performance.now();
      runsc("restore", "--detach", `--bundle=${folder}`, `--image-path=${image}`, `c${round + 1}`);
      await until(() => said() > 3);
      figures.restoreMs.push(performance.now() - startedAt);
      rmSync(image, { recursive: true });
    }
    runsc("delete", "--force", `c${rounds}`);
    return figures;
  } catch (error) {
    console.error(`Without gVisor beside: ${(error as Error).message}`);
    return null;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function bundle(folder: string, mb: number): object {
  const { home, imagePackages } = parseConfig(process.env);
  const image = findImage(home, imageName(readRecipe(imagePackages)));
  if (image === null) throw new Error("there is no image yet");
  return {
    ociVersion: "1.0.0",
    root: { path: image.rootfs, readonly: true },
    process: {
      args: ["/usr/bin/python3.13", "-I", "-S", "/bench/program.py", String(mb)],
      cwd: "/",
      env: ["PATH=/usr/bin"],
      user: { uid: 0, gid: 0 },
    },
    mounts: [
      { destination: "/proc", type: "proc", source: "proc" },
      { destination: "/tmp", type: "tmpfs", source: "tmpfs" },
      { destination: "/bench", type: "bind", source: `${folder}/bench`, options: ["rw"] },
    ],
  };
}
