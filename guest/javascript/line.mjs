/**
 * The kernel's line to the agent: frames as guest/agent/wire.py describes them, over two pipes. Answers are written at
 * once and whole. While the line is not held, waiting for a request does not keep the process alive.
 */
import { Buffer } from "node:buffer";
import fs from "node:fs";
import net from "node:net";

// Before a program may replace them.
const { stringify, parse } = JSON;
const { alloc, concat, from } = Buffer;
const { keys } = Object;
const { isArray } = Array;
const { join } = Array.prototype;
const { apply } = Reflect;
const REQUESTS = 3;
const ANSWERS = 4;
const CHUNK_BYTES = 1 << 16;
/** Deno knows descriptors by number only when it has opened them itself. */
const isDeno = globalThis.Deno !== undefined;
const files = isDeno
  ? { 1: Deno.stdout, 2: Deno.stderr, [ANSWERS]: Deno.openSync(`/proc/self/fd/${ANSWERS}`, { write: true }) }
  : {};
const { writeSync } = fs;
const writeSome = (descriptor, data, at) =>
  isDeno ? files[descriptor].writeSync(data.subarray(at)) : writeSync(descriptor, data, at);

export class Line {
  #incoming = Buffer.alloc(0);
  #onFrame;
  #reader;

  /** `onFrame(header, payload)` is called for each request; the end of the line ends the process. */
  constructor(onFrame) {
    this.#onFrame = onFrame;
    this.#reader = isDeno ? readByFile : readBySocket;
  }

  listen() {
    this.#reader = this.#reader((chunk) => this.#take(chunk));
  }

  /** Whether waiting for a request keeps the process alive. */
  hold(held) {
    this.#reader.hold(held);
  }

  send(header, payload = Buffer.alloc(0)) {
    const text = from(toJson(header));
    const lengths = alloc(8);
    lengths.writeUInt32BE(text.length, 0);
    lengths.writeUInt32BE(payload.length, 4);
    writeWhole(ANSWERS, concat([lengths, text, payload]));
  }

  #take(chunk) {
    this.#incoming = this.#incoming.length === 0 ? from(chunk) : concat([this.#incoming, chunk]);
    for (;;) {
      if (this.#incoming.length < 8) return;
      const header = 8 + this.#incoming.readUInt32BE(0);
      const end = header + this.#incoming.readUInt32BE(4);
      if (this.#incoming.length < end) return;
      const frame = this.#incoming.subarray(0, end);
      this.#incoming = this.#incoming.subarray(end);
      this.#onFrame(parse(frame.subarray(8, header).toString()), frame.subarray(header));
    }
  }
}

/** As JSON, without asking what a program may have added to objects: toJSON. */
export function toJson(value) {
  if (typeof value !== "object" || value === null) return stringify(value ?? null);
  const parts = [];
  if (isArray(value)) {
    for (let at = 0; at < value.length; at++) parts[at] = toJson(value[at]);
    return `[${apply(join, parts, [","])}]`;
  }
  const names = keys(value);
  for (let at = 0; at < names.length; at++) parts[at] = `${stringify(names[at])}:${toJson(value[names[at]])}`;
  return `{${apply(join, parts, [","])}}`;
}

/** Writes all of it, also to a pipe that some child has made non-blocking. */
export function writeWhole(descriptor, data) {
  for (let at = 0; at < data.length; ) {
    try {
      at += writeSome(descriptor, data, at);
    } catch (error) {
      if (error.code !== "EAGAIN" && error.name !== "WouldBlock") throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
}

function readBySocket(onChunk) {
  const socket = new net.Socket({ fd: REQUESTS, readable: true, writable: false });
  socket.on("data", onChunk).on("close", () => /** @type {any} */ (process).reallyExit(0));
  return { hold: (held) => (held ? socket.ref() : socket.unref()) };
}

/** A pending read would keep Deno's process alive, whatever it is told: while the line is not held, nothing is read. */
function readByFile(onChunk) {
  const file = Deno.openSync(`/proc/self/fd/${REQUESTS}`, { read: true });
  const buffer = new Uint8Array(CHUNK_BYTES);
  let isHeld = true;
  let isReading = false;
  const read = async () => {
    if (isReading || !isHeld) return;
    isReading = true;
    const count = await file.read(buffer);
    if (count === null) Deno.exit(0);
    isReading = false;
    onChunk(buffer.slice(0, count));
    void read();
  };
  void read();
  return {
    hold: (held) => {
      isHeld = held;
      void read();
    },
  };
}
