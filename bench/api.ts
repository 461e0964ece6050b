/** What the API itself adds: keys, long lists, tools of a model, and terminals. */
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { makeDataDir, TestServer } from "../test/support/server.ts";
import { LoadClient, timeEach } from "./load.ts";
import type { Bench } from "./report.ts";

const SETTINGS = { ERA_POOL: "python=2", ERA_LOG_LEVEL: "error" };
const ROUNDS = 8;

export async function measureApi(bench: Bench): Promise<void> {
  const server = await TestServer.start(SETTINGS);
  await withKeys(bench, server);
  await withTools(bench, server);
  await terminals(bench, server);
  await server.stop();
  await server.removeData();
  await longLists(bench);
}

/** Runs that are counted, limited and in the log, and runs of nobody. */
async function withKeys({ report, scale }: Bench, server: TestServer): Promise<void> {
  const limits = { sessions: 100, live_sessions: 10, runs_per_minute: 1_000_000 };
  const { key } = await server.client.expect(201, "POST", "/api/keys", { name: "bench", ...limits });
  const nobody = new LoadClient(server.url);
  const keyed = new LoadClient(server.url, { authorization: `Bearer ${key}` });
  for (let at = 0; at < scale.times(300); at++) await Promise.all([nobody.run("main"), keyed.run("main")]);
  for (let round = 0; round < ROUNDS; round++) {
    report.collect("run without a key", await timeEach(scale.times(200), () => nobody.run("main")));
    report.collect("run with a key", await timeEach(scale.times(200), () => keyed.run("main")));
  }
  report.times("run without a key");
  report.times("run with a key");
  report.difference("what a key adds to a run", "run with a key", "run without a key", { p50: 0.1 });
  for (const client of [nobody, keyed]) client.close();
}

async function withTools({ report, scale }: Bench, server: TestServer): Promise<void> {
  const client = new LoadClient(server.url, { "content-type": "application/json" });
  const params = { name: "era_run_in_session", arguments: { session_id: "tool", code: "x = 1" } };
  const call = () => client.call("POST", "/mcp", { jsonrpc: "2.0", id: 1, method: "tools/call", params });
  for (let at = 0; at < scale.times(300); at++) await Promise.all([call(), client.run("plain")]);
  for (let round = 0; round < ROUNDS; round++) {
    report.collect("run by HTTP", await timeEach(scale.times(100), () => client.run("plain")));
    report.collect("run by a tool of a model", await timeEach(scale.times(100), call));
  }
  report.times("run by a tool of a model");
  report.difference("what a tool adds to a run", "run by a tool of a model", "run by HTTP", { p50: 1.5 });
  client.close();
}

async function terminals({ report, scale }: Bench, server: TestServer): Promise<void> {
  const client = new LoadClient(server.url);
  const url = "/api/sessions/terminal/processes";
  const { process_id } = await client.call("POST", url, { argv: ["cat"], terminal: true });
  const address = `${server.url.replace("http", "ws")}${url}/${process_id}/terminal`;
  const socket = new WebSocket(address, ["era"]);
  await once(socket, "message"); // that it begins
  const echo = () => {
    const heard = once(socket, "message");
    socket.send(new Uint8Array([120]));
    return heard;
  };
  report.collect("echo of a terminal", await timeEach(scale.times(1000), echo));
  report.times("echo of a terminal", { p50: 5 });
  socket.close();
  await client.call("DELETE", `${url}/${process_id}`);
  const run = async () => {
    const started = await client.call("POST", url, { command: "true" });
    await client.call("GET", `${url}/${started.process_id}?wait=10`);
  };
  report.collect("a process, from its start to its end", await timeEach(scale.times(100), run));
  report.times("a process, from its start to its end");
  client.close();
}

/** As many sessions as a busy server has after a year. */
async function longLists({ report, scale }: Bench): Promise<void> {
  const count = scale.times(100_000);
  const dataDir = makeDataDir();
  const first = await TestServer.start(SETTINGS, dataDir);
  await first.client.create("first", { metadata: { team: "a" } });
  await first.client.session("first").run("x = 1");
  await first.stop();
  fill(dataDir, count);
  const server = await TestServer.start({ ...SETTINGS, ERA_POOL: "python=0" }, dataDir);
  const client = new LoadClient(server.url);
  const page = (query: string) =>
    timeEach(scale.times(50), () => client.call("GET", `/api/sessions${query}`));
  const title = `first page of ${count} sessions`;
  report.collect(title, await page(""));
  report.collect(`${title}, of one language`, await page("?language=node&limit=100"));
  report.times(title, { p50: 20 });
  report.times(`${title}, of one language`, { p50: 20 });
  client.close();
  await server.stop();
  await server.removeData();
}

/** Copies of the one session that there is. */
function fill(dataDir: string, count: number): void {
  const name = readdirSync(dataDir).find((each) => each.endsWith(".db")) ?? "";
  const database = new DatabaseSync(join(dataDir, name));
  const { settings } = database.prepare("SELECT settings FROM sessions").get() as { settings: string };
  const { progress } = database.prepare("SELECT progress FROM session_progress").get() as {
    progress: string;
  };
  const add = database.prepare("INSERT INTO sessions (id, key_id, settings) VALUES (?, '', ?)");
  const note = database.prepare("INSERT INTO session_progress VALUES (?, ?)");
  database.exec("BEGIN");
  for (let at = 1; at < count; at++) {
    const id = `session-${at}`;
    const language = at % 100 === 0 ? "node" : "python";
    add.run(id, JSON.stringify({ ...JSON.parse(settings), id, language }));
    note.run(id, progress);
  }
  database.exec("COMMIT");
  database.close();
}
