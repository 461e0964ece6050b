/**
 * Trees of a size and shape that a guest chooses: listed, searched and packed within bounds, whatever their names are.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { packTree } from "../../src/files/archive.ts";
import { countFiles, listFiles } from "../../src/files/list.ts";
import { removeTree } from "../../src/lib/remove-tree.ts";

const MIB = 1 << 20;
const DEEP = 24_000;
const FLAT = 3_000;
const signal = AbortSignal.timeout(120_000);
const root = mkdtempSync(join(tmpdir(), "era-tree-"));

/** Files with paths of 25,000 characters, some with short ones, and one whose name is no text. */
const MAKE = `import os
os.chdir("${root}")
for at in range(${FLAT}):
    open(f"file-{at:05}", "w").write("x")
os.makedirs("empty/inner")
open(b"bad-\\xff", "w").close()
for _ in range(99):
    os.mkdir("z" * 255); os.chdir("z" * 255)
for at in range(${DEEP}):
    open(f"{at:05}" + "y" * 250, "w").close()`;

before(() => execFileSync("python3", ["-c", MAKE]));
after(() => removeTree(root));

/** How much more memory this process takes at the most while `work` is in progress. */
async function peakGrowth(work: () => Promise<void>): Promise<number> {
  globalThis.gc?.();
  const start = process.memoryUsage().rss;
  let most = start;
  const look = setInterval(() => {
    most = Math.max(most, process.memoryUsage().rss);
  }, 20);
  await work();
  clearInterval(look);
  return Math.max(most, process.memoryUsage().rss) - start;
}

test("a listing is in order, of what can be named; all that is there counts", async () => {
  const { files, count, totalBytes, unnamed } = await listFiles(root, { maxListed: 100, signal });
  assert.deepEqual(
    files.map(({ path }) => path),
    Array.from({ length: 100 }, (_, at) => `file-${String(at).padStart(5, "0")}`),
  );
  assert.deepEqual([count, totalBytes, unnamed], [FLAT + DEEP + 1, FLAT, DEEP + 1]);
  assert.deepEqual(await countFiles(root), { files: FLAT + DEEP + 1, bytes: FLAT });
});

test("a search in names of any length takes little memory", async () => {
  const growth = await peakGrowth(async () => {
    const { count, unnamed } = await listFiles(root, { maxListed: 100_000, search: "Z", signal });
    assert.deepEqual([count, unnamed], [DEEP, DEEP]);
  });
  assert.ok(growth < 160 * MIB, `${Math.round(growth / MIB)} MiB more`);
});

test("an archive of any tree takes little memory, also for a slow reader", async () => {
  let bytes = 0;
  const growth = await peakGrowth(async () => {
    for await (const chunk of packTree(root)) {
      bytes += (chunk as Buffer).length;
      if (bytes % 7 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    }
  });
  assert.ok(bytes >= FLAT * 1024, `${bytes} bytes`);
  assert.ok(growth < 160 * MIB, `${Math.round(growth / MIB)} MiB more`);
});

test("a listing ends when nobody waits for it any more", async () => {
  const gone = new AbortController();
  const listing = listFiles(root, { maxListed: 10, signal: gone.signal });
  setTimeout(() => gone.abort(new Error("the client has gone")), 5);
  await assert.rejects(listing, /the client has gone/);
});
