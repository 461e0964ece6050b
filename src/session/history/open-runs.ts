/**
 * Runs that a killed server left open: their agent tells them again, or the saved state shows that they have happened,
 * or they have not.
 */
import type { GuestEnd } from "../../guest/channel.ts";
import type { SandboxHost } from "../../live/host.ts";
import type { LiveSandbox } from "../../live/live-sandbox.ts";
import type { HelloFrame, RestoredState } from "../../protocol/guest.ts";
import { OutputLog } from "../../runs/output-log.ts";
import { MAX_TIMEOUT_MS, type Run, type RunResult } from "../../runs/request.ts";
import { isRunId, lostRun, queuedRun, savedRun } from "../../runs/run-row.ts";
import type { RunRow, SessionRow, Store } from "../../store/store.ts";

type Dependencies = { host: SandboxHost; store: Store };

/** What the session does with a run that is heard again. */
type Listener = {
  /** Where the ids go of runs that the store has. */
  recorded: string[];
  follow: (run: Run) => void;
  begin: (runId: string) => void;
  ended: (row: RunRow, log: OutputLog, end: GuestEnd) => RunResult;
};

export class OpenRuns {
  #open: RunRow[];
  readonly #deps: Dependencies;

  constructor(open: RunRow[], deps: Dependencies) {
    this.#open = open;
    this.#deps = deps;
  }

  get areThere(): boolean {
    return this.#open.length > 0;
  }

  /** Nobody can have run them. */
  async lose(session: SessionRow): Promise<void> {
    for (const row of this.#open.splice(0)) await this.#deps.store.finishRun(lostRun(row), session);
  }

  /** In the session's turn, when its agent is on the line: afterwards none is open. */
  async settle(live: LiveSandbox, session: SessionRow, listener: Listener): Promise<void> {
    const open = this.#open.splice(0);
    const { hello } = live;
    for (const row of await findRuns(this.#deps.store, session.id, open, hello)) {
      if (row.state === "queued") await this.#hear(live, row, session, listener);
      else listener.recorded.push(row.runId);
    }
    const known = runsOf(hello);
    listener.recorded.push(...known.filter((id) => !isRunId(id))); // steps of a setup, which begins again
    for (const row of open.filter(({ runId }) => !known.includes(runId))) {
      // An agent that has lived on since then knows each run that ever reached it.
      if (hello.token !== null) await this.#deps.store.forgetRun(row.runId);
      else await this.#deps.store.finishRun(settledRun(row, session, hello.restored), session);
    }
  }

  async #hear(live: LiveSandbox, row: RunRow, session: SessionRow, listener: Listener): Promise<void> {
    const { host, store } = this.#deps;
    const log = new OutputLog(host.config.outputBytes);
    listener.begin(row.runId);
    const result = live.channel
      .replay(row.runId, (stream, chunk) => log.append(stream, chunk), MAX_TIMEOUT_MS)
      .then((end) => {
        if (end === null) throw new Error("its agent does not know it");
        return listener.ended(row, log, end);
      })
      .then(async (ended) => {
        await store.finishRun(ended.row, session);
        listener.recorded.push(row.runId);
        return ended;
      });
    listener.follow({ runId: row.runId, log, result });
    try {
      await result;
    } catch (error) {
      await store.finishRun(lostRun(row), session);
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

/** A run that no agent remembers: it is done when its state was saved, else it did not happen. */
function settledRun(run: RunRow, session: SessionRow, restored: RestoredState | null): RunRow {
  return restored?.run === run.runId ? savedRun(run, session, restored.result) : lostRun(run);
}
