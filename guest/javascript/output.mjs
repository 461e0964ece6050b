/**
 * Output of a run, and of what earlier runs left behind. What the run in progress writes goes to its descriptor, in
 * order with what its children write there; what a timer or promise of an earlier run writes is sent apart, as late
 * output.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import { Buffer } from "node:buffer";
import fs from "node:fs";
import process from "node:process";
import { Writable } from "node:stream";
import util from "node:util";
import { writeWhole } from "./line.mjs";

const runs = new AsyncLocalStorage();
const INPUT_CHUNK_BYTES = 1 << 16;
const STREAMS = { stdout: 1, stderr: 2 };
let current = null;
/** @type {(run: object, stream: string, bytes: Buffer) => void} */
let sendLate = () => undefined;

/** Runs `work` as part of a run: so is all that it starts. */
export function withinRun(run, work) {
  current = run;
  return runs.run(run, work);
}

export function endRun() {
  current = null;
}

/** Whether this code belongs to the run in progress. */
export function isOfCurrentRun() {
  const run = runs.getStore();
  return current !== null && (run === undefined || run === current);
}

export function write(stream, data) {
  const bytes =
    typeof data === "string" ? Buffer.from(data) : Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  const run = runs.getStore();
  if (run?.exit !== undefined) return;
  if (run === undefined || run === current) writeWhole(STREAMS[stream], bytes);
  else sendLate(run, stream, bytes);
}

/** Puts process.stdout, process.stderr and console onto it. */
export function install(onLate) {
  sendLate = onLate;
  if (globalThis.Deno === undefined) {
    for (const stream of ["stdout", "stderr"])
      Object.defineProperty(process, stream, {
        value: createStream(stream),
        configurable: true,
        enumerable: true,
        writable: true,
      });
  } else wrapConsole();
}

/**
 * Each run reads its own standard input: descriptor 0 is one file, whose content the agent puts there before the run.
 * Deno reads it by the descriptor itself, and has one stream of it, which is used up once.
 */
export function freshInput() {
  if (globalThis.Deno !== undefined) {
    Object.defineProperty(Deno.stdin, "readable", { value: readableInput(), configurable: true });
    return;
  }
  let stream;
  Object.defineProperty(process, "stdin", {
    get: () => {
      stream ??= Object.assign(fs.createReadStream("", { fd: 0, autoClose: false }), { fd: 0 });
      return stream;
    },
    set: (other) => {
      stream = other;
    },
    configurable: true,
    enumerable: true,
  });
}

function readableInput() {
  const parts = {
    type: /** @type {const} */ ("bytes"),
    pull(controller) {
      const chunk = new Uint8Array(INPUT_CHUNK_BYTES);
      const size = Deno.stdin.readSync(chunk);
      if (size === null) controller.close();
      else controller.enqueue(chunk.subarray(0, size));
      if (size === null) controller.byobRequest?.respond(0);
    },
  };
  return new ReadableStream(parts, { highWaterMark: 0 });
}

function createStream(name) {
  /** @type {any} */
  const stream = new Writable({
    decodeStrings: false,
    write(chunk, encoding, done) {
      write(name, typeof chunk === "string" && encoding !== "utf8" ? Buffer.from(chunk, encoding) : chunk);
      done();
    },
  });
  stream.fd = STREAMS[name];
  stream._type = "pipe";
  stream.destroy = () => stream; // it is the session's, whatever one program does to it
  stream.end = (chunk, encoding) => {
    if (chunk !== undefined && typeof chunk !== "function") stream.write(chunk, encoding);
    return stream;
  };
  return stream;
}

/** Deno's console writes to the descriptors by itself: only what is late goes another way. */
function wrapConsole() {
  const toStderr = new Set(["error", "warn", "trace", "assert"]);
  for (const name of ["log", "info", "debug", "error", "warn", "trace", "dir", "table", "assert"]) {
    const original = console[name];
    console[name] = (...values) => {
      const run = runs.getStore();
      if (run?.exit !== undefined) return;
      if (run === undefined || run === current) return original.apply(console, values);
      sendLate(run, toStderr.has(name) ? "stderr" : "stdout", Buffer.from(`${util.format(...values)}\n`));
    };
  }
}
