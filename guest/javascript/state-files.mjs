/**
 * Saved state on disk, as guest/state/state_files.py describes it: one file a version, one a large value; each is
 * written beside its name, then renamed. The oldest version's file becomes the next one's.
 */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import fs from "node:fs";
import { checkHeader } from "./state-header.mjs";

export const STATE = "/run/era-state";
export const VERSIONS = `${STATE}/versions`;
const VALUES = `${STATE}/values`;
export const RESEED = `${STATE}/reseed`;
const MAGIC = "ERASTATE";
const PREFIX_BYTES = 8 + 4 + 32;
const INLINE_BYTES = 16 << 10;
const MAX_SOURCES = 16;
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
 * One by one: below a folder that the host has removed, a `recursive` mkdir tries for ever. None that is there is made:
 * what is thrown then cannot be read where a program has variables with the names of built-ins.
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
export function discard(name, isOurs) {
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

  /**
   * A place of an earlier version, good for this one: what lies in too many files, or in the one replaced, is copied.
   */
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
export function sizeOf(path) {
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
 * Writes a version's file; with `stage` under the name that the agent changes when the run is answered. With `durable`
 * all that it needs is put on disk, but for the files that are known to be there.
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

export function namesIn(folder) {
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

export const filesOf = (header) => [...placesOf(header).map(([file]) => file), `versions/${header.version}`];
