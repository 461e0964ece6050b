/** Which versions of saved state are kept, and which files they need: as guest/state/kept_versions.py has it. */
import {
  discard,
  filesOf,
  namesIn,
  placesOf,
  readVersion,
  STATE,
  sizeOf,
  versionNumbers,
} from "./state-files.mjs";

const FLUSH_MS = 5_000;
const now = performance.now.bind(performance);

/**
 * The versions that are kept, and which files they need: what nobody needs any more is removed. `keep` says how many
 * there may be, and how many bytes their files may take together.
 */
export class KeptVersions {
  keep = { versions: 20, bytes: 2 ** 30 };
  /** Names of files that are known to be. */
  onDisk = new Set();
  #files = null;
  /** Sizes of the files of kept versions, and of all of them together. */
  #sizes = new Map();
  #bytes = 0;
  /** The last version that was put on disk; two of them while the newer one is only staged. */
  #flushed = [];
  #flushedAt = now();

  /**
   * Which of an earlier kernel's versions reached the disk is not known: all stay until this kernel has flushed one.
   */
  get isFlushDue() {
    if (this.#files === null && versionNumbers().length > 0) return true;
    return now() - this.#flushedAt > FLUSH_MS;
  }

  /** Whether a new version and the one that is on disk take more than both may: the new one must be on disk, too. */
  mustFlush(header) {
    if (this.#files === null || this.#bytes + header.written <= this.keep.bytes) return false;
    const sizes = sizesOf(header);
    for (const version of this.#flushed)
      for (const name of this.#files.get(version) ?? []) sizes.set(name, this.#sizes.get(name) ?? 0);
    return sum(sizes.values()) > this.keep.bytes;
  }

  /** While a version is only staged, the one before it is what counts. */
  add(header, durable, staged) {
    const { version } = header;
    const present = new Set(this.#files === null ? this.#find(version) : []);
    this.#enter(header);
    if (durable) {
      for (const name of this.#files.get(version)) this.onDisk.add(name);
      this.#flushed = staged ? [...this.#flushed.slice(-1), version] : [version];
      this.#flushedAt = now();
    }
    this.#remove(present, present);
    const least = staged ? 2 : 1;
    const surplus = this.#files.size - Math.max(least, this.keep.versions);
    for (const [at, old] of inOrder(this.#files.keys()).slice(0, -least).entries()) {
      if (at >= surplus && this.#bytes <= this.keep.bytes) break;
      if (this.#flushed.includes(old)) continue;
      const names = this.#files.get(old);
      this.#files.delete(old);
      this.#remove(names, present);
    }
  }

  #enter(header) {
    const own = `versions/${header.version}`;
    this.#files.set(header.version, new Set(filesOf(header)));
    for (const [name, size] of sizesOf(header).set(own, Math.max(0, sizeOf(`${STATE}/${own}`)))) {
      this.#bytes += size - (this.#sizes.get(name) ?? 0);
      this.#sizes.set(name, size);
    }
  }

  /** Removes those that no kept version needs; `present`: what an earlier kernel left may be anything. */
  #remove(names, present) {
    if (names.size === 0) return;
    const needed = new Set([...this.#files.values()].flatMap((files) => [...files]));
    for (const name of names) {
      if (needed.has(name)) continue;
      this.onDisk.delete(name);
      this.#bytes -= this.#sizes.get(name) ?? 0;
      this.#sizes.delete(name);
      discard(name, !present.has(name));
    }
  }

  /** Once: what an earlier kernel left, and the names of all files that are there. */
  #find(but) {
    this.#files = new Map();
    for (const version of versionNumbers()) {
      if (version === but || this.#files.size >= this.keep.versions + 2) continue;
      try {
        this.#enter(readVersion(version).header);
      } catch {
        // what cannot be read any more is not needed by anybody
      }
    }
    this.#flushed = inOrder(this.#files.keys()).slice(0, -this.keep.versions);
    return ["versions", "values"].flatMap((folder) =>
      namesIn(`${STATE}/${folder}`).map((name) => `${folder}/${name}`),
    );
  }
}

const inOrder = (versions) => [...versions].sort((a, b) => a - b);
const sum = (sizes) => [...sizes].reduce((total, size) => total + size, 0);

/** What the files take that a version needs; of versions' own files, as much as it uses. */
function sizesOf(header) {
  const sizes = new Map();
  for (const [name, offset, size] of placesOf(header))
    sizes.set(name, Math.max(sizes.get(name) ?? 0, offset + size));
  return sizes;
}
