/** A peer in Python that a benchmark asks: one command a line, one JSON line of milliseconds as the answer. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

export type Peer = AsyncDisposable & { ask(command: string): Promise<number[]> };

/** Debian's packages for the host's own Python, installed when missing. */
export function installPackages(packages: readonly string[]): void {
  if (spawnSync("dpkg", ["-s", ...packages]).status === 0) return;
  console.error(`Installing ${packages.join(", ")}`);
  const { status } = spawnSync("apt-get", ["install", "-y", "-qq", "--no-install-recommends", ...packages], {
    stdio: "ignore",
  });
  if (status !== 0) throw new Error(`Cannot install ${packages.join(", ")}: use --no-peer`);
}

export function startPeer(script: string, args: readonly string[]): Peer {
  const path = fileURLToPath(new URL(script, import.meta.url));
  const client = spawn("/usr/bin/python3", [path, ...args], {
    env: { PATH: "/usr/bin:/bin", LANG: "C.UTF-8" },
    stdio: ["pipe", "pipe", "inherit"],
  });
  const lines = createInterface({ input: client.stdout })[Symbol.asyncIterator]();
  return {
    ask: async (command) => {
      client.stdin.write(`${command}\n`);
      const { value, done } = await lines.next();
      if (done) throw new Error(`the peer '${script}' ended at '${command}'`);
      return JSON.parse(value) as number[];
    },
    [Symbol.asyncDispose]: async () => {
      client.stdin.on("error", () => undefined).end("stop\n"); // it may have ended by itself
      await ended(client);
    },
  };
}

export async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
}
