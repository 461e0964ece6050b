/**
 * A session with its sandbox: woken when it is needed, asked what it has, given programs to run. All of it happens in
 * the session's turn, but for the news of what was lost.
 */
import type { GuestEnd } from "../../guest/channel.ts";
import { randomBase36 } from "../../lib/random-id.ts";
import type { Folder } from "../../live/folder.ts";
import type { LiveSandbox } from "../../live/live-sandbox.ts";
import { removeFolder } from "../../live/owned-folder.ts";
import { keepOf } from "../../live/state-budget.ts";
import { AppError } from "../../protocol/errors.ts";
import type { RunEventName, SavedFrame, StateDifference, StateListing } from "../../protocol/guest.ts";
import type { Outcome, RunUsage } from "../../protocol/outcome.ts";
import { type Execution, execute, judge, usageOf } from "../../runs/execute.ts";
import { watchMemory } from "../../runs/memory-watch.ts";
import type { OutputLog } from "../../runs/output-log.ts";
import { planProgram } from "../../runs/plan.ts";
import { MAX_TIMEOUT_MS, type RunRequest, type RunResult, refuseIfGone } from "../../runs/request.ts";
import { askedOf, endedRun } from "../../runs/run-row.ts";
import type { Cgroup } from "../../sandbox/cgroup.ts";
import type { RunAsked, RunRow } from "../../store/store.ts";
import type { CurrentRuns } from "../history/current-runs.ts";
import type { OpenRuns } from "../history/open-runs.ts";
import { parseData, ToldData } from "../saved/data.ts";
import { rollBack } from "../saved/versions.ts";
import type { Admission } from "./admission.ts";
import type { Sleeper } from "./hibernate.ts";

/** What a question of a client's may take: its answer is small, but its program may be any. */
const ASK_MS = 15_000;
const ASK_OUTPUT_BYTES = 4_096;

type Parts = Sleeper & { admission: Admission; open: OpenRuns; current: CurrentRuns };

type HeardExecution = { end: GuestEnd; outcome: Outcome; usage: RunUsage; asked: RunAsked | null };

export class LiveSession {
  readonly #parts: Parts;
  readonly #toldData = new ToldData();
  /** The epoch of the kernel that holds the variables. */
  #epoch = 0;
  /** What became of the last kernel, until that was told. */
  #lossReason: string | null = null;
  #nextNumber: number;

  /** `lastNumber` is that of the session's last recorded run, 0 when there is none. */
  constructor(parts: Parts, lastNumber: number) {
    this.#parts = parts;
    this.#nextNumber = Math.max(lastNumber, parts.records.progress.now.version) + 1;
  }

  /** Whether something was lost that no answer has told yet. */
  get hasUntoldLoss(): boolean {
    return this.#lossReason !== null;
  }

  /** The number of the next run. */
  takeNumber(): number {
    return this.#nextNumber++;
  }

  /** The sandbox was lost between runs. */
  noteLoss(reason: string): void {
    this.#lossReason ??= reason;
  }

  noteSaved(report: SavedFrame): void {
    this.#parts.records.progress.saved(report);
    this.#parts.host.metrics.saved(report.written, report.not_kept.length, report.failed !== null);
  }

  /** The kernel ended between runs, and was replaced. */
  noteKernel(epoch: number, description: string): void {
    this.#epoch = epoch;
    this.noteLoss(`The interpreter ended between runs (${description})`);
  }

  /** Its sandbox: the one that it has, or one in which it is woken now. Rejects when the session is to end. */
  async ensure(): Promise<LiveSandbox> {
    const { sandbox, records, host, admission } = this.#parts;
    admission.check();
    const { live } = sandbox;
    if (live !== null) {
      if (!live.channel.isLost) return live;
      this.noteLoss("The sandbox ended between runs");
      await this.end("its agent is gone");
    }
    const isWake = records.folder !== null;
    const startedAt = performance.now();
    const started = await sandbox.start();
    if (isWake) {
      const from = started.isResumed ? "snapshot" : "state";
      host.metrics.woke(from, performance.now() - startedAt);
      host.log.info({ session: records.id, from }, "wake");
    }
    try {
      if (records.folder === null) await this.#adoptFolder(started.folder);
    } catch (error) {
      await sandbox.end(new Error("its session could not be stored"));
      await removeFolder(host, started.folder);
      throw error;
    }
    await this.#greet(started, started.isResumed);
    return started;
  }

