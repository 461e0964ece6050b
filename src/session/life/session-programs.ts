/**
 * Programs that run beside a session's runs. They are the sandbox's: starting one wakes the session, and of one that
 * sleeps without its processes there are none.
 */
import {
  Busy,
  type ProgramOutput,
  type ProgramSpec,
  type Programs,
  type TerminalSize,
} from "../../guest/programs.ts";
import type { LiveSandbox } from "../../live/live-sandbox.ts";
import { AppError } from "../../protocol/errors.ts";
import type { ProgramState } from "../../protocol/guest.ts";
import type { SessionRecords } from "../records.ts";
import { isAway } from "./incoming.ts";
import type { Tenancy } from "./tenancy.ts";

type Around = {
  /** In the session's turn: makes the sandbox live. */
  wake: () => Promise<LiveSandbox>;
  /** Resolves when what was asked of the session before is done: it may be about to have a sandbox again. */
  settled: () => Promise<void>;
  /** The session is used. */
  touch: () => void;
};

/** What comes after all that there may be: its end. */
const AFTER_ALL = Number.MAX_SAFE_INTEGER;

export class SessionPrograms {
  readonly #records: SessionRecords;
  readonly #sandbox: Tenancy;
  readonly #around: Around;

  constructor(records: SessionRecords, sandbox: Tenancy, around: Around) {
    this.#records = records;
    this.#sandbox = sandbox;
    this.#around = around;
  }

  async start(spec: ProgramSpec): Promise<ProgramState> {
    this.#around.touch();
    const { live } = this.#sandbox;
    try {
      if (live !== null && !isAway(this.#records, this.#sandbox)) return await programsOf(live).start(spec);
    } catch (error) {
      if (!(error instanceof Busy) && !live?.channel.isLost) throw error;
    }
    return await programsOf(await this.#around.wake()).start(spec);
  }

  /** None while it sleeps, but for one whose processes are kept: it is woken. */
  async list(): Promise<ProgramState[]> {
    return (await this.#there())?.list() ?? [];
  }

  async find(program: string): Promise<ProgramState> {
    const found = (await this.list()).find((each) => each.program === program);
    if (found === undefined) throw unknown(program);
    return found;
  }

  async input(program: string, content: Buffer, end: boolean): Promise<void> {
    await (await this.#of(program)).input(program, content, end);
  }

  async signal(program: string, signal: number): Promise<void> {
    await (await this.#of(program)).signal(program, signal);
  }

  async resize(program: string, size: TerminalSize): Promise<void> {
    await (await this.#of(program)).resize(program, size);
  }

  async forget(program: string): Promise<ProgramState> {
    return await (await this.#of(program)).forget(program);
  }

  /** Resolves when it has ended. Rejects when the signal fires first, or the session falls asleep. */
  async ended(program: string, signal: AbortSignal): Promise<void> {
    await this.#read(program, AFTER_ALL, signal);
  }

  /** What it prints after a place, as it comes, until it has ended; `missed` bytes before that are gone. */
  async *follow(
    program: string,
    after: number,
    signal: AbortSignal,
  ): AsyncGenerator<ProgramOutput & { missed: number }> {
    for (let place = after; ; ) {
      const part = await this.#read(program, place, signal);
      if (part === null) return;
      yield { ...part, missed: Math.max(0, part.at - place) };
      place = part.at + part.content.length;
    }
  }

  /** See Programs.read(). The line to the sandbox may move, while it is copied: then it goes on with the next one. */
  async #read(program: string, after: number, signal: AbortSignal): Promise<ProgramOutput | null> {
    for (;;) {
      const programs = await this.#of(program);
      try {
        return await programs.read(program, after, signal);
      } catch (error) {
        if (error instanceof AppError || signal.aborted) throw error;
        await this.#around.settled();
        if (this.#sandbox.live === null || isAway(this.#records, this.#sandbox))
          throw new AppError("session_asleep", "Cannot wait for the process: its session sleeps", {
            cause: error,
          });
      }
    }
  }

  async #there(): Promise<Programs | null> {
    this.#around.touch();
    if (this.#sandbox.live === null) await this.#around.settled();
    const live = isAway(this.#records, this.#sandbox) ? await this.#around.wake() : this.#sandbox.live;
    return live?.hello.programs ? live.channel.programs : null;
  }

  async #of(program: string): Promise<Programs> {
    const programs = await this.#there();
    if (programs === null) throw unknown(program);
    return programs;
  }
}

function programsOf({ channel, hello }: LiveSandbox): Programs {
  if (hello.programs) return channel.programs;
  throw new AppError("sandbox_failed", "Cannot start a process: its sandbox was made by an earlier server", {
    hint: "POST /api/sessions/{id}/hibernate gives it a new one",
  });
}

const unknown = (program: string) =>
  new AppError("process_not_found", `Cannot find the process '${program}': there is none with this id now`);
