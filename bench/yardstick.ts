/**
 * How fast this machine is now: the p50 of a JSON POST, by one client on a kept connection, through a bare server,
 * which passes it to a child over pipes and back. Nothing of this project is in it, so times can be told as multiples
 * of it.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import { LoadClient, timeEach } from "./load.ts";
import { summarise } from "./statistics.ts";

const WARM_UP = 1_500;
const COUNT = 1_500;

/** Milliseconds. */
export async function measureYardstick(): Promise<number> {
  const server = spawn(
    process.execPath,
    ["--disable-warning=ExperimentalWarning", fileURLToPath(import.meta.url)],
    {
      stdio: ["pipe", "pipe", "inherit"],
    },
  );
  try {
    const [port] = (await once(server.stdout, "data")) as [Buffer];
    const client = new LoadClient(`http://127.0.0.1:${String(port).trim()}`);
    const ask = () => client.call("POST", "/", { code: "x = 1" });
    await timeEach(WARM_UP, ask);
    const { p50 } = summarise(await timeEach(COUNT, ask));
    client.close();
    return p50;
  } finally {
    server.kill();
  }
}

/** The server of a measurement: a process of its own, as ours is. */
async function serve(): Promise<void> {
  const child = spawn("cat", [], { stdio: ["pipe", "pipe", "inherit"] });
  const server = http.createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const { code } = JSON.parse(Buffer.concat(chunks).toString()) as { code: string };
    child.stdin.write(`${JSON.stringify({ code })}\n`);
    const [answer] = (await once(child.stdout, "data")) as [Buffer];
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify(JSON.parse(String(answer))));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  console.log((server.address() as AddressInfo).port);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await serve();