  /** Its processes, where they were kept. */
  async resume(): Promise<void> {
    if (this.#parts.records.snapshot !== null) await this.ensure();
  }

  /** Takes over the sandbox that an earlier server left on the session's folder. */
  async adopt(folder: Folder, cgroup: Cgroup): Promise<void> {
    await this.#greet(await this.#parts.sandbox.adopt(folder, cgroup), true);
  }

  async rollBack(version: number): Promise<void> {
    await this.#goTo(version);
    this.#parts.records.progress.undid(version, []);
    await this.#parts.records.storeProgress();
  }

  async #goTo(version: number): Promise<void> {
    const { records, host } = this.#parts;
    const keep = keepOf(records.settings, host.config);
    this.#epoch = await rollBack(await this.ensure(), records, version, keep);
  }

  /** To the version before; answers which that is. Rejects with `nothing_to_undo`. */
  async undo(): Promise<number> {
    const { records } = this.#parts;
    const kept = (await this.#listing()).versions.map(({ version }) => version);
    const { base, undone } = records.progress.history;
    const target = kept.find((version) => version < base);
    if (target === undefined)
      throw new AppError("nothing_to_undo", `Cannot undo in '${records.id}': no earlier version is kept`);
    await this.#goTo(target);
    records.progress.undid(target, [...undone, base]);
    await records.storeProgress();
    return target;
  }

  /** To the version that was undone last; answers which that is. Rejects with `nothing_to_redo`. */
  async redo(): Promise<number> {
    const { records } = this.#parts;
    const { undone } = records.progress.history;
    const target = undone.at(-1);
    if (target === undefined)
      throw new AppError(
        "nothing_to_redo",
        `Cannot redo in '${records.id}': nothing was undone since its last run`,
      );
    await this.#goTo(target);
    records.progress.undid(target, undone.slice(0, -1));
    await records.storeProgress();
    return target;
  }

  /** The newest first, also of what the last run has left. */
  async #listing(): Promise<StateListing> {
    const { records, host } = this.#parts;
    const live = await this.ensure();
    const { version, saved } = records.progress.now;
    if (saved.savedVersion < version) await live.channel.save(version, keepOf(records.settings, host.config));
    return live.channel.inspect();
  }

  /** What differs between two versions. Rejects with `version_not_kept`. */
  async compare(from: number, to: number): Promise<StateDifference> {
    await this.#listing(); // what the last run has left is one of them
    const found = await (await this.ensure()).channel.compare(from, to);
    if (found !== null) return found;
    const { id } = this.#parts.records;
    throw new AppError(
      "version_not_kept",
      `Cannot compare ${from} and ${to} of '${id}': one of them is not kept`,
    );
  }

  async end(reason: string): Promise<void> {
    await this.#parts.sandbox.end(new Error(reason));
  }

  /**
   * Has a program look at something for a client: it makes no version and no record. Answers its results; rejects when
   * it does not end well, with its error as the cause.
   */
  async ask(code: string): Promise<GuestEnd> {
    const { sandbox, records, host } = this.#parts;
    const live = await this.ensure();
    const id = `ask_${randomBase36(16)}`;
    sandbox.beginRun(id);
    const program = {
      ...{
        id,
        name: "<question>",
        code,
        data: null,
        env: {},
        timeoutMs: ASK_MS,
        outputBytes: ASK_OUTPUT_BYTES,
      },
      version: records.progress.now.version,
      keep: keepOf(records.settings, host.config),
      onOutput: () => undefined,
    };
    const { end, lost } = await execute(live, program, { overDiskQuota: () => sandbox.overQuota });
    if (lost !== null) {
      await sandbox.end(lost);
      throw lost;
    }
    sandbox.endRun();
    if (end.frame.epoch !== this.#epoch) {
      this.noteKernel(end.frame.epoch, "it did not answer a question");
      records.progress.restored(end.frame.restored, this.#lossReason);
    }
    return end;
  }

  /** False when that run is not in progress. */
  interrupt(runId: string): boolean {
    const { sandbox } = this.#parts;
    if (sandbox.currentRun !== runId) return false;
    sandbox.live?.channel.interrupt(runId);
    return true;
  }

  /** False when that run is not in progress, or takes no input while it runs. */
  giveInput(runId: string, text: string, end: boolean): boolean {
    const { sandbox, current } = this.#parts;
    if (sandbox.currentRun !== runId || !current.isInteractive(runId)) return false;
    current.touch();
    sandbox.live?.channel.giveInput(runId, text, end);
    return true;
  }

  /** Runs one program to its end. Rejects when it could not begin. */
  async run(request: RunRequest, row: RunRow, log: OutputLog): Promise<RunResult> {
    const { admission, records, sandbox, runs, host } = this.#parts;
    refuseIfGone(request);
    const live = await this.ensure();
    admission.check(); // asked to end while the sandbox was being started
    await runs.reserve(request, row);
    sandbox.beginRun(row.runId);
    if (!request.shell) host.preload.note(records.settings.language, request.code);
    const program = {
      ...planProgram(request, row, records.view, host.config),
      data: this.#toldData.next(records.data),
      recorded: runs.takeAcknowledged(),
      onOutput: (stream: RunEventName, chunk: Buffer) => log.append(stream, chunk),
    };
    const waitedMs = Date.now() - Date.parse(row.createdAt);
    using _memory = watchMemory(live, (message) => log.warn(message));
    const execution = await execute(live, program, { overDiskQuota: () => sandbox.overQuota });
    this.#observe(request, row, execution, waitedMs);
    const asked = askedOf(request, waitedMs);
    if (execution.lost === null) {
      sandbox.endRun();
      return this.#ended(row, log, { ...execution, asked });
    }
    host.log.info({ err: execution.lost, run_id: row.runId }, "a sandbox was lost in a run");
    await sandbox.end(execution.lost);
    admission.check();
    records.progress.lost(execution.outcome);
    return this.#conclude(row, log, { ...execution, asked });
  }

  #observe({ shell }: RunRequest, row: RunRow, { outcome, usage }: Execution, waitedMs: number): void {
    const { host, records } = this.#parts;
    const { language } = records.settings;
    const kind = shell ? "shell" : "session";
    const elapsedMs = usage.elapsedUs / 1000;
    host.metrics.ended({ language, kind, outcome: outcome.kind, elapsedMs, waitedMs });
    const line = {
      session: records.id,
      run_id: row.runId,
      language,
      kind,
      outcome: outcome.kind,
      ms: elapsedMs,
    };
    host.log.info(line, "run");
  }

