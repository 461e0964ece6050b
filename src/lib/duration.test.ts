import assert from "node:assert/strict";
import { test } from "node:test";
import { formatGoDuration } from "./duration.ts";

test("a duration is printed as Go prints it", () => {
  assert.equal(formatGoDuration(0), "0s");
  assert.equal(formatGoDuration(250), "250µs");
  assert.equal(formatGoDuration(15_315), "15.315ms");
  assert.equal(formatGoDuration(5_123_000), "5.123s");
  assert.equal(formatGoDuration(62_000_000), "1m2s");
  assert.equal(formatGoDuration(3_600_000_000), "1h0m0s");
});
