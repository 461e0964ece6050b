/**
 * The server's end of one sandbox's line. It listens on the socket in the sandbox's folder until the agent has dialled,
 * which it does before any guest code runs, and carries one run at a time:
 *
 *     server                                   agent
 *       listen                            <-   connect, hello
 *       seed*, run                        ->
 *                                         <-   output*, end      (nothing of the run after its end)
 *       interrupt                         ->
 *                                         <-   late, kernel      (between runs, or of earlier runs)
 * Any frame out of place ends the line: the channel then reports that it is lost, and never recovers.
 */
import { createServer, type Server, type Socket } from "node:net";
import { BugError } from "../protocol/errors.ts";
import { type EndFrame, GUEST_PROTOCOL, type ServerFrame, type StreamName } from "../protocol/guest.ts";
import { encodeFrame, type Frame, FrameError, FrameReader } from "./framing.ts";

export type GuestRun = {
  id: string;
  name: string;
  code: string;
  /** New content for .session_data.json; null keeps what the agent wrote last. */
  data: string | null;
  /** False empties the workspace when the run has ended. */
  keepFiles: boolean;
  timeoutMs: number;
  outputBytes: number;
  env: Record<string, string>;
  onOutput: (stream: StreamName, chunk: Buffer) => void;
};

export type GuestEnd = { frame: EndFrame; results: Buffer; data: Buffer | null };

type ChannelEvents = {
  /** Output of a run that has ended, from processes that it left behind. */
  onLate: (runId: string, stream: StreamName, chunk: Buffer) => void;
  /** The kernel ended between runs and was replaced: its variables are gone. */
  onKernelLost: (description: string) => void;
  /** The line is gone for good. Called once, and not after close(). */
  onLost: (reason: Error) => void;
};

type Pending = {
  run: GuestRun;
  overdue: NodeJS.Timeout;
  resolve: (end: GuestEnd) => void;
  reject: (reason: Error) => void;
};

/** The agent ends a run within 3 s of its limit. One that does not is broken, or no longer ours. */
const OVERDUE_MS = 10_000;

const ignore = () => undefined;
const NO_EVENTS: ChannelEvents = { onLate: ignore, onKernelLost: ignore, onLost: ignore };

export class GuestChannel {
  readonly #server: Server;
  readonly #reader = new FrameReader();
  readonly #hello = Promise.withResolvers<void>();
  #socket: Socket | null = null;
  #greeted = false;
  #pending: Pending | null = null;
  #lost: Error | null = null;
  #closed = false;
  events: ChannelEvents = NO_EVENTS;

  private constructor(server: Server) {
    this.#server = server;
    this.#hello.promise.catch(() => undefined);
    server.on("connection", (socket) => this.#accept(socket));
    server.on("error", (error) => this.#lose(error));
  }

  /** Listens on a socket file, which must not exist yet. */
  static async open(path: string): Promise<GuestChannel> {
    const server = createServer();
    const channel = new GuestChannel(server);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    server.once("error", reject);
    server.listen({ path, writableAll: true, readableAll: true }, resolve);
    await promise;
    return channel;
  }

  get isLost(): boolean {
    return this.#lost !== null;
  }

  /** Resolves when the agent has said hello; rejects when the line is lost or the signal fires. */
  async greeted(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const { promise, reject } = Promise.withResolvers<never>();
    const onAbort = () => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      await Promise.race([this.#hello.promise, promise]);
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }

  seed(path: string, content: Buffer): void {
    this.#send({ type: "seed", path }, content);
  }

  /** Runs one program. Rejects only when the line is lost; all else is in the end frame. */
  run(run: GuestRun): Promise<GuestEnd> {
    if (this.#lost !== null) return Promise.reject(this.#lost);
    if (this.#pending !== null) throw new BugError("a run was started while another is in progress");
    const code = Buffer.from(run.code);
    const data = run.data === null ? null : Buffer.from(run.data);
    const { promise, resolve, reject } = Promise.withResolvers<GuestEnd>();
    const overdue = setTimeout(
      () => this.#lose(new Error("The agent did not end the run in time")),
      run.timeoutMs + OVERDUE_MS,
    );
    this.#pending = { run, overdue, resolve, reject };
    this.#send(
      {
        type: "run",
        run: run.id,
        name: run.name,
        code_bytes: code.length,
        has_data: data !== null,
        keep_files: run.keepFiles,
        timeout_ms: run.timeoutMs,
        output_bytes: run.outputBytes,
        env: run.env,
      },
      data === null ? code : Buffer.concat([code, data]),
    );
    return promise;
  }

  interrupt(runId: string): void {
    this.#send({ type: "interrupt", run: runId });
  }

  /** The sandbox is gone: as if the line had broken. */
  fail(reason: Error): void {
    this.#lose(reason);
  }

  /** Gives up the line: the run in progress, if any, rejects with `reason`. */
  close(reason: Error): void {
    this.#closed = true;
    this.#lose(reason);
  }

  #send(header: ServerFrame, payload?: Buffer): void {
    this.#socket?.write(encodeFrame(header, payload));
  }

  #accept(socket: Socket): void {
    if (this.#socket !== null || this.#lost !== null) {
      socket.destroy(); // dialled before the socket was closed
      return;
    }
    this.#socket = socket;
    this.#server.close(); // whoever dials from now on is a guest
    socket.on("data", (chunk) => this.#receive(chunk));
    socket.on("error", (error) => this.#lose(error));
    socket.on("close", () => this.#lose(new Error("The agent hung up")));
  }

  #receive(chunk: Buffer): void {
    if (this.#lost !== null) return;
    try {
      for (const frame of this.#reader.push(chunk)) this.#handle(frame);
    } catch (error) {
      this.#lose(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #handle({ header, payload }: Frame): void {
    if (!this.#greeted) {
      if (header.type !== "hello" || header.protocol !== GUEST_PROTOCOL)
        throw new FrameError("the agent did not say hello");
      this.#greeted = true;
      this.#hello.resolve();
      return;
    }
    switch (header.type) {
      case "hello":
        throw new FrameError("a second hello");
      case "output":
        this.#current(header.run).run.onOutput(header.stream, payload);
        return;
      case "end":
        this.#end(header, payload);
        return;
      case "late":
        this.events.onLate(header.run, header.stream, payload);
        return;
      case "kernel":
        this.events.onKernelLost(
          header.signal === null ? `exit status ${header.exit_code}` : `signal ${header.signal}`,
        );
        return;
      case "fault":
        throw new Error("The agent failed", { cause: new Error(header.message) });
    }
  }

  #current(runId: string): Pending {
    if (this.#pending === null || this.#pending.run.id !== runId)
      throw new FrameError("a frame of a run that is not in progress");
    return this.#pending;
  }

  #end(frame: EndFrame, payload: Buffer): void {
    const { resolve, overdue } = this.#current(frame.run);
    if (frame.results_bytes > payload.length) throw new FrameError("a payload shorter than its header says");
    clearTimeout(overdue);
    this.#pending = null;
    const results = payload.subarray(0, frame.results_bytes);
    resolve({ frame, results, data: frame.has_data ? payload.subarray(frame.results_bytes) : null });
  }

  #lose(reason: Error): void {
    if (this.#lost !== null) return;
    this.#lost = reason;
    if (this.#server.listening) this.#server.close();
    this.#socket?.destroy();
    this.#hello.reject(reason);
    clearTimeout(this.#pending?.overdue);
    this.#pending?.reject(reason);
    this.#pending = null;
    if (!this.#closed) this.events.onLost(reason);
  }
}
