/**
 * Saved state on disk, as guest/agent/state_files.py describes it: one file a version, one a large value; each is written
 * beside its name, then renamed. The oldest version's file becomes the next one's.
 */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import fs from "node:fs";

const STATE = "/run/era-state";
export const VERSIONS = `${STATE}/versions`;
const VALUES = `${STATE}/values`;
export const RESEED = `${STATE}/reseed`;
const MAGIC = "ERASTATE";
const PREFIX_BYTES = 8 + 4 + 32;
const INLINE_BYTES = 16 << 10;
const MAX_SOURCES = 16;
const FLUSH_MS = 5_000;
const now = performance.now.bind(performance);
const { O_CREAT, O_EXCL, O_WRONLY, O_TRUNC, O_NOFOLLOW, O_RDONLY, O_NONBLOCK, O_DIRECTORY } = fs.constants;
/** A pipe that a guest has put in its place is not waited for. */
const WRITE = O_CREAT | O_WRONLY | O_NOFOLLOW | O_NONBLOCK;
const READ = O_RDONLY | O_NOFOLLOW | O_NONBLOCK;
const SPARE = `${STATE}/.version-spare`;
let hasSpare = false;
let staged = 0;

/** The variables take more than may be saved of a session. */
export class TooLarge extends Error {
  constructor(size, limit) {
    const [needed, allowed] = [size, limit].map((bytes) => Math.ceil(bytes / (1 << 20)));
    super(
      `the variables take ${needed} MiB, more than the ${allowed} MiB that may be saved of this session: delete some of them, or raise ERA_STATE_MIB`,
    );
  }
}

/** A state file is missing, cut short, or not what was written. */
export class Damaged extends Error {}

const digestOf = (data) => createHash("sha256").update(data).digest();

/**
 * One by one: below a folder that the host has removed, a `recursive` mkdir tries for ever. None that is there is made: what
 * is thrown then cannot be read where a program has variables with the names of built-ins.
 */
export function makeFolders() {
  for (const path of [VERSIONS, VALUES]) if (!fs.existsSync(path)) fs.mkdirSync(path, { mode: 0o700 });
}

/** What a save that was killed has left. */
export function removeUnfinished() {
  hasSpare = false;
  for (const name of fs.readdirSync(STATE)) {
    if (name.startsWith(".version-") || (name.startsWith(".staged-") && !name.startsWith(".staged-1-")))
      fs.rmSync(`${STATE}/${name}`, { force: true, recursive: true });
  }
}

/** Writes a file from its start, which has `size` bytes already, and closes it. */
function write(descriptor, size, data, durable) {
  try {
    for (let at = 0; at < data.length; ) at += fs.writeSync(descriptor, data, at);
    if (size > data.length) fs.ftruncateSync(descriptor, data.length);
    if (durable) fs.fsyncSync(descriptor);
  } finally {
    fs.closeSync(descriptor);
  }
}

/** The file of a version in the making: [descriptor, bytes that are there already]. */
function openVersion(path) {
  if (hasSpare) {
    hasSpare = false;
    try {
      fs.renameSync(SPARE, path);
    } catch {
      // the guest has taken it
    }
  }
  let descriptor;
  try {
    descriptor = fs.openSync(path, WRITE, 0o600);
  } catch {
    // no file: something that the guest put there
  }
  if (descriptor !== undefined) {
    const status = fs.fstatSync(descriptor);
    if (status.isFile() && status.nlink === 1) return [descriptor, status.size];
    fs.closeSync(descriptor); // known under another name, too: of a copy by links, or the guest's
  }
  fs.rmSync(path, { force: true, recursive: true });
  return [fs.openSync(path, WRITE | O_EXCL, 0o600), 0];
}

/** Gives a file that was written its name. Whatever a guest did to the folder that it belongs into, it is there. */
function putInPlace(path, target) {
  try {
    fs.renameSync(path, target);
  } catch {
    makeFolders();
    fs.renameSync(path, target);
  }
}

/** Removes a file, or lays it aside for the next version. What an earlier kernel has left may be anything. */
function discard(name, isOurs) {
  const path = `${STATE}/${name}`;
  try {
    if (isOurs && name.startsWith("versions/")) {
      fs.renameSync(path, SPARE);
      hasSpare = true;
      return;
    }
    fs.unlinkSync(path);
  } catch {
    fs.rmSync(path, { force: true, recursive: true }); // it is gone, or something else that a guest put there
  }
}

