/**
 * The kernel's line to the agent: frames as guest/agent/wire.py describes them, over two pipes. Answers are written at
 * once and whole. While the line is not held, waiting for a request does not keep the process alive.
 */
import { Buffer } from "node:buffer";
import fs from "node:fs";
import net from "node:net";

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
    const text = Buffer.from(JSON.stringify(header));
    const lengths = Buffer.alloc(8);
    lengths.writeUInt32BE(text.length, 0);
    lengths.writeUInt32BE(payload.length, 4);
    writeWhole(ANSWERS, Buffer.concat([lengths, text, payload]));
  }

  #take(chunk) {
    this.#incoming =
      this.#incoming.length === 0 ? Buffer.from(chunk) : Buffer.concat([this.#incoming, chunk]);
    for (;;) {
      if (this.#incoming.length < 8) return;
      const header = 8 + this.#incoming.readUInt32BE(0);
      const end = header + this.#incoming.readUInt32BE(4);
      if (this.#incoming.length < end) return;
      const frame = this.#incoming.subarray(0, end);
      this.#incoming = this.#incoming.subarray(end);
      this.#onFrame(JSON.parse(frame.subarray(8, header).toString()), frame.subarray(header));
    }
  }
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
  socket.on("data", onChunk).on("close", () => process.reallyExit(0));
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
