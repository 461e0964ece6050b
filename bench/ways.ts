/** What each way in costs: runs in every language, the first chunk of a stream, files, public addresses. */
import { once } from "node:events";
import http from "node:http";
import { readEvents } from "../test/support/events.ts";
import { TestServer } from "../test/support/server.ts";
import { LoadClient, sustain, timeEach, warmedUp } from "./load.ts";
import type { Bench } from "./report.ts";

const PROGRAMS: Readonly<Record<string, string>> = {
  python: "x = 1",
  node: "x = 1",
  typescript: "x = 1 as number",
  deno: "x = 1 as number",
  bash: "x=1",
  go: 'package main\nimport ("fmt"; "math"; "net/http")\nfunc main() { fmt.Sprint(math.Pi, http.StatusOK) }',
};
const WARM = ["node", "typescript", "deno", "bash"];
/** Runs until the server, and then a kernel, run compiled code. */
const SERVER_WARM_UP = 1_000;
const KERNEL_WARM_UP = 300;
const FILE_BYTES = 64 << 20;
const SERVER = `import threading, http.server
class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200); self.send_header("content-length", "2"); self.end_headers(); self.wfile.write(b"ok")
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 8000), Answer)
threading.Thread(target=server.serve_forever, daemon=True).start()`;

export async function measureWays(bench: Bench): Promise<void> {
  const server = await TestServer.start({
    ERA_POOL: WARM.map((language) => `${language}=2`).join(","),
    ERA_LOG_LEVEL: "error",
  });
  const client = new LoadClient(server.url);
  await timeEach(bench.scale.times(SERVER_WARM_UP), () => client.run("warm-up"));
  await languages(bench, client);
  await firstChunk(bench, server.url, client);
  await files(bench, server.url, client);
  await publicAddress(bench, server.url, client);
  client.close();
  await server.stop();
  await server.removeData();
}

async function warmStarts(
  { report, scale }: Pick<Bench, "report" | "scale">,
  client: LoadClient,
  language: string,
): Promise<void> {
  const name = `${language}: warm start to first result`;
  for (let at = 0; at < scale.times(15); at++) {
    const id = `${language}-start-${at}`;
    await warmedUp(client, WARM.length * 2);
    report.collect(name, await timeEach(1, () => client.run(id, PROGRAMS[language], language)));
    await client.call("DELETE", `/api/sessions/${id}`);
  }
  report.times(name, language === "node" ? { p50: 10 } : undefined);
}

async function languages({ report, scale }: Bench, client: LoadClient): Promise<void> {
  for (const [language, code] of Object.entries(PROGRAMS)) {
    if (WARM.includes(language)) await warmStarts({ report, scale }, client, language);
    const step = () => client.run(`${language}-runs`, code, language);
    const first = await timeEach(1, step);
    if (language === "go") report.value("go: first run", "ms", first[0] ?? 0, { most: 1500 });
    await warmedUp(client, WARM.length * 2); // a sandbox that starts takes the processor from the runs
    const count = language === "go" ? scale.times(20) : scale.times(600);
    if (language !== "go") await timeEach(scale.times(KERNEL_WARM_UP), step);
    report.collect(`${language}: run`, await timeEach(count, step));
    report.times(`${language}: run`, language === "go" ? { p50: 500 } : { p50: 1.5 });
  }
}

/** From the request to the first chunk, of a program that prints one at once. */
async function firstChunk({ report, scale }: Bench, url: string, client: LoadClient): Promise<void> {
  await client.run("stream");
  const body = JSON.stringify({ code: "print(1)" });
  const sample = async () => {
    const startedAt = performance.now();
    const response = await fetch(`${url}/api/sessions/stream/stream`, { method: "POST", body });
    let firstAt = 0;
    for await (const { event, atMs } of readEvents(response))
      if (event === "stdout" && firstAt === 0) firstAt = atMs;
    return firstAt - startedAt;
  };
  for (let at = 0; at < 20; at++) await sample();
  for (let at = 0; at < scale.times(300); at++) report.collect("first chunk of a stream", [await sample()]);
  report.times("first chunk of a stream", { p50: 5 });
}

async function files({ report, scale }: Bench, url: string, client: LoadClient): Promise<void> {
  await client.run("files");
  const at = `${url}/api/sessions/files/files/large.bin`;
  const content = Buffer.alloc(FILE_BYTES, 7);
  const rates: Record<"put" | "get", number[]> = { put: [], get: [] };
  const rate = (startedAt: number) => FILE_BYTES / 1e6 / ((performance.now() - startedAt) / 1000);
  for (let round = 0; round < Math.max(2, scale.times(6)); round++) {
    const putAt = performance.now();
    await (await fetch(at, { method: "PUT", body: content })).arrayBuffer();
    rates.put.push(rate(putAt));
    const getAt = performance.now();
    await (await fetch(at)).arrayBuffer();
    rates.get.push(rate(getAt));
  }
  const median = (values: number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
  report.value("file of 64 MiB: put", "MB/s", median(rates.put));
  report.value("file of 64 MiB: get", "MB/s", median(rates.get));
}

async function publicAddress({ report, scale }: Bench, url: string, client: LoadClient): Promise<void> {
  await client.run("served", SERVER);
  const agent = new http.Agent({ keepAlive: true, maxSockets: 8 });
  const ask = async () => {
    const request = http.get(`${url}/proxy/served/8000/`, { agent });
    const [response] = (await once(request, "response")) as [http.IncomingMessage];
    response.resume();
    await once(response, "end");
    if (response.statusCode !== 200) throw new Error(`the proxy answered ${response.statusCode}`);
  };
  const { samples, perSecond } = await sustain(4, scale.quick ? 1 : 5, ask);
  report.value("requests to a program behind its address, 4 clients", "per second", perSecond);
  report.collect("request to a program behind its address", samples);
  report.times("request to a program behind its address");
  agent.destroy();
}
