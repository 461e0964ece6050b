/**
 * Bytes to frames and back: u32 header length, u32 payload length, JSON header, payload (guest/agent/wire.py is the
 * twin).
 */
import {
  type AgentFrame,
  agentFrame,
  MAX_HEADER_BYTES,
  MAX_PAYLOAD_BYTES,
  type ServerFrame,
} from "../protocol/guest.ts";

export type Frame = { header: AgentFrame; payload: Buffer };

const LENGTHS = 8;
const EMPTY = Buffer.alloc(0);

/** The guest sent something that is not a frame of the protocol; nothing more can be believed. */
export class FrameError extends Error {
  override readonly name = "FrameError";
}

export function encodeFrame(header: ServerFrame, payload: Buffer = EMPTY): Buffer {
  const text = Buffer.from(JSON.stringify(header));
  const frame = Buffer.allocUnsafe(LENGTHS + text.length + payload.length);
  frame.writeUInt32BE(text.length, 0);
  frame.writeUInt32BE(payload.length, 4);
  text.copy(frame, LENGTHS);
  payload.copy(frame, LENGTHS + text.length);
  return frame;
}

/** Collects what arrives and takes whole frames off it. Holds at most one frame of legal size beyond a read. */
export class FrameReader {
  #chunks: Buffer[] = [];
  #size = 0;
  #needed = LENGTHS;

  /** Frames completed by this chunk, in order. Throws FrameError on anything else. */
  push(chunk: Buffer): Frame[] {
    this.#chunks.push(chunk);
    this.#size += chunk.length;
    if (this.#size < this.#needed) return [];
    const frames: Frame[] = [];
    let rest = this.#chunks.length === 1 ? chunk : Buffer.concat(this.#chunks, this.#size);
    while (rest.length >= LENGTHS) {
      const size = frameSize(rest);
      if (rest.length < size) break;
      frames.push(parseFrame(rest.subarray(0, size)));
      rest = rest.subarray(size);
    }
    this.#chunks = rest.length === 0 ? [] : [rest];
    this.#size = rest.length;
    this.#needed = rest.length >= LENGTHS ? frameSize(rest) : LENGTHS;
    return frames;
  }
}

function frameSize(bytes: Buffer): number {
  const header = bytes.readUInt32BE(0);
  const payload = bytes.readUInt32BE(4);
  if (header > MAX_HEADER_BYTES || payload > MAX_PAYLOAD_BYTES) {
    throw new FrameError(`Cannot read a frame: ${header} + ${payload} bytes are over the limit`);
  }
  return LENGTHS + header + payload;
}

function parseFrame(bytes: Buffer): Frame {
  const payloadAt = LENGTHS + bytes.readUInt32BE(0);
  let json: unknown;
  try {
    json = JSON.parse(bytes.toString("utf8", LENGTHS, payloadAt));
  } catch (cause) {
    throw new FrameError("Cannot read a frame: its header is not JSON", { cause });
  }
  const parsed = agentFrame.safeParse(json);
  if (!parsed.success)
    throw new FrameError("Cannot read a frame: its header is not of the protocol", { cause: parsed.error });
  return { header: parsed.data, payload: bytes.subarray(payloadAt) };
}
