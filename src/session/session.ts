/**
 * One session: its records, its sandbox if it has one, and the queue in which runs, sleep, rollback, copies and
 * deletion take turns. It exists as an object while somebody uses it, or while it has a sandbox or work: see
 * registry.ts.
 */
import type { Socket } from "node:net";
import { SerialQueue } from "../lib/serial-queue.ts";
import type { DiskMonitor } from "../live/disk-monitor.ts";
import type { Folder } from "../live/folder.ts";
import type { SandboxHost, SnapshotSupport } from "../live/host.ts";
import type { SandboxPool } from "../live/pool.ts";
import { removeSnapshot } from "../live/snapshots.ts";
import { keepOf } from "../live/state-budget.ts";
import type { StateListing } from "../protocol/guest.ts";
import { OutputLog } from "../runs/output-log.ts";
import { durabilityOf } from "../runs/plan.ts";
import type { Run, RunRequest } from "../runs/request.ts";
import { queuedRun } from "../runs/run-row.ts";
import type { Cgroup } from "../sandbox/cgroup.ts";
import type { PlaceStore } from "../store/places.ts";
import type { RunRow, SessionSettings, Store, StoredCode } from "../store/store.ts";
import { markAsleep } from "./export/mark.ts";
import { CurrentRuns } from "./history/current-runs.ts";
import { EgressLog } from "./history/egress-log.ts";
import { LateOutput } from "./history/late-output.ts";
import { OpenRuns } from "./history/open-runs.ts";
import { RunStore } from "./history/run-store.ts";
import { type Activity, idleMs, spareableMs } from "./life/activity.ts";
import { Admission } from "./life/admission.ts";
import { copyAwake, hibernate, type Sleeper } from "./life/hibernate.ts";
import { Incoming } from "./life/incoming.ts";
import { LiveSession } from "./life/live-session.ts";
import { changeLimits, type SessionLimits } from "./life/memory.ts";
import { type HeldFolder, SessionFolder } from "./life/session-folder.ts";
import { SessionPrograms } from "./life/session-programs.ts";
import type { SessionState } from "./life/state.ts";
import { Tenancy } from "./life/tenancy.ts";
import type { SessionRecords, SessionView } from "./records.ts";
import { refuseTooMuchData } from "./saved/data.ts";
import { findListing } from "./saved/versions.ts";
import { Setup } from "./setup/setup.ts";

export type SessionDependencies = {
  host: SandboxHost;
  store: Store;
  places: PlaceStore;
  pool: SandboxPool;
  disk: DiskMonitor;
};

/** Keeps a session as an object while it has work or a sandbox. */
type Residents = { add(session: Session): unknown; delete(session: Session): unknown };

export class Session {
  readonly #deps: SessionDependencies;
  readonly #residents: Residents;
  readonly #queue = new SerialQueue();
  readonly #records: SessionRecords;
  readonly #sandbox: Tenancy;
  readonly #folder: SessionFolder;
  readonly #sleeper: Sleeper;
  readonly #live: LiveSession;
  readonly #admission: Admission;
  readonly #late: LateOutput;
  readonly #egress: EgressLog;
  readonly setup: Setup;
  readonly #runStore: RunStore;
  readonly runs = new CurrentRuns();
  readonly #incoming: Incoming;
  readonly programs: SessionPrograms;
  readonly #activity: Activity;
  #flushing = Promise.resolve(); // the last snapshot, on its way to the disk
  readonly #open: OpenRuns;

