import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { test } from "node:test";
import { inPieces } from "./chunks.ts";

async function piecesOf(data: Buffer, chunkBytes = 100_000): Promise<Buffer[]> {
  const chunks = async function* () {
    for (let at = 0; at < data.length; at += chunkBytes) yield data.subarray(at, at + chunkBytes);
  };
  return Array.fromAsync(inPieces(chunks()), (piece) => Buffer.from(piece));
}

const namesOf = (pieces: Buffer[]) =>
  new Set(pieces.map((piece) => createHash("sha256").update(piece).digest("hex")));

test("pieces are within bounds, together the stream, and the same however the stream comes", async () => {
  for (const data of [randomBytes(30 << 20), Buffer.alloc(20 << 20), Buffer.from("short"), Buffer.alloc(0)]) {
    const pieces = await piecesOf(data);
    assert.ok(Buffer.concat(pieces).equals(data));
    for (const piece of pieces.slice(0, -1))
      assert.ok(piece.length >= 256 << 10 && piece.length <= 4 << 20, String(piece.length));
    assert.deepEqual(namesOf(await piecesOf(data, 777_777)), namesOf(pieces));
  }
});

test("what is inserted changes the pieces around it only", async () => {
  const data = randomBytes(40 << 20);
  const before = namesOf(await piecesOf(data));
  const at = 17 << 20;
  const changed = Buffer.concat([data.subarray(0, at), Buffer.from("inserted"), data.subarray(at)]);
  const after = namesOf(await piecesOf(changed));
  const isNew = [...after].filter((name) => !before.has(name));
  assert.ok(before.size >= 20, String(before.size));
  assert.ok(isNew.length <= 3, `${isNew.length} of ${after.size} pieces are new`);
});
