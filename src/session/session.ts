/**
 * One session: its row, its sandbox if it has one, and the queue in which runs, sleep, rollback, copies and deletion take
 * turns. The row changes inside the queue or synchronously, and is stored before an answer is sent.
 */

import type { Socket } from "node:net";
import type { GuestEnd } from "../guest/channel.ts";
import { SerialQueue } from "../lib/serial-queue.ts";
import type { DiskMonitor } from "../live/disk-monitor.ts";
import type { Folder } from "../live/folder.ts";
import type { SandboxHost, SnapshotSupport } from "../live/host.ts";
import type { LiveSandbox } from "../live/live-sandbox.ts";
import { removeFolder } from "../live/owned-folder.ts";
import type { SandboxPool } from "../live/pool.ts";
import { dropImage } from "../live/snapshots.ts";
import { keepOf } from "../live/state-budget.ts";
import type { StateListing, StreamName } from "../protocol/guest.ts";
import type { Outcome } from "../protocol/outcome.ts";
import { execute, judge } from "../runs/execute.ts";
import { OutputLog } from "../runs/output-log.ts";
import { durabilityOf, planProgram } from "../runs/plan.ts";
import { MAX_TIMEOUT_MS, type Run, type RunRequest, type RunResult, refuseIfGone } from "../runs/request.ts";
import { concludeRun, queuedRun } from "../runs/run-row.ts";
import type { Cgroup } from "../sandbox/cgroup.ts";
import type { RunRow, SessionRow, Store } from "../store/store.ts";
import { CurrentRuns } from "./history/current-runs.ts";
import { EgressLog } from "./history/egress-log.ts";
import { LateOutput } from "./history/late-output.ts";
import { OpenRuns } from "./history/open-runs.ts";
import { RunRecorder } from "./history/run-store.ts";
import { Admission } from "./life/admission.ts";
import { copyAwake, fallAsleep } from "./life/hibernate.ts";
import { Incoming } from "./life/incoming.ts";
import { type HeldFolder, SessionFolder } from "./life/session-folder.ts";
import type { SessionState } from "./life/state.ts";
import { Tenancy } from "./life/tenancy.ts";
import { parseData, refuseTooMuchData, ToldData } from "./saved/data.ts";
import { noteEnd, noteLost, noteRestored, noteSaved } from "./saved/saved-state.ts";
import { findListing, rollBack } from "./saved/versions.ts";
import { Setup } from "./setup/setup.ts";

export type SessionDependencies = { host: SandboxHost; store: Store; pool: SandboxPool; disk: DiskMonitor };

type HeardExecution = { end: GuestEnd; outcome: Outcome; elapsedUs: number };

export class Session {
  readonly #deps: SessionDependencies;
  readonly #queue = new SerialQueue();
  readonly #sandbox: Tenancy;
  readonly #folder: SessionFolder;
  #row: SessionRow;
  readonly #toldData = new ToldData();
  /** Of the kernel that holds the variables. */
  #epoch = 0;
  /** What became of the last kernel, until that was told. */
  #lossReason: string | null = null;
  readonly #admission: Admission;
  #nextNumber: number;
  readonly #late: LateOutput;
  readonly #egress: EgressLog;
  readonly setup: Setup;
  readonly #recorder: RunRecorder;
  readonly runs = new CurrentRuns();
  readonly #incoming: Incoming;
  #flushing = Promise.resolve(); // the last image, on its way to the disk
  readonly #open: OpenRuns;