function syncFolder(path) {
  const descriptor = fs.openSync(path, O_RDONLY | O_DIRECTORY);
  fs.fsyncSync(descriptor);
  fs.closeSync(descriptor);
}

/** The data of a version that is being made: small parts lie in its own file, others in files by their content. */
export class Data {
  #own;
  #durable;
  #parts = [];
  #size = 0;
  written = 0;

  constructor(version, durable) {
    this.#own = `versions/${version}`;
    this.#durable = durable;
  }

  /** Where the data is put: [file, offset, size, digest]. */
  add(data) {
    const digest = digestOf(data).toString("hex");
    if (data.length <= INLINE_BYTES) return this.#addInline(data, digest);
    const target = `${VALUES}/${digest}`;
    if (sizeOf(target) !== data.length) {
      const path = `${STATE}/.staged-${process.pid}-${++staged}`;
      try {
        write(fs.openSync(path, WRITE | O_TRUNC, 0o600), 0, data, this.#durable);
        putInPlace(path, target);
      } catch (error) {
        fs.rmSync(path, { force: true });
        throw error;
      }
      this.written += data.length;
    }
    return [`values/${digest}`, 0, data.length, digest];
  }

  #addInline(data, digest) {
    const place = [this.#own, this.#size, data.length, digest];
    this.#parts.push(data);
    this.#size += data.length;
    this.written += data.length;
    return place;
  }

  /** A place of an earlier version, good for this one: what lies in too many files, or in the one replaced, is copied. */
  carrier(header) {
    const sources = new Set(
      placesOf(header)
        .map(([file]) => file)
        .filter((file) => file.startsWith("versions/")),
    );
    const tooMany = sources.size > MAX_SOURCES;
    return (place) =>
      place[0] === this.#own || (tooMany && sources.has(place[0])) ? this.add(readPlace(place)) : place;
  }

  get parts() {
    return this.#parts;
  }
}

/** By a descriptor: what Deno tells by a path has dates in it, and `Date` may be a variable of the program. */
function sizeOf(path) {
  if (!fs.existsSync(path)) return -1;
  let descriptor;
  try {
    descriptor = fs.openSync(path, READ);
    return fs.fstatSync(descriptor).size;
  } catch {
    return -1; // something that the guest put there
  } finally {
    if (descriptor !== undefined) fs.closeSync(descriptor);
  }
}

function syncFile(name) {
  let descriptor;
  try {
    descriptor = fs.openSync(`${STATE}/${name}`, READ);
  } catch {
    return; // the guest has removed it: that is found when it is read
  }
  try {
    fs.fsyncSync(descriptor);
  } finally {
    fs.closeSync(descriptor);
  }
}

/**
 * Writes a version's file; with `stage` under the name that the agent changes when the run is answered. With `durable` all
 * that it needs is put on disk, but for the files that are known to be there.
 */
export function writeVersion(header, data, { durable, stage, onDisk }) {
  const text = Buffer.from(JSON.stringify(header));
  const prefix = Buffer.alloc(12);
  prefix.write(MAGIC, "latin1");
  prefix.writeUInt32BE(text.length, 8);
  const path = `${STATE}/.version-${header.version}`;
  const [descriptor, size] = openVersion(path);
  write(descriptor, size, Buffer.concat([prefix, digestOf(text), text, ...data.parts]), durable);
  if (durable) {
    const own = `versions/${header.version}`;
    for (const name of new Set(filesOf(header))) if (name !== own && !onDisk.has(name)) syncFile(name);
    syncFolder(VALUES);
  }
  if (stage) return;
  putInPlace(path, `${VERSIONS}/${header.version}`);
  if (durable) syncFolder(VERSIONS);
}

function namesIn(folder) {
  try {
    return fs.readdirSync(folder);
  } catch {
    return []; // nothing was ever saved here, or the program has removed it
  }
}

export function versionNumbers() {
  return namesIn(VERSIONS)
    .filter((name) => /^\d{1,15}$/.test(name))
    .map(Number)
    .sort((a, b) => b - a);
}

function read(name) {
  let descriptor;
  try {
    descriptor = fs.openSync(`${STATE}/${name}`, READ);
    return fs.readFileSync(descriptor);
  } catch (cause) {
    throw new Damaged(`${name} cannot be read: ${cause.code}`);
  } finally {
    if (descriptor !== undefined) fs.closeSync(descriptor);
  }
}

/** The header of a version, and its data. Throws Damaged. */
export function readVersion(version) {
  const content = read(`versions/${version}`);
  const size = content.length < PREFIX_BYTES ? 0 : content.readUInt32BE(8);
  const text = content.subarray(PREFIX_BYTES, PREFIX_BYTES + size);
  if (
    content.toString("latin1", 0, 8) !== MAGIC ||
    !digestOf(text).equals(content.subarray(12, PREFIX_BYTES))
  )
    throw new Damaged(`version ${version}: it does not match its checksum`);
  let header;
  try {
    header = JSON.parse(text.toString());
    checkHeader(header, Number(version));
  } catch (cause) {
    throw new Damaged(`version ${version}: it is not readable (${cause.message})`);
  }
  return { header, data: content.subarray(PREFIX_BYTES + size) };
}

const isText = (value, most) => typeof value === "string" && value.length <= most;
const isSize = (value) => Number.isSafeInteger(value) && value >= 0;
const isPlace = (place) =>
  Array.isArray(place) &&
  place.length === 4 &&
  isText(place[0], 4096) &&
  isSize(place[1]) &&
  isSize(place[2]) &&
  isText(place[3], 64);

/** Throws for a wrong shape: a guest can write a header of its own, with the right digest. */
function checkHeader(header, version) {
  const refuse = (what) => {
    throw new Error(`its ${what} is of another kind`);
  };
  if (header.version !== version) refuse("version");
  if (!isText(header.run, 64)) refuse("run");
  const { result } = header;
  if (
    result !== null &&
    !(
      ["ok", "raised", "exited"].includes(result.outcome) &&
      isSize(result.exit_code) &&
      result.exit_code < 256 &&
      isError(result.error)
    )
  )
    refuse("result");
  for (const item of header.not_kept)
    if (!["name", "type", "reason"].every((key) => isText(item[key], 1024)))
      refuse("list of what is not kept");
  for (const { names, at, types, reprs, reaches } of header.groups) {
    const lists = [names, types, reprs];
    if (!lists.every((list) => Array.isArray(list) && list.length === names.length)) refuse("group");
    if (names.length === 0 || ![...lists, reaches].flat().every((text) => isText(text, 1 << 20)))
      refuse("group");
    if (!isPlace(at)) refuse("group");
  }
  if (header.extras !== null && !isPlace(header.extras)) refuse("extras");
  if (!Object.values(header.sources).every(isPlace)) refuse("sources");
}

/** As a run's error is told. */
const isError = (error) =>
  error === null ||
  (Object.keys(error).length === 3 &&
    isText(error.name, 1024) &&
    isText(error.message, 8192) &&
    isText(error.traceback, 65_536));

/** The data at a place. Throws Damaged. */
export function readPlace([file, offset, size, digest]) {
  const data = file.startsWith("versions/")
    ? readVersion(file.slice("versions/".length)).data.subarray(offset, offset + size)
    : read(file);
  if (data.length !== size || digestOf(data).toString("hex") !== digest)
    throw new Damaged("its data does not match its checksum");
  return data;
}

export function placesOf(header) {
  return [
    ...header.groups.map((group) => group.at),
    ...Object.values(header.sources),
    ...(header.extras === null ? [] : [header.extras]),
  ];
}

/**
 * The versions that are kept, and which files they need: what nobody needs any more is removed. `keep` says how many there
 * may be, and how many bytes their files may take together.
 */
export class Shelf {
  keep = { versions: 20, bytes: 2 ** 30 };
  /** Names of files that are known to be. */
  onDisk = new Set();
  #files = null;
  /** Of the files of kept versions, and of all of them together. */
  #sizes = new Map();
  #bytes = 0;
  /** The last version that was put on disk; two of them while the newer one is only staged. */
  #flushed = [];
  #flushedAt = now();

  /** Of the versions that an earlier kernel left it is not known which is on disk: until one of its own is, all stay. */
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

const filesOf = (header) => [...placesOf(header).map(([file]) => file), `versions/${header.version}`];
