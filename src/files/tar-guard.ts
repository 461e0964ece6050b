/**
 * Looks at the headers of a tar stream before anything makes sense of them: a few bytes of an archive can say names of
 * any length for any number of files, and whoever reads them copies each for each file.
 */
import { Transform, type TransformCallback } from "node:stream";

const BLOCK_BYTES = 512;
/** Types of entries that only describe others: pax, its global form, and GNU's long names. */
const DESCRIBES = new Set(["x", "g", "L", "K"]);
/** The beginning of a record of a description: its length, and what it gives. */
const RECORD = /(\d{1,5}) ([^=\n]+)=/y;
/** What may be taken for a size by who reads on where a record is not as it must be. */
const ANY_SIZE = /\d size=/;
/** What a header's own field can tell. Archives give a size besides for a larger file only. */
const MAX_FIELD_BYTES = 8 * 2 ** 30;
const MAX_DESCRIPTION_BYTES = 64 << 10;
/** A global description is good for each entry that follows. */
const MAX_GLOBAL_BYTES = 4 << 10;

/** Passes a tar stream on, and fails at the first header that is over a limit, by what `refuse` answers. */
export class TarGuard extends Transform {
  readonly #maxHeaders: number;
  readonly #refuse: (why: string) => Error;
  readonly #header = Buffer.alloc(BLOCK_BYTES);
  #filled = 0;
  /** Bytes of content and padding until the next header. */
  #skip = 0;
  #headers = 0;
  #globalBytes = 0;
  /** Bytes of a description that is being read, and what of it has come. */
  #described = 0;
  #isGlobal = false;
  #description = "";
  /** The size of the entry that follows, where its description gives it. */
  #nextSize: number | null = null;

  constructor(maxHeaders: number, refuse: (why: string) => Error) {
    super();
    this.#maxHeaders = maxHeaders;
    this.#refuse = refuse;
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    let at = 0;
    while (at < chunk.length) {
      const skipped = Math.min(this.#skip, chunk.length - at);
      const fault = this.#describe(chunk.subarray(at, at + skipped));
      if (fault !== null) {
        done(this.#refuse(fault));
        return;
      }
      this.#skip -= skipped;
      at += skipped;
      const taken = chunk.copy(this.#header, this.#filled, at, at + BLOCK_BYTES - this.#filled);
      this.#filled += taken;
      at += taken;
      if (this.#filled < BLOCK_BYTES) break;
      this.#filled = 0;
      const wrong = this.#look();
      if (wrong !== null) {
        done(this.#refuse(wrong));
        return;
      }
    }
    done(null, chunk);
  }

  /** Other sizes than the headers have would hide what follows from this guard, and not from who unpacks. */
  #describe(bytes: Buffer): string | null {
    if (this.#described === 0) return null;
    const part = bytes.subarray(0, this.#described);
    this.#described -= part.length;
    this.#description += part.toString("latin1");
    if (this.#described > 0) return null;
    const sizes = sizesIn(this.#description);
    this.#description = "";
    if (sizes?.length === 0) return null;
    const [size = 0] = sizes?.length === 1 ? sizes : [];
    const isNeeded = Number.isSafeInteger(size) && size >= MAX_FIELD_BYTES;
    if (!isNeeded || this.#isGlobal) return "a description with a size";
    this.#nextSize = size;
    return null;
  }

  /** Why the header that was read is refused; null when it is not. */
  #look(): string | null {
    const own = sizeOf(this.#header);
    if (own === null) return "a header without a size";
    const type = String.fromCharCode(this.#header[156] ?? 0);
    if (this.#nextSize !== null && DESCRIBES.has(type)) return "two descriptions of one entry, with a size";
    const size = this.#nextSize ?? own;
    this.#nextSize = null;
    this.#skip = Math.ceil(size / BLOCK_BYTES) * BLOCK_BYTES;
    this.#headers += 1;
    if (this.#headers > this.#maxHeaders) return `more than ${this.#maxHeaders} headers`;
    if (!DESCRIBES.has(type)) return null;
    if (size > MAX_DESCRIPTION_BYTES) return `a description of ${size} bytes`;
    this.#isGlobal = type === "g";
    if (type === "g" || type === "x") this.#described = size;
    if (type === "g") this.#globalBytes += size;
    return this.#globalBytes > MAX_GLOBAL_BYTES
      ? `more than ${MAX_GLOBAL_BYTES} bytes that describe all entries`
      : null;
  }
}

/** The sizes that a description gives; null when readers may find others. */
function sizesIn(description: string): number[] | null {
  const sizes: number[] = [];
  for (let at = 0; at < description.length; ) {
    RECORD.lastIndex = at;
    const [, length, name] = RECORD.exec(description) ?? [];
    const end = at + Number(length);
    if (length === undefined || description[end - 1] !== "\n")
      return ANY_SIZE.test(description.slice(at)) ? null : sizes;
    if (name === "size") sizes.push(Number(description.slice(RECORD.lastIndex, end - 1)));
    at = end;
  }
  return sizes;
}

/** Octal digits, or a number of base 256 when the first bit is set; null when it is neither. */
function sizeOf(header: Buffer): number | null {
  const first = header[124] ?? 0;
  if ((first & 0x80) !== 0) {
    const size = header.readUIntBE(130, 6);
    return header.subarray(125, 130).every((byte) => byte === 0) && (first & 0x7f) === 0 ? size : null;
  }
  const text = header.toString("latin1", 124, 136).replace(/[\0 ].*$/s, "");
  return text === "" ? 0 : /^[0-7]+$/.test(text) ? Number.parseInt(text, 8) : null;
}