  /** `lastNumber` is that of the session's last recorded run, 0 when there is none. */
  constructor(row: SessionRow, lastNumber: number, open: RunRow[], deps: SessionDependencies) {
    this.#row = row;
    this.#deps = deps;
    this.#open = new OpenRuns(open, deps);
    this.#admission = new Admission(row.id, deps.host.config.queueLength);
    this.#nextNumber = Math.max(lastNumber, row.version) + 1;
    this.#recorder = new RunRecorder(deps.store, deps.host.log);
    this.#late = new LateOutput(deps.store, deps.host.log);
    this.#egress = new EgressLog(deps.store, deps.host.log, row.id);
    this.#folder = new SessionFolder(row, deps);
    this.#sandbox = new Tenancy(row.language, deps, this.#folder, {
      onLate: (runId, _stream, chunk) => this.#late.add(runId, chunk),
      onKernelLost: (epoch, description) => {
        this.#epoch = epoch;
        this.#lossReason ??= `The interpreter ended between runs (${description})`;
      },
      onEgress: (record) => this.#egress.add(record),
      onSaved: (report) => noteSaved(this.#row.saved, report),
      onLost: (reason, live) => {
        this.#lossReason ??= reason;
        // By its turn another one may be there.
        void this.#queue.add(async () => this.#sandbox.live === live && this.#endSandbox(reason));
      },
      onEnd: () => {
        this.#late.flush();
        this.#egress.flush();
      },
    });
    this.setup = new Setup(row, this.#sandbox, deps);
    this.#incoming = new Incoming(row, this.#sandbox, () => this.#queue.add(() => this.#wakeByImage()));
  }

  /** Installs what is to be installed, before any run that is asked for from now on. */
  beginSetup(): void {
    if (!this.setup.isOpen) return;
    const work = this.#queue.add(() => this.setup.run(this.#admission, () => this.#ensureLive()));
    work.catch((error: unknown) => {
      this.#deps.host.log.info({ err: error, session: this.#row.id }, "a setup did not come to its end");
    });
  }

