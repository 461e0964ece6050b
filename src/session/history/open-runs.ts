/**
 * Runs that a killed server left open: their agent tells them again, or the saved state shows that they have happened,
 * or they have not.
 */
import type { GuestEnd } from "../../guest/channel.ts";
import type { SandboxHost } from "../../live/host.ts";
import type { LiveSandbox } from "../../live/live-sandbox.ts";
import type { HelloFrame } from "../../protocol/guest.ts";
import { OutputLog } from "../../runs/output-log.ts";
import { MAX_TIMEOUT_MS, type Run, type RunResult } from "../../runs/request.ts";
import { isRunId, lostRun, queuedRun, savedRun } from "../../runs/run-row.ts";
import type { RunRow, Store } from "../../store/store.ts";
import type { SessionRecords } from "../records.ts";

type Dependencies = { host: SandboxHost; store: Store };

/** What the session does with a run that is heard again. */
type Listener = {
  /** Called for each run that the store has: its agent need not keep it. */
  acknowledge: (runId: string) => void;
  follow: (run: Run) => void;
  begin: (runId: string) => void;
  ended: (row: RunRow, log: OutputLog, end: GuestEnd) => RunResult;
  /** A run whose state was saved, but of which nobody tells any more: what it was to add to the data is added. */
  saved: (row: RunRow) => void;
};

export class OpenRuns {
  #open: RunRow[];
  readonly #deps: Dependencies;
  readonly #records: SessionRecords;

  constructor(open: RunRow[], records: SessionRecords, deps: Dependencies) {
    this.#open = open;
    this.#records = records;
    this.#deps = deps;
  }

  get areThere(): boolean {
    return this.#open.length > 0;
  }

  /** Nobody can have run them. */
  async lose(): Promise<void> {
    for (const row of this.#open.splice(0)) await this.#records.finishRun(lostRun(row));
  }

  /**
   * In the session's turn, when its agent is on the line: afterwards none is open. Rejects when a run cannot be heard
   * to its end; all others are settled even then.
   */
  async settle(live: LiveSandbox, listener: Listener): Promise<void> {
    const open = this.#open.splice(0);
    const { hello } = live;
    const known = runsOf(hello);
    let failure: { error: unknown } | null = null;
    for (const row of await findRuns(this.#deps.store, this.#records.id, open, hello)) {
      if (row.state !== "queued") listener.acknowledge(row.runId);
      else if (failure !== null) await this.#records.finishRun(lostRun(row));
      else
        await this.#hear(live, row, listener).catch((error: unknown) => {
          failure = { error };
        });
    }
    // Steps of a setup, which begins again.
    for (const id of known) if (!isRunId(id)) listener.acknowledge(id);
    for (const row of open) if (!known.includes(row.runId)) await this.#settleUnknown(row, hello, listener);
    if (failure !== null) throw (failure as { error: unknown }).error;
  }

  /** A run that no agent remembers: it is done when its state was saved, else it did not happen. */
  async #settleUnknown(row: RunRow, hello: HelloFrame, listener: Listener): Promise<void> {
    // An agent that has lived on since then knows each run that ever reached it.
    if (hello.token !== null) {
      await this.#records.write(() => this.#deps.store.forgetRun(row.runId));
      return;
    }
    const { restored } = hello;
    const result = restored?.run === row.runId ? restored.result : null;
    if (result !== null) listener.saved(row);
    const ended = result === null ? lostRun(row) : savedRun(row, result, this.#records.progress.report);
    await this.#records.finishRun(ended);
  }

  async #hear(live: LiveSandbox, row: RunRow, listener: Listener): Promise<void> {
    const log = new OutputLog(this.#deps.host.config.outputBytes);
    listener.begin(row.runId);
    const result = live.channel
      .replay(row.runId, (stream, chunk) => log.append(stream, chunk), MAX_TIMEOUT_MS)
      .then((end) => {
        if (end === null) throw new Error("its agent does not know it");
        return listener.ended(row, log, end);
      })
      .then(async (ended) => {
        await this.#records.finishRun(ended.row);
        listener.acknowledge(row.runId);
        return ended;
      });
    // Its agent knows whether it takes input, and drops what it does not.
    listener.follow({ runId: row.runId, log, result, isInteractive: true });
    try {
      await result;
    } catch (error) {
      await this.#records.finishRun(lostRun(row));
      throw error;
    }
  }
}

const runsOf = ({ unrecorded, running }: HelloFrame) =>
  running === null ? unrecorded : [...unrecorded, running];

/** In the order in which they ran. One that the store has never heard of gets a record now. */
async function findRuns(
  store: Store,
  sessionId: string,
  open: readonly RunRow[],
  hello: HelloFrame,
): Promise<RunRow[]> {
  const found: RunRow[] = [];
  for (const runId of runsOf(hello).filter(isRunId)) {
    const row = open.find((run) => run.runId === runId) ?? (await store.findRun(runId));
    if (row !== null && row.sessionId !== sessionId) continue; // no id of this session's
    found.push(row ?? { ...queuedRun(sessionId, hello.version + 1, null), runId });
  }
  return found;
}
