/** A Jupyter Server with ipykernel from Debian's packages, installed when missing, and the client that drives it. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { ended, installPackages, type Peer, startPeer } from "./peer.ts";

const PACKAGES = ["jupyter-server", "python3-ipykernel", "python3-websocket"];
const TOKEN = "benchmark";
const START_ATTEMPTS = 300;

export async function startJupyter(): Promise<Peer> {
  installPackages(PACKAGES);
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
  const client = startPeer("jupyter_peer.py", [url, TOKEN]);
  return {
    ask: (command) => client.ask(command),
    [Symbol.asyncDispose]: async () => {
      await client[Symbol.asyncDispose]();
      server.kill("SIGTERM");
      await ended(server);
    },
  };
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