  get row(): Readonly<SessionRow> {
    return this.#row;
  }
  get state(): SessionState["kind"] {
    return this.#sandbox.state.kind;
  }
  get imaging(): SnapshotSupport {
    return this.#deps.host.imaging;
  }
  get isDeleted(): boolean {
    return this.state === "deleted";
  }
  /** Milliseconds without a run or a request for one; null while something goes on, also between runs. */
  get idleMs(): number | null {
    if (this.state !== "idle" || this.#queue.length > 0 || this.#sandbox.hasBackgroundWork) return null;
    return this.runs.idleMs;
  }

  /** Changes settings: limits at once, all else with the next run. */
  async update(change: Partial<SessionRow>): Promise<void> {
    Object.assign(this.#row, change);
    this.#sandbox.update(this.#row);
    if (!this.#row.allowPublicAccess) this.#incoming.close();
    await this.#deps.store.updateSession(this.#row);
  }

  /** Queues a run. Throws at once when the queue is full. */
  async start(request: RunRequest): Promise<Run> {
    this.#admission.checkRoom(this.#queue.length);
    if (!request.waitForSetup) this.setup.refuseIfOpen();
    refuseTooMuchData(this.#row.data, request.updateData);
    const row = queuedRun(this.#row.id, this.#nextNumber++, request.updateData);
    const log = new OutputLog(this.#deps.host.config.outputBytes);
    await this.#deps.store.insertRun(row);
    // Stored outside the run's turn, and a moment later, so that the next run is on its way to the guest by then.
    const result = this.#queue
      .add(() => this.#run(request, row, log))
      .then((ended) => this.#recorder.storeSoon(ended, () => this.#row, durabilityOf(request, this.#row)));
    const run = { runId: row.runId, log, result };
    this.runs.follow(run);
    result.catch(() => {
      if (!this.isDeleted) this.#recorder.abandon(row, this.#row);
    });
    return run;
  }

  /** Asks the run in progress to end. False when that run is not in progress. */
  interrupt(runId: string): boolean {
    if (this.currentRun !== runId) return false;
    this.#sandbox.live?.channel.interrupt(runId);
    return true;
  }

  /** Its folder, to work in; null when it has none yet. Whoever holds it lets it go. */
  holdFolder = (): Promise<HeldFolder> => this.#folder.hold();

  /** Its folder, made now if it has none: a session that has run nothing may be given files. */
  async holdMadeFolder(): Promise<HeldFolder & { folder: Folder }> {
    const make = async () => {
      this.#admission.check();
      if (this.#folder.current === null) await this.#folder.make();
    };
    if (this.#folder.current === null) await this.#queue.add(make);
    return this.#folder.holdMade();
  }

  /** Ends what an earlier server began to move. */
  settleFolder = () => this.#folder.finishMove();

  /** A connection to a port that a program of it listens on. */
  async connect(port: number): Promise<Socket | null> {
    this.runs.touch();
    return this.#incoming.connect(port);
  }

  get currentRun(): string | null {
    return this.#sandbox.currentRun;
  }

  /** Saves everything and ends the sandbox; the next run wakes the session. Rejects with `save_failed`, still live. */
  async hibernate(): Promise<void> {
    await this.#queue.add(async () => {
      this.#admission.check();
      await this.#sleep();
    });
  }

  /** Makes a kept version of the variables current again, as a new version; files stay as they are. */
  async rollback(version: number): Promise<void> {
    await this.#queue.add(async () => {
      this.#admission.check();
      const keep = keepOf(this.#row, this.#deps.host.config);
      this.#epoch = await rollBack(await this.#ensureLive(), this.#row, version, keep);
      await this.#deps.store.updateSession(this.#row);
    });
  }

  /** Saved variables and versions: as the agent sees them, or as it saw them last when the session sleeps. */
  async listing(): Promise<StateListing> {
    const known = await findListing(this.#sandbox.live, this.#row, this.#deps.store);
    return known ?? this.#queue.add(async () => (await this.#ensureLive()).channel.inspect());
  }

  /** Has `copy` made of the session's folder between runs, all of its state saved. Answers the row as it is then. */
  async copyFolder(copy: (source: Folder) => Promise<Folder>): Promise<SessionRow> {
    return this.#queue.add(async () => {
      this.#admission.check();
      return copyAwake(this.#row, this.#sandbox, this.#folder, this.#recorder, this.#deps, copy);
    });
  }

  /** After a start of the server: takes over the sandbox that an earlier one left, or settles what it left open. */
  async takeOver(cgroup: Cgroup | null): Promise<void> {
    await this.#queue.add(async () => {
      const folder = this.#folder.current;
      if (folder === null) return this.#open.lose(this.#row);
      if (cgroup !== null) {
        try {
          await this.#sandbox.useImage(this.#row); // its processes are about to go on
          const live = await this.#sandbox.adopt(this.#row, folder, cgroup);
          if (this.setup.isOpen) await this.#endSandbox("its setup begins again");
          else await this.#greet(live, true);
          await this.#sandbox.dropImage(this.#row, null); // it lives on
        } catch (error) {
          this.#deps.host.log.info({ err: error, session: this.#row.id }, "a sandbox was not adopted");
        }
      }
    });
  }

  /** Resolves when all that is asked of it now has had its turn, and no run of an earlier server is open any more. */
  async settled(): Promise<void> {
    await this.#queue.add(async () => this.#open.areThere && (await this.#ensureLive()));
    await this.#recorder.settled();
  }

  /** Refuses runs that wait or come, and interrupts the one in progress after a while; then saves and ends the sandbox. */
  async shutDown(patienceMs: number): Promise<void> {
    this.#admission.endForShutdown();
    const impatient = setTimeout(() => {
      if (this.currentRun !== null) this.interrupt(this.currentRun);
    }, patienceMs);
    await this.#queue.add(async () => {
      await this.#sleep().catch((error: unknown) => {
        this.#deps.host.log.warn({ err: error, session: this.#row.id }, "variables could not be saved");
      });
      await this.#endSandbox("the server stopped");
      await this.#flushing;
      await this.#recorder.settled();
    });
    clearTimeout(impatient);
  }

  /** Ends a run in progress, so that what waits comes to its turn; runs that wait are refused. */
  async delete(): Promise<void> {
    if (this.isDeleted) return;
    const reason = this.#admission.endForDeletion();
    this.#sandbox.live?.channel.close(reason);
    await this.#queue.add(async () => {
      if (this.isDeleted) return;
      if (this.state === "idle") await this.#sandbox.end(reason);
      await this.#recorder.settled();
      // First: a folder that nobody owns goes at the next start, a session whose folder is gone would be of no use.
      await this.#deps.store.deleteSession(this.#row.id);
      this.#sandbox.markDeleted();
      await this.#folder.remove();
      if (this.#row.image !== null) await dropImage(this.#deps.host, this.#row.image);
    });
  }

