/** Streams of bytes as text, in parts: a character that has come in part is kept back until it is whole. */
export class WholeText {
  readonly #held = new Map<string, { bytes: Buffer; place: number }>();

  /** `place`: that of the first of these bytes, among all that come. */
  take(stream: string, content: Buffer, place: number): string {
    const before = this.#held.get(stream);
    const bytes = before === undefined ? content : Buffer.concat([before.bytes, content]);
    const whole = bytes.length - incompleteEnd(bytes);
    this.#held.delete(stream);
    if (whole < bytes.length) {
      const isOlder = before !== undefined && whole === 0;
      const at = isOlder ? before.place : place + content.length - (bytes.length - whole);
      this.#held.set(stream, { bytes: bytes.subarray(whole), place: at });
    }
    return bytes.toString("utf8", 0, whole);
  }

  /** Where to go on when all before a place is there, but for what is kept back. */
  placeBefore(place: number): number {
    return Math.min(place, ...[...this.#held.values()].map((held) => held.place));
  }

  /** What never became whole: [stream, text]. */
  rest(): [string, string][] {
    return [...this.#held].map(([stream, { bytes }]) => [stream, bytes.toString()]);
  }
}

const MAX_TAIL = 3;

/** Bytes at the end that begin a character of UTF-8, and do not end it. */
function incompleteEnd(bytes: Buffer): number {
  for (let back = 1; back <= Math.min(MAX_TAIL, bytes.length); back++) {
    const byte = bytes[bytes.length - back] ?? 0;
    if ((byte & 0xc0) !== 0x80) return lengthOf(byte) > back ? back : 0;
  }
  return 0;
}

/** How many bytes the character has that a byte begins. */
function lengthOf(byte: number): number {
  if (byte >= 0xf0) return 4;
  if (byte >= 0xe0) return 3;
  return byte >= 0xc0 ? 2 : 1;
}