  /** Without `asked` an earlier server began it, and its agent tells it again. */
  #ended(row: RunRow, log: OutputLog, execution: HeardExecution): RunResult {
    const { end, outcome, asked } = execution;
    const isReplay = asked === null;
    const { records } = this.#parts;
    const epoch = isReplay ? null : this.#epoch;
    records.progress.heard(end.frame, outcome, { epoch, lossReason: this.#lossReason });
    if (!isReplay) this.#epoch = end.frame.epoch;
    this.#lossReason = null;
    const data = end.data === null ? null : parseData(end.data);
    if (data !== null) records.replaceData(data);
    return this.#conclude(row, log, execution);
  }

  #conclude(
    row: RunRow,
    log: OutputLog,
    execution: Pick<Execution, "end" | "outcome" | "usage"> & { asked: RunAsked | null },
  ): RunResult {
    log.close();
    this.#mergeData(row);
    const { progress, settings, data } = this.#parts.records;
    progress.runEnded(execution.end, execution.usage, settings.persistent);
    const output = log.events;
    const ended = { ...execution, output, state: progress.report, endedAt: progress.now.lastRunAt };
    progress.told();
    return { row: endedRun(row, ended), log, data };
  }

  #mergeData({ updateData }: RunRow): void {
    const { records } = this.#parts;
    if (updateData !== null) records.replaceData({ ...records.data, ...updateData });
  }

  async #adoptFolder(folder: Folder): Promise<void> {
    this.#parts.admission.check();
    await this.#parts.folder.adopt(folder);
  }

  /** Takes in what a sandbox says when it is there: what of the variables it has, and how open runs have ended. */
  async #greet(live: LiveSandbox, adopted: boolean): Promise<void> {
    const { restored, epoch, version } = live.hello;
    const { progress } = this.#parts.records;
    this.#epoch = epoch;
    this.#toldData.forget();
    progress.woke();
    if (!adopted || restored !== null) progress.restored(restored, this.#lossReason);
    this.#lossReason = null;
    try {
      await this.#settleOpen(live);
    } catch (error) {
      await this.#parts.sandbox.end(new Error("a run that it had could not be heard again"));
      throw error;
    }
    progress.reached(version);
    this.#nextNumber = Math.max(this.#nextNumber, progress.now.version + 1);
  }

  async #settleOpen(live: LiveSandbox): Promise<void> {
    const { open, runs, current, sandbox } = this.#parts;
    await open.settle(live, {
      acknowledge: (runId) => runs.acknowledged.push(runId),
      follow: (run) => current.follow(run),
      begin: (runId) => void sandbox.beginRun(runId),
      ended: (row, log, end) => {
        sandbox.endRun();
        const outcome = judge(live, end, MAX_TIMEOUT_MS, sandbox.overQuota);
        return this.#ended(row, log, { end, outcome, usage: usageOf(end), asked: null });
      },
      saved: (row) => this.#mergeData(row),
    });
  }
}
