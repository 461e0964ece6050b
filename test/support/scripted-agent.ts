/** The agent's end of a line, played by a test. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { type AgentFrame, GUEST_PROTOCOL } from "../../src/protocol/guest.ts";

export const HELLO: AgentFrame = {
  type: "hello",
  protocol: GUEST_PROTOCOL,
  token: null,
  running: null,
  epoch: 1,
  restored: null,
  unrecorded: [],
  version: 0,
};

/** The agent's end: it sends frames, or anything, and reads what it is sent. */
export class ScriptedAgent {
  readonly socket: Socket;
  #received = Buffer.alloc(0);

  constructor(path: string) {
    this.socket = connect(path);
    this.socket.on("data", (chunk) => {
      this.#received = Buffer.concat([this.#received, chunk]);
    });
    this.socket.on("error", () => undefined);
  }

  static encode(header: object, payload: Buffer = Buffer.alloc(0)): Buffer {
    const text = Buffer.from(JSON.stringify(header) ?? "");
    const lengths = Buffer.alloc(8);
    lengths.writeUInt32BE(text.length, 0);
    lengths.writeUInt32BE(payload.length, 4);
    return Buffer.concat([lengths, text, payload]);
  }

  say(header: object, payload?: Buffer): void {
    this.sayBytes(ScriptedAgent.encode(header, payload));
  }

  sayBytes(bytes: Buffer): void {
    this.socket.write(bytes);
  }

  /** Resolves with the next frame of a kind; those before it are passed over. */
  async hears(type: string): Promise<Record<string, unknown>> {
    for (;;) {
      const header = this.#take();
      if (header?.type === type) return header;
      if (header === null) await once(this.socket, "data");
    }
  }

  #take(): Record<string, unknown> | null {
    if (this.#received.length < 8) return null;
    const end = 8 + this.#received.readUInt32BE(0);
    const size = end + this.#received.readUInt32BE(4);
    if (this.#received.length < size) return null;
    const header = JSON.parse(this.#received.toString("utf8", 8, end)) as Record<string, unknown>;
    this.#received = this.#received.subarray(size);
    return header;
  }
}
