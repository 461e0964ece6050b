/** What the server asks an agent of programs that run beside the runs: any number of questions, each with a ticket. */
import { AppError, type ErrorCode } from "../protocol/errors.ts";
import {
  type ProgramRead,
  type ProgramState,
  type ProgramTold,
  programState,
  programStates,
  type ServerFrame,
} from "../protocol/guest.ts";

export type ProgramSpec = {
  program: string;
  argv: readonly string[];
  cwd: string;
  env: Readonly<Record<string, string>>;
  terminal: TerminalSize | null;
  fileBytes: number;
};
export type TerminalSize = { columns: number; rows: number };
/** Output from a place on, which is later than was asked for where some of it is gone. */
export type ProgramOutput = { stream: NonNullable<ProgramRead["stream"]>; at: number; content: Buffer };

type Line = {
  send: (header: ServerFrame, payload?: Buffer) => void;
  /** Why the line is gone; null while it is not. */
  lost: () => Error | null;
};
type Answer = { header: ProgramTold | ProgramRead; payload: Buffer };
type Waiter = { resolve: (answer: Answer) => void; reject: (reason: Error) => void };

const ANSWER_MS = 30_000;
const CODES: Readonly<Record<string, ErrorCode>> = {
  unknown: "process_not_found",
  ended: "process_ended",
  full: "input_full",
  no_terminal: "no_terminal",
  too_many: "too_many_processes",
  too_many_readers: "too_many_readers",
  failed: "process_failed",
};
const REFUSED: Partial<Record<ErrorCode, string>> = {
  process_not_found: "Cannot find the process",
  process_failed: "Cannot start the process",
  too_many_processes: "Cannot start the process",
};

/** The sandbox is between two states: whoever asks in the session's turn does not meet it. */
export class Busy extends Error {
  override readonly name = "Busy";
}

export class Programs {
  readonly #line: Line;
  readonly #waiters = new Map<number, Waiter>();
  #lastTicket = 0;

  constructor(line: Line) {
    this.#line = line;
  }

  /** Rejects with Busy, or with why it cannot be started. */
  async start({ program, terminal, fileBytes, ...spec }: ProgramSpec): Promise<ProgramState> {
    const header = { act: "start", program, terminal, file_bytes: fileBytes } as const;
    return programState.parse(await this.#ask(header, Buffer.from(JSON.stringify(spec))));
  }

  async list(): Promise<ProgramState[]> {
    return programStates.parse(await this.#ask({ act: "list" }));
  }

  async input(program: string, content: Buffer, end: boolean): Promise<void> {
    await this.#ask({ act: "input", program, end }, content);
  }

  async signal(program: string, signal: number): Promise<void> {
    await this.#ask({ act: "signal", program, signal });
  }

  async resize(program: string, terminal: TerminalSize): Promise<void> {
    await this.#ask({ act: "resize", program, terminal });
  }

  /** Ends it, with all that it has started. Answers how it was. */
  async forget(program: string): Promise<ProgramState> {
    return programState.parse(await this.#ask({ act: "forget", program }));
  }

  /** Waits until there is more; null when it has ended. Rejects when the signal fires, or the line is lost. */
  async read(program: string, after: number, signal: AbortSignal): Promise<ProgramOutput | null> {
    signal.throwIfAborted();
    const { ticket, answer } = this.#open();
    const stop = () => {
      this.#line.send({ type: "program", ticket, act: "unread" });
      this.#settle(ticket)?.reject(signal.reason);
    };
    signal.addEventListener("abort", stop, { once: true });
    this.#line.send({ type: "program", ticket, act: "read", program, after });
    try {
      const { header, payload } = await answer;
      if (header.type === "told") throw refusalOf(header);
      const { stream, at } = header;
      return stream === null ? null : { stream, at, content: payload };
    } finally {
      signal.removeEventListener("abort", stop);
    }
  }

  /** An answer; those that nobody waits for any more are nobody's. */
  heard(header: ProgramTold | ProgramRead, payload: Buffer): void {
    this.#settle(header.ticket)?.resolve({ header, payload });
  }

  fail(reason: Error): void {
    for (const ticket of [...this.#waiters.keys()]) this.#settle(ticket)?.reject(reason);
  }

  async #ask(act: ActFrame, payload?: Buffer): Promise<unknown> {
    const { ticket, answer } = this.#open();
    const overdue = setTimeout(
      () => this.#settle(ticket)?.reject(new AppError("sandbox_failed", "The sandbox did not answer")),
      ANSWER_MS,
    );
    this.#line.send({ type: "program", ticket, ...act } as ServerFrame, payload);
    try {
      const { header, payload: told } = await answer;
      if (header.type === "told" && header.error !== null) throw refusalOf(header);
      return told.length === 0 ? null : JSON.parse(told.toString());
    } finally {
      clearTimeout(overdue);
    }
  }

  #open(): { ticket: number; answer: Promise<Answer> } {
    const lost = this.#line.lost();
    if (lost !== null) throw lost;
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    this.#lastTicket += 1;
    this.#waiters.set(this.#lastTicket, { resolve, reject });
    return { ticket: this.#lastTicket, answer: promise };
  }

  #settle(ticket: number): Waiter | undefined {
    const waiter = this.#waiters.get(ticket);
    this.#waiters.delete(ticket);
    return waiter;
  }
}

type ProgramFrame = Extract<ServerFrame, { type: "program" }>;
type ActFrame = ProgramFrame extends infer F
  ? F extends ProgramFrame
    ? Omit<F, "type" | "ticket">
    : never
  : never;

function refusalOf({ error }: ProgramTold): Error {
  if (error?.code === "busy") return new Busy(error.message);
  const code = CODES[error?.code ?? ""] ?? "process_failed";
  return new AppError(code, `${REFUSED[code] ?? "Cannot do this to the process"}: ${error?.message}`);
}
