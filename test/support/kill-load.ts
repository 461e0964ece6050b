/**
 * Load whose every effect can be accounted for, on a server that is killed again and again: each operation has a
 * number, leaves it in a counter, a list, a dictionary and a file, and is tried with one key until its answer is
 * certain.
 */
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "./client.ts";
import { TestServer } from "./server.ts";

type Options = {
  kills: number;
  sessions: number;
  clients: number;
  settings: Record<string, string>;
  durability: "async" | "sync";
  /** The server alone, with it every sandbox, or something else. */
  kill: (server: TestServer) => Promise<{ serverGoesOn: boolean }>;
  /** Sessions hold what only a process image keeps, and are put to sleep all the time. */
  imaged?: boolean;
  /** Whether files can be compared: they are not taken back when a run is. */
  checkFiles: boolean;
};

export type Account = {
  acknowledged: number;
  retried: number;
  lost: number;
  rolledBack: number;
  slept: number;
  imagesLost: number;
};

const SETUP = "import time\nn, items, table = 0, [], {}\nopen('log', 'w').close()";
const CHECK = `import json\nprint(json.dumps([n, items, list(table.values()), [int(line) for line in open('log')]]))`;
const MAX_PAUSE_MS = 350;

function operation(number: number): string {
  const pause = Math.random() < 0.3 ? `\ntime.sleep(${(Math.random() * 0.06).toFixed(3)})` : "";
  return `n += 1\nitems.append(${number})${pause}\ntable = {**table, "k${number}": ${number}}\nwith open("log", "a") as f:\n    f.write("${number}\\n")\nprint(n, len(items))`;
}

/** A generator that counts what `n` counts: it must be as old as the variables, or be gone and said to be gone. */
const COUNTER = `
def counter(start):
    while True:
        start += 1
        yield start
it = counter(0)`;
const COUNT = `
try: counted = next(it)
except NameError as error:
    assert "could not be kept" in error.__notes__[0]
    it = counter(n); counted = next(it)
assert counted == n + 1, (counted, n)
`;
const SLEEP_SHARE = 0.4;

type Pending = { session: string; number: number; code: string };

export class KillLoad {
  readonly #options: Options;
  readonly #acknowledged = new Map<string, Set<number>>();
  readonly #lost = new Map<string, Set<number>>();
  readonly #uncertain: Pending[] = [];
  readonly account: Account = {
    acknowledged: 0,
    retried: 0,
    lost: 0,
    rolledBack: 0,
    slept: 0,
    imagesLost: 0,
  };
  #next = 1;
  #server: TestServer;

  private constructor(options: Options, server: TestServer) {
    this.#options = options;
    this.#server = server;
  }

  /**
   * All rounds: load, kill, start again, settle what was uncertain, compare. Answers the last server, still running.
   */
  static async run(options: Options): Promise<{ server: TestServer; account: Account }> {
    const load = new KillLoad(options, await TestServer.start(options.settings));
    await load.#prepare();
    for (let round = 0; round < options.kills; round++) await load.#round();
    return { server: load.#server, account: load.account };
  }

  get #client(): Client {
    return this.#server.client;
  }

  async #prepare(): Promise<void> {
    for (let at = 0; at < this.#options.sessions; at++) {
      const session = await this.#client.create(`kill-${at}`, { durability: this.#options.durability });
      await session.prints("", this.#options.imaged ? SETUP + COUNTER : SETUP);
      this.#acknowledged.set(session.id, new Set());
      this.#lost.set(session.id, new Set());
    }
    await sleep(300); // what was set up must be saved, in either mode
  }

  async #round(): Promise<void> {
    const stop = new AbortController();
    const clients = Array.from({ length: this.#options.clients }, () => this.#work(stop.signal));
    await sleep(30 + Math.random() * MAX_PAUSE_MS);
    const { serverGoesOn } = await this.#options.kill(this.#server);
    stop.abort();
    await Promise.all(clients);
    if (!serverGoesOn) this.#server = await TestServer.start(this.#options.settings, this.#server.dataDir);
    for (const pending of this.#uncertain.splice(0)) {
      this.account.retried += 1;
      await this.#attempt(pending);
    }
    for (const id of this.#acknowledged.keys()) await this.#compare(id);
  }

  async #work(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const number = this.#next++;
      const session = `kill-${Math.floor(Math.random() * this.#options.sessions)}`;
      const code = (this.#options.imaged ? COUNT : "") + operation(number);
      const pending = { session, number, code };
      try {
        await this.#attempt(pending);
        if (this.#options.imaged && Math.random() < SLEEP_SHARE) await this.#putToSleep(session);
      } catch (error) {
        if (error instanceof assert.AssertionError) throw error;
        this.#uncertain.push(pending); // the server was killed under it
        return;
      }
    }
  }

  /** Throws when nobody answered; an answer of any other kind than a success or a loss is a failure of the test. */
  async #attempt({ session, number, code }: Pending): Promise<void> {
    const key = { "idempotency-key": `key-${number}` };
    const answer = await this.#client.call("POST", `/api/sessions/${session}/run`, { code }, key);
    if (answer.status === 503 || answer.status === 429) return;
    if (answer.status === 409 && answer.body.code === "run_lost") {
      this.#lost.get(session)?.add(number);
      this.account.lost += 1;
      return;
    }
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
    assert.equal(answer.body.exit_code, 0, JSON.stringify(answer.body));
    if (answer.body.state.rolled_back !== null) this.account.rolledBack += 1;
    if (answer.body.state.image_lost !== undefined) this.account.imagesLost += 1;
    this.#acknowledged.get(session)?.add(number);
    this.account.acknowledged += 1;
  }

  async #putToSleep(session: string): Promise<void> {
    const answer = await this.#client.call("POST", `/api/sessions/${session}/hibernate`).catch(() => null);
    if (answer === null) return; // the server was killed under it; the next operation finds that out
    assert.ok([200, 429, 503].includes(answer.status), JSON.stringify(answer.body));
    this.account.slept += 1;
  }

  async #compare(id: string): Promise<void> {
    const answer = await this.#client.session(id).run(CHECK);
    assert.equal(answer.exit_code, 0, `${id}: ${answer.stderr} ${JSON.stringify(answer.state)}`);
    const [n, items, table, lines] = JSON.parse(answer.stdout) as [number, number[], number[], number[]];
    const happened = new Set(items);
    assert.equal(happened.size, items.length, `${id}: an operation happened twice: ${items}`);
    assert.deepEqual([n, table], [items.length, items], `${id}: an operation is half there`);
    if (this.#options.checkFiles) assert.deepEqual(lines, items, `${id}: its file differs`);
    for (const number of this.#acknowledged.get(id) ?? [])
      assert.ok(happened.has(number), `${id}: ${number} was acknowledged and is not there`);
    for (const number of this.#lost.get(id) ?? [])
      assert.ok(!happened.has(number), `${id}: ${number} was said to be lost and is there`);
  }
}

/** Ends every process of a server: it first, so that it sees nothing of the end of the others. */
export async function killAll(server: TestServer): Promise<{ serverGoesOn: boolean }> {
  const gone = server.kill();
  for (let pids = server.processes(); pids.length > 0; pids = server.processes()) {
    for (const pid of pids) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // it ended with another
      }
    }
  }
  await gone;
  return { serverGoesOn: false };
}

export async function killServer(server: TestServer): Promise<{ serverGoesOn: boolean }> {
  await server.kill();
  return { serverGoesOn: false };
}
