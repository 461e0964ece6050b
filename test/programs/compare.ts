/** Runs a program awake, and again with something between any two steps, and compares every answer. */
import type { Client, SessionClient } from "../support/client.ts";
import type { Program, Programs } from "./sources.ts";

/** What a session goes through between two steps. */
export type Between = "nothing" | "sleep" | "copy" | "kill";
/** The kernel of the session ends itself: its variables are as before that run. */
const KILLS: Readonly<Record<string, string>> = {
  python: "import os as _os_; _os_.kill(_os_.getpid(), 9)",
  node: "process.kill(process.pid, 9)",
  bash: "kill -9 $BASHPID",
};
const STEP_SECONDS = 10;

type Told = { output: string; named: string[] };
export type Difference = { program: string; step: number; code: string; awake: string; other: string };
export type Comparison = { steps: number; unstable: number; named: number; silent: Difference[] };

/** What differs from run to run, and is no state: addresses, numbers of runs, clocks. */
function plain(text: unknown): string {
  return String(text ?? "")
    .replace(/0x[0-9a-f]{6,}/gi, "0xADDRESS")
    .replace(/<run \d+>/g, "<run>")
    .replace(/\d+\.\d{4,}/g, "FLOAT");
}

/** A program that uses what the last run before a sleep showed is told that it is gone. */
const LAST_VALUES = "The last values of earlier runs are there while the session is awake";

export class Comparer {
  readonly #client: Client;
  readonly #programs: Programs;
  readonly #imaging: "never" | "auto";
  #made = 0;

  constructor(client: Client, programs: Programs, imaging: "never" | "auto" = "never") {
    this.#client = client;
    this.#programs = programs;
    this.#imaging = imaging;
  }

  /** Differences count when they are there again in a second try, and programs when two tries awake agree. */
  async compare(program: Program, between: readonly Between[]): Promise<Comparison> {
    const awake = await this.#run(program, ["nothing"]);
    const again = await this.#run(program, ["nothing"]);
    const other = await this.#run(program, between);
    const differs = (one: Told[], two: Told[], at: number) => one[at]?.output !== two[at]?.output;
    const suspects = program.steps
      .map((_, at) => at)
      .filter((at) => !differs(awake, again, at) && differs(awake, other, at));
    const unnamed = suspects.filter((at) => other.slice(0, at + 1).every(({ named }) => named.length === 0));
    const [awakeAgain, otherAgain] =
      unnamed.length === 0
        ? [awake, other]
        : [await this.#run(program, ["nothing"]), await this.#run(program, between)];
    const silent = unnamed.filter(
      (at) => !differs(awake, awakeAgain, at) && differs(awakeAgain, otherAgain, at),
    );
    return {
      steps: program.steps.length,
      unstable: program.steps.filter((_, at) => differs(awake, again, at)).length,
      named: suspects.length - unnamed.length,
      silent: silent.map((at) => ({
        program: program.name,
        step: at,
        code: program.steps[at] ?? "",
        awake: awake[at]?.output ?? "",
        other: other[at]?.output ?? "",
      })),
    };
  }

  async #run({ steps }: Program, between: readonly Between[]): Promise<Told[]> {
    const { language, files } = this.#programs;
    let session = await this.#client.create(this.#nextId(), {
      language,
      imaging: this.#imaging,
      memory_mib: 512,
      durability: "sync",
    });
    if (files !== null)
      await fetch(`${this.#client.url}${session.path}/archive`, {
        method: "PUT",
        body: new Uint8Array(files),
      });
    const told: Told[] = [];
    for (const [at, code] of steps.entries()) {
      const how = at === 0 ? "nothing" : (between[at % between.length] ?? "nothing");
      const { session: next, named } = await this.#pass(session, how);
      session = next;
      const { status, body } = await this.#client.call("POST", `${session.path}/run`, {
        code,
        timeout: STEP_SECONDS,
      });
      const results = (body.results ?? []).map((result: { text?: string }) => plain(result.text));
      told.push({
        output: JSON.stringify([status, body.exit_code, plain(body.stdout), plain(body.stderr), results]),
        named: body.stderr?.includes(LAST_VALUES) ? [...named, "_"] : named,
      });
    }
    await this.#client.expect(200, "DELETE", session.path);
    return told;
  }

  async #pass(session: SessionClient, how: Between): Promise<{ session: SessionClient; named: string[] }> {
    if (how === "nothing") return { session, named: [] };
    if (how === "kill") {
      const { body } = await this.#client.call("POST", `${session.path}/run`, {
        code: KILLS[this.#programs.language],
      });
      return { session, named: namesIn(body.state?.not_kept) };
    }
    const { status, body } = await this.#client.call("POST", `${session.path}/hibernate`);
    const named = status === 200 ? namesIn(body.state.not_kept) : [`status ${status}`];
    if (how === "sleep") return { session, named };
    const id = this.#nextId();
    await this.#client.expect(201, "POST", `${session.path}/duplicate`, { new_id: id });
    await this.#client.expect(200, "DELETE", session.path);
    return { session: this.#client.session(id), named };
  }

  #nextId(): string {
    this.#made += 1;
    return `${this.#programs.language}-${this.#made}`;
  }
}

const namesIn = (items: readonly { name: string }[] = []): string[] => items.map(({ name }) => name);
