/** The benchmark's short form works, and measures what it says; its figures are not judged here. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const ERA = fileURLToPath(new URL("../../era", import.meta.url));

test("`era bench --quick` prints a table and writes JSON", () => {
  const file = join(mkdtempSync(join(tmpdir(), "era-bench-")), "bench.json");
  const { stdout, stderr, status } = spawnSync(ERA, ["bench", "--quick", "--no-peer", "--json", file], {
    encoding: "utf8",
  });
  assert.equal(status, 0, stderr);
  const { rows, machine } = JSON.parse(readFileSync(file, "utf8"));
  assert.ok(machine.yardstickMs > 0.01 && machine.yardstickMs < 100);
  for (const name of [
    "warm start to first result",
    "cold start to first result",
    "run",
    "one-shot, one client",
    "node: run",
    "first chunk of a stream",
    "echo of a terminal",
    "run with a key",
    "first page of 10000 sessions",
  ]) {
    const row = rows.find((row: { name: string }) => row.name === name);
    assert.ok(row.figures.p50 > 0 && row.figures.count >= 3, name);
    assert.ok(stdout.includes(name));
  }
});
