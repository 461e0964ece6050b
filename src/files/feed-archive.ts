/** An archive that a client sends, plain or gzipped, on its way to who unpacks it. */
import { PassThrough, Readable, type Transform } from "node:stream";
import { finished, pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";

const GZIP = Buffer.from([0x1f, 0x8b]);

/**
 * Unpacks gzip where the first bytes say so, then passes all `through` these. The request itself is not ended: its rest
 * must still be read.
 */
export async function feedArchive(
  content: Readable,
  through: readonly Transform[],
  into: NodeJS.WritableStream,
): Promise<void> {
  const input = content.pipe(new PassThrough());
  // pipe() does not pass on that a client has gone in the middle.
  finished(content, { writable: false }).catch((error: Error) => input.destroy(error));
  try {
    const parts = input[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
    const first = await parts.next();
    const start = first.done ? Buffer.alloc(0) : first.value;
    async function* all() {
      yield start;
      for (let next = await parts.next(); !next.done; next = await parts.next()) yield next.value;
    }
    const unzip = start.subarray(0, 2).equals(GZIP) ? [createGunzip()] : [];
    await pipeline([Readable.from(all()), ...unzip, ...through, into]);
  } finally {
    content.unpipe(input);
    input.destroy();
  }
}
