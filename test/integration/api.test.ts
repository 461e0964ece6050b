/**
 * The API against its own description. The server compares each answer with what its operation declares, and answers
 * 500 where they differ; so does every other test of the project.
 */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import fc from "fast-check";
import type { Operation } from "../../src/api/operation.ts";
import { paramNames } from "../../src/api/params.ts";
import { OPERATIONS } from "../../src/api/table.ts";
import { type ArbitraryRequest, arbitraryRequest } from "../support/arbitrary-request.ts";
import { TestServer } from "../support/server.ts";

/** 20,000 take some minutes. */
const REQUESTS = Number(process.env.ERA_TEST_REQUESTS ?? 1_500);
const LANES = 4;
/** A path may have become another one. */
const NO_OPERATION = /"code":"(route_not_found|method_not_allowed)"/;
const FUZZED = ["fuzz-a", "fuzz-b"];
const PATIENCE_MS = 15_000;

let server: TestServer;
before(async () => {
  server = await TestServer.start();
});
after(async () => {
  await server.stop();
  await server.removeData();
});

async function ask({ method, path, example }: Operation, params: Record<string, unknown>) {
  const place = paramNames(path).reduce(
    (text, name) => text.replace(`{${name}}`, String(params[name])),
    path,
  );
  const query = String(
    new URLSearchParams(
      Object.entries(example?.query ?? {}).map(([name, value]): [string, string] => [name, String(value)]),
    ),
  );
  const body = example?.body;
  const response = await fetch(`${server.url}${place}${query === "" ? "" : `?${query}`}`, {
    method,
    ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
  });
  return { status: response.status, type: response.headers.get("content-type"), text: await response.text() };
}

async function sendFuzzed({ method, path, body }: ArbitraryRequest) {
  const began = performance.now();
  const response = await fetch(server.url + path, { method, ...(body === undefined ? {} : { body }) });
  const text = await response.text();
  return { status: response.status, text, tookMs: performance.now() - began };
}

async function makeAgain(id: string): Promise<void> {
  await server.client.call("POST", "/api/sessions", {
    session_id: id,
    language: id === "fuzz-a" ? "python" : "bash",
  });
  await server.client.call("POST", `/api/sessions/${id}/run`, { code: "true" });
  await server.client.call("PUT", `/api/sessions/${id}/files/a.txt`, "text");
}

test("each example of the reference works, in the order of the reference", async () => {
  const shown = OPERATIONS.filter(({ example }) => example !== undefined);
  for (const each of shown) {
    const { status, text } = await ask(each, each.example?.params ?? {});
    assert.equal(status, Number(Object.keys(each.answers)[0]), `${each.id}: ${text.slice(0, 500)}`);
  }
  assert.ok(shown.length > 25);
});

test("the document and the page are there, and the page loads nothing", async () => {
  const document = await server.client.expect(200, "GET", "/openapi.json");
  const operations = Object.values(document.paths).flatMap((methods) => Object.values(methods as object));
  assert.equal(operations.length, OPERATIONS.length);
  const page = await fetch(`${server.url}/reference`);
  const text = await page.text();
  assert.match(page.headers.get("content-security-policy") ?? "", /default-src 'none'/);
  for (const { id } of OPERATIONS) assert.ok(text.includes(`id="${id}"`), id);
  assert.doesNotMatch(text, /<script|<link|src=|@import|url\(/);
});

test("a query that an operation does not take is refused, and nothing is done", async () => {
  await server.client.create("kept-by-refusal");
  const refused = await server.client.expect(400, "DELETE", "/api/sessions?state=cold");
  assert.match(refused.error, /'state' in the query/);
  await server.client.expect(400, "GET", "/api/sessions?limt=3");
  await server.client.session("kept-by-refusal").get();
});

test(`${REQUESTS} requests, right and wrong ones: each answer is a documented one, none is 500`, async (t) => {
  const document = await server.client.expect(200, "GET", "/openapi.json");
  const seed = Number(process.env.ERA_TEST_SEED ?? Date.now() % 1_000_000);
  t.diagnostic(`seed ${seed}`);
  const requests = fc.sample(arbitraryRequest(document), { numRuns: REQUESTS, seed });
  const documented = new Map(OPERATIONS.map((each) => [each.id, statusesOf(document, each)]));
  const seen = new Map<number, number>();
  const faults: string[] = [];
  const waiting = requests.entries();
  const lane = async () => {
    for (const [at, request] of waiting) {
      const { status, text, tookMs } = await sendFuzzed(request);
      seen.set(status, (seen.get(status) ?? 0) + 1);
      // Some of them delete sessions.
      if (text.includes("session_not_found")) for (const id of FUZZED) await makeAgain(id);
      const isExpected = documented.get(request.operationId)?.has(status) || NO_OPERATION.test(text);
      if (!isExpected || tookMs > PATIENCE_MS)
        faults.push(
          `#${at} ${JSON.stringify(request).slice(0, 700)}: ${status} in ${tookMs} ms, ${text.slice(0, 700)}`,
        );
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  t.diagnostic(`statuses ${JSON.stringify(Object.fromEntries([...seen].sort()))}`);
  assert.deepEqual(faults, [], `seed ${seed}`);
});

function statusesOf(
  document: { paths: Record<string, Record<string, { responses: object }>> },
  { path, method }: Operation,
): Set<number> {
  const { responses } = document.paths[path]?.[method.toLowerCase()] ?? {};
  return new Set(
    Object.keys(responses ?? {})
      .map(Number)
      .filter((status) => status !== 500),
  );
}