  async #run(request: RunRequest, row: RunRow, log: OutputLog): Promise<RunResult> {
    this.#admission.check();
    refuseIfGone(request);
    const live = await this.#ensureLive();
    this.#admission.check(); // asked to end while the sandbox was being started
    await this.#recorder.reserve(request, row, this.#row);
    this.#sandbox.beginRun(row.runId);
    const program = {
      ...planProgram(request, row, this.#row, this.#deps.host.config),
      data: this.#toldData.next(this.#row.data),
      recorded: this.#recorder.takeRecorded(),
      onOutput: (stream: StreamName, chunk: Buffer) => log.append(stream, chunk),
    };
    const execution = await execute(live, program, { overDiskQuota: () => this.#sandbox.overQuota });
    if (execution.lost === null) {
      this.#sandbox.endRun();
      return this.#ended(row, log, execution, false);
    }
    this.#deps.host.log.info({ err: execution.lost, run_id: row.runId }, "a sandbox was lost in a run");
    await this.#sandbox.end(execution.lost);
    this.#admission.check();
    noteLost(this.#row.saved, execution.outcome);
    return concludeRun(row, this.#row, log, execution);
  }

  /** `isReplay`: an earlier server began it, and its agent tells it again. */
  #ended(row: RunRow, log: OutputLog, execution: HeardExecution, isReplay: boolean): RunResult {
    const { end, outcome } = execution;
    const epoch = isReplay ? null : this.#epoch;
    noteEnd(this.#row, end.frame, outcome, { epoch, lossReason: this.#lossReason });
    if (!isReplay) this.#epoch = end.frame.epoch;
    this.#lossReason = null;
    const data = end.data === null ? null : parseData(end.data);
    if (data !== null) this.#row.data = data;
    return concludeRun(row, this.#row, log, execution);
  }

  async #ensureLive(): Promise<LiveSandbox> {
    const { live } = this.#sandbox;
    if (live !== null) {
      if (!live.channel.isLost) return live;
      this.#lossReason ??= "The sandbox ended between runs";
      await this.#endSandbox("its agent is gone");
    }
    const started = await this.#sandbox.start(this.#row);
    try {
      if (this.#row.folder === null) await this.#adoptFolder(started.folder);
    } catch (error) {
      await this.#sandbox.end(new Error("its session could not be stored"));
      await removeFolder(this.#deps.host, started.folder);
      throw error;
    }
    await this.#greet(started, started.isResumed);
    return started;
  }

  async #wakeByImage(): Promise<void> {
    this.#admission.check();
    if (this.#row.image !== null) await this.#ensureLive();
  }

  async #adoptFolder(folder: Folder): Promise<void> {
    this.#admission.check();
    await this.#folder.adopt(folder);
  }

  /** Takes in what a sandbox says when it is there: what of the variables it has, and how open runs have ended. */
  async #greet(live: LiveSandbox, adopted: boolean): Promise<void> {
    const { restored, epoch, version } = live.hello;
    this.#epoch = epoch;
    this.#toldData.forget();
    this.#row.hibernatedAt = null;
    if (!adopted || restored !== null) noteRestored(this.#row.saved, restored, this.#lossReason);
    this.#lossReason = null;
    try {
      await this.#settleOpen(live);
    } catch (error) {
      await this.#sandbox.end(new Error("a run that it had could not be heard again"));
      throw error;
    }
    this.#row.version = Math.max(this.#row.version, version);
    this.#nextNumber = Math.max(this.#nextNumber, this.#row.version + 1);
  }

  async #settleOpen(live: LiveSandbox): Promise<void> {
    await this.#open.settle(live, this.#row, {
      recorded: this.#recorder.recorded,
      follow: (run) => this.runs.follow(run),
      begin: (runId) => void this.#sandbox.beginRun(runId),
      ended: (row, log, end) => {
        this.#sandbox.endRun();
        const outcome = judge(live, end, MAX_TIMEOUT_MS, this.#sandbox.overQuota);
        return this.#ended(row, log, { end, outcome, elapsedUs: end.frame.elapsed_us }, true);
      },
    });
  }

  /** Saves all and ends the sandbox, if there is one. Rejects with `save_failed`, still live. */
  async #sleep(): Promise<void> {
    if (this.#sandbox.live === null) return;
    const asleep = await fallAsleep(this.#row, this.#sandbox, this.#folder, this.#recorder, this.#deps);
    this.#flushing = asleep.flushed;
  }

  async #endSandbox(reason: string): Promise<void> {
    if (this.state === "idle") await this.#sandbox.end(new Error(reason));
  }
}
