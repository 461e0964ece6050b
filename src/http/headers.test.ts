import assert from "node:assert/strict";
import { test } from "node:test";
import { confinedCookie, isAnswerHeader, isUpgradeHeader } from "./headers.ts";

test("a cookie of a program is for its own addresses", () => {
  const confined = (cookie: string) => confinedCookie(cookie, "/proxy/a/80");
  assert.equal(confined("n=1"), "n=1; Path=/proxy/a/80/");
  assert.equal(confined("n=1; Path=/; HttpOnly"), "n=1; HttpOnly; Path=/proxy/a/80/");
  assert.equal(confined("n=1;path=/x;Domain=example.org; Secure"), "n=1; Secure; Path=/proxy/a/80/x");
  assert.equal(confined("n=1; Path=/proxy/a/80/x"), "n=1; Path=/proxy/a/80/x");
  assert.equal(confined("n=1; Path=/proxy/a/8000"), "n=1; Path=/proxy/a/80/proxy/a/8000");
  assert.equal(confined("n=1; Path=/proxy/a/80/; Path=/"), "n=1; Path=/proxy/a/80/");
  assert.equal(confined("n=1; PATH ; domain"), "n=1; Path=/proxy/a/80/");
});

test("headers that speak for the origin are in no list, whatever the protocol", () => {
  for (const name of [
    "nel",
    "strict-transport-security",
    "alt-svc",
    "clear-site-data",
    "content-security-policy",
  ])
    assert.deepEqual([isAnswerHeader(name), isUpgradeHeader(name)], [false, false], name);
  for (const name of ["sec-websocket-accept", "sec-websocket-protocol", "upgrade", "connection", "x-own"])
    assert.ok(isUpgradeHeader(name), name);
});
