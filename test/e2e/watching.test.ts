/** What an operator sees: metrics that Prometheus reads, rules over them, and a log with a line for what happens. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promtool } from "../support/promtool.ts";
import { TestServer } from "../support/server.ts";

const DEPLOY = fileURLToPath(new URL("../../deploy/prometheus/", import.meta.url));
let server: TestServer;
before(async () => {
  server = await TestServer.start({ ERA_POOL: "python=1", ERA_LOG_LEVEL: "info" });
});
after(async () => {
  await server.kill(); // its log is full of what it has done
  await server.removeData();
});

async function scrape(): Promise<string> {
  const response = await fetch(`${server.url}/metrics`);
  assert.equal(response.status, 200);
  return response.text();
}

/** The sum of all rows of a metric whose labels have these texts. */
const sumOf = (text: string, name: string, ...labels: string[]) =>
  text
    .split("\n")
    .filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `))
    .filter((line) => labels.every((label) => line.includes(label)))
    .reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);

test("metrics count what happens, have no id or text of a client's, and Prometheus reads them", async () => {
  const session = await server.client.create("secret-name");
  await session.run("x = 1");
  await session.run("1 / 0");
  await session.run("import threading; never = threading.Lock()");
  await session.hibernate();
  await session.run("x");
  await server.client.execute("print(1)");
  await server.client.expect(200, "POST", `${session.path}/shell`, { command: "true" });
  await server.client.expect(404, "GET", "/api/sessions/nobody");
  const text = await scrape();
  promtool(["check", "metrics"], text);
  assert.equal(sumOf(text, "era_runs_total", 'kind="session"', 'outcome="ok"'), 3);
  assert.equal(sumOf(text, "era_runs_total", 'outcome="raised"'), 1);
  assert.equal(sumOf(text, "era_runs_total", 'kind="one_shot"'), 1);
  assert.equal(sumOf(text, "era_runs_total", 'kind="shell"'), 1);
  assert.equal(sumOf(text, "era_wake_seconds_count"), 1);
  assert.equal(sumOf(text, "era_sleep_seconds_count"), 1);
  assert.equal(sumOf(text, "era_refusals_total", 'code="session_not_found"'), 1);
  assert.equal(sumOf(text, "era_sessions"), 1);
  assert.ok(sumOf(text, "era_pool_claims_total") >= 2);
  assert.ok(sumOf(text, "era_save_bytes_total") > 0);
  assert.ok(sumOf(text, "era_disk_free_bytes") > 1e6);
  assert.ok(sumOf(text, "era_http_request_duration_seconds_count", 'operation="runCode"') >= 4);
  assert.doesNotMatch(text, /secret-name|nobody|ZeroDivision/);
  assert.ok(text.split("\n").length < 2_000);
});

test("the rules are as Prometheus reads them, and name only what there is; so does the dashboard", async () => {
  promtool(["check", "rules", `${DEPLOY}alerts.yml`]);
  const rules = readFileSync(`${DEPLOY}alerts.yml`, "utf8");
  const dashboard = readFileSync(`${DEPLOY}grafana.json`, "utf8");
  const panels = (JSON.parse(dashboard) as { panels: { targets: { expr: string }[] }[] }).panels;
  assert.ok(panels.length > 10);
  const text = await scrape();
  const known = new Set([...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name = ""]) => name));
  for (const [name] of (rules + dashboard).matchAll(/\b(?:era|process)_[a-z_]+\b/g))
    assert.ok(known.has(name.replace(/_(?:bucket|count|sum)$/, "")), name);
  const path = join(server.dataDir, "rule.yml");
  for (const { targets } of panels)
    for (const { expr } of targets) {
      const whole = expr.replaceAll("$__rate_interval", "5m");
      writeFileSync(path, `groups: [{name: a, rules: [{record: "a:b", expr: ${JSON.stringify(whole)}}]}]`);
      promtool(["check", "rules", path]);
    }
});

test("each request, run, sleep and wake is a line of the log, with its ids, and with the trace that a client is in", async () => {
  const trace = `00-${"a".repeat(32)}-${"b".repeat(16)}-01`;
  const path = "/api/sessions/logged/run";
  const answer = await server.client.call("POST", path, { code: "1" }, { traceparent: trace });
  await server.client.call("POST", path, { code: "1" }, { traceparent: "rubbish\u00e9" });
  await server.client.session("logged").hibernate();
  await server.client.session("logged").run("2");
  const lines = server.log
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .filter(({ session }) => session === "logged");
  const requests = lines.filter(({ msg }) => msg === "request");
  assert.equal(requests[0]?.request_id, answer.headers.get("x-request-id"));
  assert.equal(requests[0]?.traceparent, trace);
  assert.equal(requests[1]?.traceparent, undefined);
  assert.deepEqual([requests[0]?.operation, requests[0]?.status], ["runCode", 200]);
  const run = lines.find(({ msg }) => msg === "run");
  assert.deepEqual([run?.run_id, run?.outcome, run?.kind], [answer.body.run_id, "ok", "session"]);
  assert.deepEqual(
    lines.filter(({ msg }) => msg === "sleep" || msg === "wake").map(({ msg }) => msg),
    ["sleep", "wake"],
  );
});
