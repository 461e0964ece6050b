import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { test } from "node:test";
import { pack } from "tar-stream";
import { TarGuard } from "./tar-guard.ts";

/** A header of a type and size, all else in it being zeros, and so much content. */
function entry(type: string, size: number): Buffer {
  const header = Buffer.alloc(512);
  header.write(size.toString(8).padStart(11, "0"), 124);
  header.write(type, 156);
  return Buffer.concat([header, Buffer.alloc(Math.ceil(size / 512) * 512)]);
}

const pass = (parts: Buffer[], maxHeaders = 100) =>
  buffer(Readable.from(parts).pipe(new TarGuard(maxHeaders, (why) => new Error(why))));

test("an archive passes as it is, however it is cut", async () => {
  const archive = pack();
  archive.entry({ name: "a/b.txt" }, "hello");
  archive.entry({ name: `long/${"x".repeat(300)}` }, "y".repeat(5_000));
  archive.entry({ name: "empty/", type: "directory" });
  archive.finalize();
  const whole = await buffer(archive as unknown as Readable);
  for (const size of [1, 7, 511, 512, 513, 100_000]) {
    const parts: Buffer[] = [];
    for (let at = 0; at < whole.length; at += size) parts.push(whole.subarray(at, at + size));
    assert.deepEqual(await pass(parts), whole, `in parts of ${size}`);
  }
});

test("descriptions are bounded, one by one and those of all entries together; so is the number of headers", async () => {
  await assert.rejects(pass([entry("g", 5_000)]), /describe all entries/);
  await assert.rejects(pass([entry("g", 3_000), entry("g", 3_000)]), /describe all entries/);
  await assert.rejects(pass([entry("x", 70_000)]), /a description of 70000 bytes/);
  await assert.rejects(pass(Array.from({ length: 101 }, () => entry("x", 0))), /more than 100 headers/);
  await assert.rejects(pass([Buffer.alloc(512, "9")]), /a header without a size/);
  assert.equal((await pass([entry("x", 60_000), entry("g", 4_000), entry("0", 1)])).length % 512, 0);
});

test("a description that gives another size is refused, however it is cut: what follows would be hidden", async () => {
  const describing = (record: string) => {
    const described = entry("x", record.length);
    described.write(record, 512);
    return described;
  };
  const large = `19 size=${9 * 2 ** 30}\n`;
  const odd = [
    "12 comment=x9 size=0\n",
    "  9 size=0\n",
    `38 path=x\n${large}\n`.replace("38", "99"),
    large + large,
  ];
  for (const record of [...odd, "9 size=0\n", "30 mtime=1350244992.023960108\n9 size=0\n"]) {
    const bytes = Buffer.concat([describing(record), entry("0", 4_096)]);
    await assert.rejects(pass([bytes]), /a description with a size/);
    await assert.rejects(pass([...bytes].map((byte) => Buffer.from([byte]))), /a description with a size/);
  }
  // A size within another value is none: what follows is looked at.
  const within = describing(`29 path=x\n${large.slice(0, -1)}\n`);
  await assert.rejects(pass([within, Buffer.alloc(512, "9")]), /a header without a size/);
  assert.ok((await pass([describing("22 GNU.sparse.size=50\n"), entry("0", 1)])).length > 0);
});

test("a size that no header's own field can tell is that of the entry which follows", async () => {
  const record = `19 size=${9 * 2 ** 30}\n`;
  const described = entry("x", record.length);
  described.write(record, 512);
  const large = entry("0", 0);
  assert.ok((await pass([described, large, Buffer.alloc(512, "9")])).length > 0, "its content is no header");
  const globally = entry("g", record.length);
  globally.write(record, 512);
  await assert.rejects(pass([globally, large]), /a description with a size/);
  await assert.rejects(pass([described, described, large]), /two descriptions/);
});