  /**
   * `lastNumber` is that of the session's last recorded run, 0 when there is none; `open` were left by an earlier
   * server.
   */
  constructor(
    records: SessionRecords,
    { lastNumber, open }: { lastNumber: number; open: RunRow[] },
    deps: SessionDependencies,
    residents: Residents,
  ) {
    const { store, host } = deps;
    this.#records = records;
    this.#deps = deps;
    this.#residents = residents;
    this.#open = new OpenRuns(open, records, deps);
    this.#admission = new Admission(records.id, host.config.queueLength);
    this.#runStore = new RunStore(store, records, host.log);
    this.#late = new LateOutput(store, host.log);
    this.#egress = new EgressLog(store, host, records.id);
    this.#folder = new SessionFolder(records, host);
    this.#sandbox = new Tenancy(records, this.#folder, deps, {
      onLate: (runId, _stream, chunk) => this.#late.add(runId, chunk),
      onKernelLost: (epoch, description) => this.#live.noteKernel(epoch, description),
      onEgress: (record) => this.#egress.add(record),
      onSaved: (report) => this.#live.noteSaved(report),
      onLost: (reason, live) => {
        this.#live.noteLoss(reason);
        // By the time this task runs, the session may have another sandbox.
        void this.#inTurn(async () => this.#sandbox.live === live && this.#live.end(reason));
      },
      onEnd: () => {
        this.#late.flush();
        this.#egress.flush();
      },
    });
    const [sandbox, folder, runs] = [this.#sandbox, this.#folder, this.#runStore];
    this.#sleeper = { records, sandbox, folder, runs, host, store };
    const parts = { ...this.#sleeper, admission: this.#admission, open: this.#open, current: this.runs };
    this.#live = new LiveSession(parts, lastNumber);
    records.onOwnershipLost = (reason) => this.#abandon(reason);
    this.setup = new Setup(records, this.#sandbox, deps);
    this.#incoming = new Incoming(records, this.#sandbox, {
      wake: () => this.#inTurn(() => this.#live.resume()),
      onClosed: () => this.runs.touch(),
    });
    this.programs = new SessionPrograms(records, this.#sandbox, {
      wake: () => this.#admitted(() => this.#live.ensure()),
      settled: () => this.#inTurn(async () => undefined),
      touch: () => this.runs.touch(),
    });
    this.#activity = { ...this.#sleeper, queue: this.#queue, incoming: this.#incoming, current: this.runs };
  }

  /** Installs what is to be installed, before any run that is asked for from now on. */
  beginSetup(): void {
    if (!this.setup.isOpen) return;
    const work = this.#inTurn(() => this.setup.run(this.#admission, () => this.#live.ensure()));
    work.catch((error: unknown) => {
      this.#deps.host.log.info({ err: error, session: this.id }, "a setup did not come to its end");
    });
  }

  get id(): string {
    return this.#records.id;
  }

  get row(): SessionView {
    return this.#records.view;
  }

  get state(): SessionState["kind"] {
    return this.#sandbox.state.kind;
  }

  get snapshotSupport(): SnapshotSupport {
    return this.#deps.host.snapshots;
  }

  get isDeleted(): boolean {
    return this.state === "deleted";
  }

  /** Whether all of its variables were saved when that was last tried. */
  get isSaved(): boolean {
    return this.#records.progress.now.saved.failure === null;
  }

  /** See activity.ts. */
  get idleMs(): number | null {
    return idleMs(this.#activity);
  }

  get spareableMs(): number | null {
    return spareableMs(this.#activity);
  }

  /** Changes settings: limits at once, all else with the next run. */
  async update(change: Partial<SessionSettings>): Promise<void> {
    const { live } = this.#sandbox;
    const isOther = change.memoryMib !== undefined || change.cpuCount !== undefined;
    if (live !== null && isOther) changeLimits(live, this.#sandbox.limitsWith(change));
    const stored = this.#records.changeSettings(change);
    this.#sandbox.update();
    if (!this.#records.settings.allowPublicAccess) this.#incoming.close();
    await stored;
  }

  /** Keeps a program, or none. */
  storeCode = (code: StoredCode | null): Promise<void> => this.#records.storeCode(code);

  /** Its files were changed by a client: they are counted anew when somebody asks. */
  noteChangedFiles = (): Promise<void> => this.#records.noteChangedFiles();

  /** An explicit create takes over the session that a run has made; what it does not give stays. */
  async claim(
    settings: Partial<SessionSettings>,
    { data, setup }: Partial<Pick<SessionView, "data" | "setup">>,
  ): Promise<void> {
    if (data !== undefined) {
      this.#records.replaceData(data);
      await this.#records.storeData();
    }
    if (setup != null) await this.#records.storeSetup(setup);
    await this.update({ ...settings, claimable: false });
  }

  /** Queues a run. Throws at once when the queue is full. */
  start(request: RunRequest): Run {
    this.#admission.checkRoom(this.#queue.length);
    if (!request.waitForSetup) this.setup.refuseIfOpen();
    refuseTooMuchData(this.#records.data, request.updateData);
    const row = queuedRun(this.id, this.#live.takeNumber(), request.updateData);
    const log = new OutputLog(this.#deps.host.config.outputBytes);
    const inserted = this.#records.insertRun(row);
    inserted.catch(() => undefined); // told by its turn
    // Stored outside the run's turn, and a moment later, so that the next run is on its way to the guest by then.
    const result = this.#inTurn(async () => {
      await inserted;
      return this.#live.run(request, row, log);
    }).then((ended) => this.#runStore.storeSoon(ended, durabilityOf(request, this.#records.settings)));
    const run = { runId: row.runId, log, result, isInteractive: request.isInteractive };
    this.runs.follow(run);
    result.catch(() => {
      if (!this.isDeleted) this.#runStore.abandon(row);
    });
    return run;
  }

  /** Asks the run in progress to end. False when that run is not in progress. */
  interrupt = (runId: string): boolean => this.#live.interrupt(runId);

  /** More input for the run in progress. False when that run is not in progress, or takes none while it runs. */
  giveInput = (runId: string, text: string, end: boolean): boolean => this.#live.giveInput(runId, text, end);

  /** What it may use, and what its programs hold in memory now: null while it sleeps, or where nobody counts it. */
  get resources(): { limits: SessionLimits; memoryBytes: number | null; expireMs: number | null } {
    const { bytes } = keepOf(this.#records.settings, this.#deps.host.config);
    const limits = { ...this.#sandbox.limitsWith(), stateBytes: bytes };
    const { expireMs } = this.#deps.host.config;
    return { limits, memoryBytes: this.#sandbox.live?.memoryBytes() ?? null, expireMs };
  }

  /** Its folder, to work in; null when it has none yet. Whoever holds it lets it go. */
  holdFolder = (): Promise<HeldFolder> => this.#folder.hold();

  /** Its folder, made now if it has none: a session that has run nothing may be given files. */
  async holdMadeFolder(): Promise<HeldFolder & { folder: Folder }> {
    const make = async () => {
      if (this.#folder.current === null) await this.#folder.make();
    };
    if (this.#folder.current === null) await this.#admitted(make);
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

  /**
   * Saves everything and ends the sandbox; the next run wakes the session. Rejects with `save_failed`, still live; with
   * `keepsPrograms` also when what goes on in it cannot be kept.
   */
  async hibernate({ keepsPrograms = false } = {}): Promise<void> {
    await this.#admitted(() => this.#sleep(keepsPrograms));
  }

  /** Makes a kept version of the variables current again, as a new version; files stay as they are. */
  rollback = (version: number): Promise<void> => this.#admitted(() => this.#live.rollBack(version));

  /** Work on the variables for a client, in the session's turn. */
  onVariables<T>(work: (live: LiveSession) => Promise<T>): Promise<T> {
    this.#admission.checkRoom(this.#queue.length);
    return this.#admitted(() => work(this.#live));
  }

  /** Saved variables and versions: as the agent sees them, or as it saw them last when the session sleeps. */
  async listing(): Promise<StateListing> {
    const known = await findListing(this.#sandbox.live, this.row, this.#deps.store);
    return known ?? this.#admitted(async () => (await this.#live.ensure()).channel.inspect());
  }

  /** Has `copy` made of the session's folder between runs, all of its state saved. Answers how the copy begins. */
  copyFolder(copy: (source: Folder) => Promise<Folder>): ReturnType<typeof copyAwake> {
    return this.#admitted(() => copyAwake(this.#sleeper, copy));
  }

  /** What tells this moment from any other; null of a session that is awake. */
  markAsleep = () => this.#admitted(() => markAsleep(this.#sandbox, this.#folder, this.#records));

  /** After a start of the server: takes over the sandbox that an earlier one left, or settles what it left open. */
  async takeOver(cgroup: Cgroup | null): Promise<void> {
    await this.#inTurn(async () => {
      const folder = this.#folder.current;
      if (folder === null) return this.#open.lose();
      if (cgroup === null) return;
      try {
        await this.#sandbox.useSnapshot(); // its processes are about to go on
        await this.#live.adopt(folder, cgroup);
        if (this.setup.isOpen) await this.#live.end("its setup begins again");
        await this.#sandbox.dropSnapshot(null); // it lives on
      } catch (error) {
        this.#deps.host.log.info({ err: error, session: this.id }, "a sandbox was not adopted");
      }
    });
  }

  /** Resolves when all that is asked of it now has had its turn, and no run of an earlier server is open any more. */
  async settled(): Promise<void> {
    await this.#inTurn(async () => this.#open.areThere && (await this.#live.ensure()));
    await this.#runStore.settled();
  }

  /**
   * Refuses runs that wait or come, and interrupts the one in progress after a while; then saves and ends the sandbox.
   */
  async shutDown(patienceMs: number): Promise<void> {
    this.#admission.endForShutdown();
    const impatient = setTimeout(() => {
      if (this.currentRun !== null) this.interrupt(this.currentRun);
    }, patienceMs);
    await this.#inTurn(async () => {
      await this.#sleep(false).catch((error: unknown) => {
        this.#deps.host.log.warn({ err: error, session: this.id }, "variables could not be saved");
      });
      await this.#live.end("the server stopped");
      await this.#flushing;
      await this.#runStore.settled();
    });
    clearTimeout(impatient);
  }

  /** Ends a run in progress, so that what waits comes to its turn; runs that wait are refused. */
  async delete(): Promise<void> {
    if (this.isDeleted) return;
    const reason = this.#admission.endForDeletion();
    this.#sandbox.live?.channel.close(reason);
    await this.#inTurn(async () => {
      if (this.isDeleted) return;
      await this.#sandbox.end(reason);
      await this.#runStore.settled();
      const { snapshot } = this.#records;
      // First: a folder that nobody owns goes at the next start, a session whose folder is gone would be of no use.
      await this.#records.write(() => this.#deps.store.deleteSession(this.id));
      this.#sandbox.markDeleted();
      await this.#folder.remove();
      if (snapshot !== null) await removeSnapshot(this.#deps.host, snapshot);
    });
  }

  /** Another server has it: its sandbox here is of no more use, and nothing of it is saved. */
  #abandon(cause: Error): void {
    if (this.isDeleted) return;
    const reason = this.#admission.endForLoss(cause);
    this.#sandbox.live?.channel.close(reason);
    const ended = this.#inTurn(async () => {
      if (this.isDeleted) return;
      await this.#sandbox.end(reason);
      this.#sandbox.markDeleted();
    });
    ended.catch((error: unknown) =>
      this.#deps.host.log.error({ err: error, session: this.id }, "cannot let go"),
    );
  }

  /** In the session's turn, if it still takes on work by then. */
  #admitted<T>(work: () => Promise<T>): Promise<T> {
    return this.#inTurn(async () => {
      this.#admission.check();
      return work();
    });
  }

  /** Work on the session has its turn after all that was asked for before. */
  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    this.#residents.add(this);
    try {
      return await this.#queue.add(work);
    } finally {
      if (this.#isAtRest) this.#residents.delete(this);
    }
  }

  /** Whether all that there is of it is in the store. */
  get #isAtRest(): boolean {
    const isGone = this.state === "cold" || this.state === "deleted";
    return isGone && this.#queue.length === 0 && !this.#live.hasUntoldLoss && !this.#open.areThere;
  }

  /** Saves all and ends the sandbox, if there is one. Rejects with `save_failed`, still live. */
  async #sleep(keepsPrograms: boolean): Promise<void> {
    if (this.#sandbox.live === null) return;
    const asleep = await hibernate(this.#sleeper, { keepsPrograms });
    this.#flushing = asleep.flushed;
  }
}
