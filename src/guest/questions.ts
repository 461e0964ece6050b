/** What the server asks an agent, one question at a time, each with its kind of answer. */
import { SerialQueue } from "../lib/serial-queue.ts";
import type { ServerFrame } from "../protocol/guest.ts";
import { type Frame, FrameError } from "./framing.ts";

type AnswerType = "saved" | "inspected" | "compared" | "rolled_back" | "moved_in" | "frozen";

type PendingAnswer = {
  type: AnswerType;
  resolve: (frame: Frame) => void;
  reject: (reason: Error) => void;
};

type Line = {
  send: (header: ServerFrame) => void;
  /** Why the line is gone; null while it is not. */
  lost: () => Error | null;
  /** Gives it up. */
  lose: (reason: Error) => void;
};

export class Questions {
  readonly #line: Line;
  readonly #turns = new SerialQueue();
  #pending: PendingAnswer | null = null;

  constructor(line: Line) {
    this.#line = line;
  }

  /** Resolves with the answer; rejects when the line is lost, as it is when there is none in time. */
  ask(header: ServerFrame, type: AnswerType, limitMs: number): Promise<Frame> {
    return this.#turns.add(() => this.#askNow(header, type, limitMs));
  }

  async #askNow(header: ServerFrame, type: AnswerType, limitMs: number): Promise<Frame> {
    const lost = this.#line.lost();
    if (lost !== null) throw lost;
    const { promise, resolve, reject } = Promise.withResolvers<Frame>();
    this.#pending = { type, resolve, reject };
    const overdue = setTimeout(
      () => this.#line.lose(new Error(`The agent did not answer '${header.type}'`)),
      limitMs,
    );
    this.#line.send(header);
    try {
      return await promise;
    } finally {
      clearTimeout(overdue);
      this.#pending = null;
    }
  }

  /** Whether an answer of this type is waited for. */
  awaits(type: AnswerType): boolean {
    return this.#pending?.type === type;
  }

  /** Throws FrameError for an answer that nobody waits for. */
  answer(type: AnswerType, frame: Frame): void {
    if (this.#pending?.type !== type) throw new FrameError("an answer that nobody asked for");
    this.#pending.resolve(frame);
  }

  fail(reason: Error): void {
    this.#pending?.reject(reason);
  }
}
