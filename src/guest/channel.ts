/**
 * The server's end of one sandbox's line. It listens on the socket in the sandbox's folder until the agent has dialled,
 * and carries one run at a time:
 *
 *     server                                   agent
 *       listen                            <-   connect, hello
 *       welcome                           ->
 *       seed*, run                        ->
 *                                         <-   output*, display*, asks*
 *       interrupt, stdin                  ->
 *                                         <-   end               (nothing of the run follows)
 *                                         <-   late, kernel, saved   (between runs, or of earlier runs)
 *       program*                          ->
 *                                         <-   told*, read*      (at any time)
 *       replay, save, inspect, compare, rollback, move_in, freeze ->   (each is answered)
 * A new sandbox dials before any guest code runs: the first to connect is its agent. One that an earlier server started
 * proves by a token that it is the agent and not a guest's program. Any frame out of place ends the line for good.
 */
import { createServer, type Server, type Socket } from "node:net";
import { AppError, BugError } from "../protocol/errors.ts";
import {
  type EndFrame,
  GUEST_PROTOCOL,
  type HelloFrame,
  type Keep,
  type RolledBackFrame,
  type SavedFrame,
  type ServerFrame,
  type StateDifference,
  type StateListing,
  stateDifference,
  stateListing,
} from "../protocol/guest.ts";
import { type ChannelEvents, NO_EVENTS } from "./channel-events.ts";
import { encodeFrame, type Frame, FrameError } from "./framing.ts";
import { awaitHello, type Greeting } from "./greeting.ts";
import { Programs } from "./programs.ts";
import { Questions } from "./questions.ts";
import { frameOf, type GuestProgram, type OnOutput } from "./run-frame.ts";

export type GuestEnd = { frame: EndFrame; results: Buffer; data: Buffer | null };

/** What an agent is told to prove itself with later, and what it must prove itself with now: null for a new one. */
export type LineIdentity = {
  token: string;
  expected: string | null;
  orphanMs: number;
  preload: readonly string[];
};

type PendingRun = {
  id: string;
  onOutput: OnOutput;
  overdue: NodeJS.Timeout;
  resolve: (end: GuestEnd | null) => void;
  reject: (reason: Error) => void;
};

/** The agent ends a run within 3 s of its limit, unless it is broken or no longer ours. */
const OVERDUE_MS = 10_000;
/** What saving may take, where an answer waits for it. */
const SAVE_MS = 150_000;
const ANSWER_MS = 30_000;
const MAX_STRANGERS = 32;
const STRANGER_MS = 2_000;
/** The agent of a new sandbox dials at once, and says hello when its kernel is ready: on a busy host not soon. */
const FIRST_HELLO_MS = 30_000;

