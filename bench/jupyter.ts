/** A Jupyter Server with ipykernel from Debian's packages, installed when missing, and the client that drives it. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const PEER = fileURLToPath(new URL("jupyter_peer.py", import.meta.url));
const PACKAGES = ["jupyter-server", "python3-ipykernel", "python3-websocket"];
const TOKEN = "benchmark";
const START_ATTEMPTS = 300;

export type Jupyter = AsyncDisposable & { ask(command: string): Promise<number[]> };

export async function startJupyter(): Promise<Jupyter> {
  if (spawnSync("dpkg", ["-s", ...PACKAGES]).status !== 0) {
    console.error(`Installing ${PACKAGES.join(", ")}`);
    const { status } = spawnSync(
      "apt-get",
      ["install", "-y", "-qq", "--no-install-recommends", ...PACKAGES],
      { stdio: "ignore" },
    );
    if (status !== 0) throw new Error("Cannot install Jupyter: use --no-peer to measure without it");
  }
  const port = await freePort();
  const home = mkdtempSync(join(tmpdir(), "era-jupyter-"));
  const server = spawn(
    "/usr/bin/python3",
    [
      "-m",
      "jupyter_server",
      "--allow-root",
      `--port=${port}`,
      "--ip=127.0.0.1",
      `--ServerApp.token=${TOKEN}`,
      `--ServerApp.root_dir=${home}`,
    ],
    { env: { PATH: "/usr/bin:/bin", HOME: home, LANG: "C.UTF-8" }, stdio: "ignore" },
  );
  const url = `http://127.0.0.1:${port}`;
  await answering(url);
  const client = spawn("/usr/bin/python3", [PEER, url, TOKEN], {
    env: { PATH: "/usr/bin:/bin", LANG: "C.UTF-8" },
    stdio: ["pipe", "pipe", "inherit"],
  });
  const lines = createInterface({ input: client.stdout })[Symbol.asyncIterator]();
  return {
    ask: async (command) => {
      client.stdin.write(`${command}\n`);
      const { value, done } = await lines.next();
      if (done) throw new Error(`the Jupyter client ended at '${command}'`);
      return JSON.parse(value) as number[];
    },
    [Symbol.asyncDispose]: async () => {
      client.stdin.on("error", () => undefined).end("stop\n"); // it may have ended by itself
      await ended(client);
      server.kill("SIGTERM");
      await ended(server);
    },
  };
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, "close");
  return port;
}

async function answering(url: string): Promise<void> {
  for (let attempt = 0; attempt < START_ATTEMPTS; attempt++) {
    const response = await fetch(`${url}/api?token=${TOKEN}`).catch(() => null);
    if (response?.ok) return;
    await sleep(100);
  }
  throw new Error("Cannot reach the Jupyter Server");
}
