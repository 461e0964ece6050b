/**
 * Looks at the headers of a tar stream before anything makes sense of them: a few bytes of an archive can say names of
 * any length for any number of files, and whoever reads them copies each for each file.
 */
import { Transform, type TransformCallback } from "node:stream";

const BLOCK_BYTES = 512;
/** Types of entries that only describe others: pax, its global form, and GNU's long names. */
const DESCRIBES = new Set(["x", "g", "L", "K"]);
/** As only files of over 8 GiB need it. */
const SIZE_RECORD = /(^|\n)\d+ size=/;
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
  #description = "";

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
    const description = this.#description;
    this.#description = "";
    return SIZE_RECORD.test(description) ? "a description with a size" : null;
  }

  /** Why the header that was read is refused; null when it is not. */
  #look(): string | null {
    const size = sizeOf(this.#header);
    if (size === null) return "a header without a size";
    this.#skip = Math.ceil(size / BLOCK_BYTES) * BLOCK_BYTES;
    this.#headers += 1;
    if (this.#headers > this.#maxHeaders) return `more than ${this.#maxHeaders} headers`;
    const type = String.fromCharCode(this.#header[156] ?? 0);
    if (!DESCRIBES.has(type)) return null;
    if (size > MAX_DESCRIPTION_BYTES) return `a description of ${size} bytes`;
    if (type === "g" || type === "x") this.#described = size;
    if (type === "g") this.#globalBytes += size;
    return this.#globalBytes > MAX_GLOBAL_BYTES
      ? `more than ${MAX_GLOBAL_BYTES} bytes that describe all entries`
      : null;
  }
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