export class GuestChannel {
  readonly #server: Server;
  readonly #identity: LineIdentity;
  readonly #strangers = new Set<Socket>();
  readonly #hello = Promise.withResolvers<HelloFrame>();
  readonly #dialled = Promise.withResolvers<void>();
  #socket: Socket | null = null;
  #run: PendingRun | null = null;
  readonly #questions = new Questions({
    send: (header) => this.#send(header),
    lost: () => this.#lost,
    lose: (reason) => this.#lose(reason),
  });
  /** Programs beside the runs. */
  readonly programs = new Programs({
    send: (header, payload) => this.#send(header, payload),
    lost: () => this.#lost,
  });
  #lost: Error | null = null;
  #closed = false;
  #events: ChannelEvents = NO_EVENTS;

  private constructor(server: Server, identity: LineIdentity) {
    this.#server = server;
    this.#identity = identity;
    this.#hello.promise.catch(() => undefined);
    server.on("connection", (socket) => this.#accept(socket));
    server.on("error", (error) => this.#lose(error));
  }

  /** Listens on a socket file, which must not exist yet. */
  static async open(path: string, identity: LineIdentity): Promise<GuestChannel> {
    const server = createServer();
    const channel = new GuestChannel(server, identity);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    server.once("error", reject);
    server.listen({ path, writableAll: true, readableAll: true }, resolve);
    await promise;
    return channel;
  }

  /** From now on these events are heard by whoever says so; all others as before. */
  listen(events: Partial<ChannelEvents>): void {
    this.#events = { ...this.#events, ...events };
  }

  get isLost(): boolean {
    return this.#lost !== null;
  }

  /** Resolves when somebody has dialled: for a new sandbox that is its agent, which gets its kernel ready now. */
  get dialled(): Promise<void> {
    return this.#dialled.promise;
  }

  /** Resolves when the agent has said hello; rejects when the line is lost or the signal fires. */
  async greeted(signal: AbortSignal): Promise<HelloFrame> {
    signal.throwIfAborted();
    const { promise, reject } = Promise.withResolvers<never>();
    const onAbort = () => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      return await Promise.race([this.#hello.promise, promise]);
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }

  seed(path: string, content: Buffer): void {
    this.#send({ type: "seed", path }, content);
  }

  /** Runs one program. Rejects only when the line is lost; all else is in the end frame. */
  async run(run: GuestProgram): Promise<GuestEnd> {
    const limit = run.timeoutMs + OVERDUE_MS + (run.save === "sync" ? SAVE_MS : 0);
    const end = this.#expectEnd(run.id, run.onOutput, limit);
    const { header, payload } = frameOf(run);
    this.#send(header, payload);
    const ended = await end;
    if (ended === null) throw new BugError("the agent does not know a run that it was given");
    return ended;
  }

  /** Hears a run again that an earlier server began: its output from the start, then its end. Null if it is unknown. */
  replay(id: string, onOutput: OnOutput, timeoutMs: number): Promise<GuestEnd | null> {
    const end = this.#expectEnd(id, onOutput, timeoutMs + OVERDUE_MS);
    this.#send({ type: "replay", run: id });
    return end;
  }

  interrupt(runId: string): void {
    this.#send({ type: "interrupt", run: runId });
  }

  /** More input for the run in progress; what comes after its end is nobody's. */
  giveInput(runId: string, text: string, end: boolean): void {
    this.#send({ type: "stdin", run: runId, end }, Buffer.from(text));
  }

  /** Asks for a connection to a port inside: see ports.ts. */
  connect(port: number, ticket: string): void {
    this.#send({ type: "connect", port, ticket });
  }

  /** Saves all variables, so that the sandbox can go. Rejects with `save_failed` when that cannot be done. */
  async save(version: number, keep: Keep): Promise<SavedFrame> {
    const { header } = await this.#questions.ask({ type: "save", version, keep }, "saved", SAVE_MS);
    if (header.type !== "saved") throw new BugError("another answer than was waited for");
    if (header.failed !== null)
      throw new AppError("save_failed", `Cannot save the session's variables: ${header.failed}`);
    return header;
  }

  async inspect(): Promise<StateListing> {
    const { payload } = await this.#questions.ask({ type: "inspect" }, "inspected", ANSWER_MS);
    return stateListing.parse(JSON.parse(payload.toString()));
  }

  /** What differs between two kept versions; null when one of them is not kept. */
  async compare(from: number, to: number): Promise<StateDifference | null> {
    const { header, payload } = await this.#questions.ask(
      { type: "compare", from, to },
      "compared",
      ANSWER_MS,
    );
    if (header.type !== "compared") throw new BugError("another answer than was waited for");
    return header.error === null ? stateDifference.parse(JSON.parse(payload.toString())) : null;
  }

  /** Makes a saved version current again, under a new number. */
  async rollback(version: number, to: number): Promise<RolledBackFrame> {
    const { header } = await this.#questions.ask({ type: "rollback", version, to }, "rolled_back", SAVE_MS);
    if (header.type !== "rolled_back") throw new BugError("another answer than was waited for");
    return header;
  }

  /**
   * Has a session taken up that has moved into this sandbox's folders. Answers what a new sandbox on them would say
   * first.
   */
  async moveIn(): Promise<HelloFrame> {
    const { header } = await this.#questions.ask({ type: "move_in" }, "moved_in", ANSWER_MS);
    if (header.type !== "moved_in") throw new BugError("another answer than was waited for");
    return { ...header, type: "hello", protocol: GUEST_PROTOCOL, token: null, running: null };
  }

  /** Has all processes of the sandbox stand still, and ends the line; an agent that is dialled again goes on. */
  async freeze(): Promise<void> {
    const { header } = await this.#questions.ask({ type: "freeze" }, "frozen", ANSWER_MS);
    if (header.type !== "frozen") throw new BugError("another answer than was waited for");
    if (header.error !== null) throw new Error(`its processes do not stand still: ${header.error}`);
    this.close(new Error("its processes stand still"));
  }

  /** Has its random generators start anew. */
  reseed(): void {
    this.#send({ type: "reseed" });
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

  #expectEnd(id: string, onOutput: OnOutput, limitMs: number): Promise<GuestEnd | null> {
    if (this.#lost !== null) return Promise.reject(this.#lost);
    if (this.#run !== null) throw new BugError("a run was started while another is in progress");
    const { promise, resolve, reject } = Promise.withResolvers<GuestEnd | null>();
    const overdue = setTimeout(() => this.#lose(new Error("The agent did not end the run in time")), limitMs);
    this.#run = { id, onOutput, overdue, resolve, reject };
    return promise;
  }

  #send(header: ServerFrame, payload?: Buffer): void {
    this.#socket?.write(encodeFrame(header, payload));
  }

  /** Until a hello with the right token, whoever has dialled is a stranger. */
  #accept(socket: Socket): void {
    if (this.#isTaken || this.#strangers.size >= MAX_STRANGERS) return void socket.destroy();
    this.#strangers.add(socket);
    this.#dialled.resolve();
    const limitMs = this.#identity.expected === null ? FIRST_HELLO_MS : STRANGER_MS;
    awaitHello(socket, limitMs, (hello) => this.#isOurs(hello))
      .finally(() => this.#strangers.delete(socket))
      .then(
        (greeting) => this.#welcome(socket, greeting),
        (reason: Error) => {
          socket.destroy();
          if (this.#identity.expected === null) this.#lose(reason);
        },
      );
    if (this.#identity.expected === null) this.#server.close(); // whoever dials from now on is a guest
  }

  get #isTaken(): boolean {
    return this.#socket !== null || this.#lost !== null;
  }

  #isOurs(hello: HelloFrame): boolean {
    return hello.protocol === GUEST_PROTOCOL && hello.token === this.#identity.expected;
  }

  #welcome(socket: Socket, { hello, reader, rest }: Greeting): void {
    if (this.#isTaken) return void socket.destroy();
    this.#socket = socket;
    if (this.#server.listening) this.#server.close();
    for (const stranger of this.#strangers) stranger.destroy();
    socket.on("data", (chunk) => this.#receive(() => reader.push(chunk)));
    socket.on("error", (error) => this.#lose(error));
    socket.on("close", () => this.#lose(new Error("The agent hung up")));
    socket.resume();
    const { token, orphanMs, preload } = this.#identity;
    this.#send({ type: "welcome", token, orphan_ms: orphanMs, preload });
    this.#hello.resolve(hello);
    this.#receive(() => rest);
  }

  #receive(frames: () => Frame[]): void {
    if (this.#lost !== null) return;
    try {
      for (const frame of frames()) this.#handle(frame);
    } catch (error) {
      this.#lose(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #handle(frame: Frame): void {
    const { header, payload } = frame;
    switch (header.type) {
      case "hello":
        throw new FrameError("a second hello");
      case "output":
      case "display":
      case "asks":
        this.#current(header.run).onOutput(header.type === "output" ? header.stream : header.type, payload);
        return;
      case "end":
        this.#end(header, payload);
        return;
      case "unknown":
        this.#settle(header.run, null);
        return;
      case "late":
        this.#events.onLate(header.run, header.stream, payload);
        return;
      case "kernel":
        this.#events.onKernelLost(
          header.epoch,
          header.signal === null ? `exit status ${header.exit_code}` : `signal ${header.signal}`,
        );
        return;
      case "saved":
        this.#events.onSaved(header);
        if (header.complete && this.#questions.awaits("saved")) this.#questions.answer("saved", frame);
        return;
      case "told":
      case "read":
        this.programs.heard(header, payload);
        return;
      case "refused":
        this.#events.onRefused(header.ticket);
        return;
      case "inspected":
      case "compared":
      case "rolled_back":
      case "moved_in":
      case "frozen":
        if (!this.#questions.awaits(header.type)) throw new FrameError("an answer that nobody asked for");
        if (header.type === "frozen" && header.error === null) this.#closed = true; // that it hangs up now is no loss
        this.#questions.answer(header.type, frame);
        return;
      case "fault":
        throw new Error("The agent failed", { cause: new Error(header.message) });
    }
  }

  #current(runId: string): PendingRun {
    if (this.#run === null || this.#run.id !== runId)
      throw new FrameError("a frame of a run that is not in progress");
    return this.#run;
  }

  #end(frame: EndFrame, payload: Buffer): void {
    if (frame.results_bytes > payload.length) throw new FrameError("a payload shorter than its header says");
    const results = payload.subarray(0, frame.results_bytes);
    const data = frame.has_data ? payload.subarray(frame.results_bytes) : null;
    if (frame.saved !== null) this.#events.onSaved(frame.saved);
    this.#settle(frame.run, { frame, results, data });
  }

  #settle(runId: string, end: GuestEnd | null): void {
    const { resolve, overdue } = this.#current(runId);
    clearTimeout(overdue);
    this.#run = null;
    resolve(end);
  }

  #lose(reason: Error): void {
    if (this.#lost !== null) return;
    this.#lost = reason;
    if (this.#server.listening) this.#server.close();
    for (const stranger of this.#strangers) stranger.destroy();
    this.#socket?.destroy();
    this.#hello.reject(reason);
    clearTimeout(this.#run?.overdue);
    this.#run?.reject(reason);
    this.#run = null;
    this.#questions.fail(reason);
    this.programs.fail(reason);
    if (!this.#closed) this.#events.onLost(reason);
  }
}
