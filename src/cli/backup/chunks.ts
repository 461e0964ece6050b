/**
 * A stream cut where its content says so: what is inserted or changed in it changes the pieces around it only, so that
 * two streams that have much in common have most pieces in common.
 */
const MIN_BYTES = 256 << 10;
const MAX_BYTES = 4 << 20;
/** A cut comes once in 1 MiB after the least size, where these bits of the rolling sum are all zero. */
const CUT_MASK = 0xfffff000 << 0;
/** Only the last 32 bytes count in the sum, out of which the others are shifted. */
const GEAR = gear();

/** Numbers for each value of a byte, which have nothing to do with each other, the same at all times. */
function gear(): Int32Array {
  const numbers = new Int32Array(256);
  let state = 0x9e3779b9;
  for (let at = 0; at < numbers.length; at++) {
    state = Math.imul(state ^ (state >>> 15), 0x85ebca6b) ^ Math.imul(at + 1, 0xc2b2ae35);
    numbers[at] = state ^ (state >>> 13);
  }
  return numbers;
}

/** Pieces of 256 KiB to 4 MiB, the last of any size; together they are the stream. */
export async function* inPieces(stream: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  let parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of stream) {
    parts.push(part);
    bytes += part.length;
    if (bytes < 2 * MAX_BYTES) continue;
    let rest = Buffer.concat(parts);
    while (rest.length >= MAX_BYTES) {
      const end = cutIn(rest);
      yield rest.subarray(0, end);
      rest = rest.subarray(end);
    }
    [parts, bytes] = [[rest], rest.length];
  }
  for (let rest = Buffer.concat(parts); rest.length > 0; ) {
    const end = cutIn(rest);
    yield rest.subarray(0, end);
    rest = rest.subarray(end);
  }
}

function cutIn(data: Buffer): number {
  const end = Math.min(data.length, MAX_BYTES);
  let sum = 0;
  for (let at = MIN_BYTES; at < end; at++) {
    sum = ((sum << 1) + (GEAR[data[at] as number] as number)) | 0;
    if ((sum & CUT_MASK) === 0) return at + 1;
  }
  return end;
}
