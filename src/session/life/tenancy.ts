/**
 * A session's hold on a sandbox, while it has one: started, adopted, served, ended. Its moves are in state.ts; all of
 * them happen in the session's turn, but for the news that a sandbox has ended by itself.
 */
import { adoptSandbox } from "../../live/adopt.ts";
import type { DiskMonitor, Reading } from "../../live/disk-monitor.ts";
import { diskService } from "../../live/disk-service.ts";
import { EgressService } from "../../live/egress-service.ts";
import type { Folder } from "../../live/folder.ts";
import type { SandboxHost } from "../../live/host.ts";
import type { LiveSandbox } from "../../live/live-sandbox.ts";
import { limitsOf } from "../../live/plan-sandbox.ts";
import type { Lease, SandboxPool } from "../../live/pool.ts";
import { AttachedServices } from "../../live/services.ts";
import {
  reasonAgainst,
  reasonInFiles,
  removeSnapshot,
  snapshotFolder,
  takeSnapshot,
} from "../../live/snapshots.ts";
import { keepOf } from "../../live/state-budget.ts";
import type { EgressRecord } from "../../protocol/egress.ts";
import { AppError, BugError, shortageError } from "../../protocol/errors.ts";
import type { SavedFrame, StreamName } from "../../protocol/guest.ts";
import { type Language, languageEntry } from "../../protocol/languages.ts";
import type { Cgroup } from "../../sandbox/cgroup.ts";
import type { Limits } from "../../sandbox/policy.ts";
import type { Snapshot } from "../../store/places.ts";
import type { SessionSettings } from "../../store/store.ts";
import type { SessionRecords } from "../records.ts";
import { refuseTooSmall } from "./memory.ts";
import type { SessionFolder } from "./session-folder.ts";
import { move, type SessionState } from "./state.ts";

type SandboxEvents = {
  onLate: (runId: string, stream: StreamName, chunk: Buffer) => void;
  onKernelLost: (epoch: number, description: string) => void;
  onSaved: (report: SavedFrame) => void;
  /** A program has asked something of the internet. */
  onEgress: (record: EgressRecord) => void;
  /**
   * Called once when the sandbox is lost, or must be ended, between runs. During a run the run's own promise tells it.
   */
  onLost: (reason: string, live: LiveSandbox) => void;
  /** Its processes are gone; what was collected of its output must be stored. */
  onEnd: () => void;
};

type Dependencies = { host: SandboxHost; pool: SandboxPool; disk: DiskMonitor };

/**
 * Processes of a sandbox in which nothing of the program runs: bubblewrap, the agent, the kernel, and bash's own shell.
 */
const ownProcesses = ({ isResumed }: LiveSandbox, language: Language) =>
  (isResumed ? 2 : 3) + languageEntry(language).helpers;

export class Tenancy {
  readonly #deps: Dependencies;
  readonly #folder: SessionFolder;
  readonly #records: SessionRecords;
  readonly #events: SandboxEvents;
  #state: SessionState = { kind: "cold" };
  readonly #egress: EgressService;
  #services: AttachedServices | null = null;
  #isSettingUp = false;
  #lost: LiveSandbox | null = null;
  /** Why the run in progress was stopped, when it was for its session's disk quota. */
  overQuota: string | null = null;
  /** How much of the program goes on between runs besides its processes, as last reported. */
  background = 0;

  constructor(records: SessionRecords, folder: SessionFolder, deps: Dependencies, events: SandboxEvents) {
    this.#records = records;
    this.#deps = deps;
    this.#folder = folder;
    this.#events = events;
    this.#egress = new EgressService(deps.host.egress, events.onEgress);
  }

  get state(): SessionState {
    return this.#state;
  }

  /** The sandbox, if there is one that nobody is starting or ending. */
  get live(): LiveSandbox | null {
    return "lease" in this.#state ? this.#state.lease.live : null;
  }

  get currentRun(): string | null {
    return this.#state.kind === "running" ? this.#state.runId : null;
  }

  /** Whether something of the program goes on between runs. */
  get hasBackgroundWork(): boolean {
    const { live } = this;
    if (live === null) return false;
    const processes = live.sandbox.cgroup?.pids().length ?? 0;
    return this.background > 0 || processes > ownProcesses(live, this.#language);
  }

  /**
   * A new sandbox with a folder of its own; for a session that has one, its processes as they were kept, a warm sandbox
   * to move into, or a new one on its folder.
   */
  async start(): Promise<LiveSandbox> {
    return this.#obtain(async () => {
      if (this.#folder.current === null) return this.#deps.pool.take(this.#language, this.#limits);
      refuseTooSmall(this.#records.progress.now.saved, this.limitsWith());
      await this.#folder.finishMove();
      return (await this.#resume()) ?? (await this.#wakeWarm()) ?? this.#wakeCold();
    });
  }

  get #language(): Language {
    return this.#records.settings.language;
  }

  /** Null when they are the server's own. */
  get #limits(): Limits | null {
    const { memoryMib, cpuCount, diskMib } = this.#records.settings;
    return memoryMib === null && cpuCount === null && diskMib === null ? null : this.limitsWith();
  }

  limitsWith(change: Partial<SessionSettings> = {}): Limits {
    return limitsOf({ ...this.#records.settings, ...change }, this.#deps.host.config);
  }

  /** Null when there is no snapshot, or it cannot be used: then it is gone, and the next run says why. */
  async #resume(): Promise<Lease | null> {
    const { host } = this.#deps;
    const { snapshot } = this.#records;
    const folder = this.#folder.current;
    if (snapshot === null || folder === null) return null;
    const reason = await reasonAgainst(host, snapshot);
    const lease = reason === null ? await this.#tryResume(snapshot, folder) : reason;
    if (typeof lease === "string") {
      await this.dropSnapshot(lease);
      return null;
    }
    try {
      await this.dropSnapshot(null);
    } catch (error) {
      await lease.end(new Error("its session could not be stored"));
      throw error;
    }
    if (snapshot.uid !== folder.uid) lease.live.channel.reseed();
    this.background = snapshot.background;
    return lease;
  }

  /** Answers why it cannot be used. Rejects when it can be tried again. */
  async #tryResume(snapshot: Snapshot, folder: Folder): Promise<Lease | string> {
    const { host, pool } = this.#deps;
    let reason: string | null = null;
    const admit = async () => {
      reason = await reasonInFiles(snapshot, folder);
      if (reason !== null) throw new Error(reason);
      await this.useSnapshot();
    };
    try {
      return await pool.resume({
        folder,
        limits: this.limitsWith(),
        snapshot: { ...snapshot, folder: snapshotFolder(host, snapshot) },
        admit,
      });
    } catch (error) {
      if (error instanceof AppError) throw error; // there was no slot for it
      const isUsed = snapshot.isUsed || this.#records.snapshot?.isUsed === true;
      const shortage = isUsed ? null : shortageError("wake the session", error);
      if (shortage !== null) throw shortage;
      return reason ?? `it could not be restored: ${(error as Error).message}`;
    }
  }

  /** From now on, also after a loss of power, its snapshot is not resumed again. */
  async useSnapshot(): Promise<void> {
    const { snapshot } = this.#records;
    if (snapshot !== null) await this.#records.putSnapshot({ ...snapshot, isUsed: true }, true);
  }

  /** The session goes on without its snapshot: because it was used, or for a reason that the next run tells. */
  async dropSnapshot(reason: string | null): Promise<void> {
    const { host } = this.#deps;
    const { snapshot } = this.#records;
    if (snapshot === null) return;
    this.#records.progress.snapshotLost(reason);
    await this.#records.putSnapshot(null);
    await this.#records.storeProgress();
    removeSnapshot(host, snapshot).catch((error: unknown) =>
      host.log.warn({ err: error }, "a snapshot was not removed"),
    );
  }

  /** Whether its processes are to be kept: as it was asked, or because the saved state alone would lose something. */
  get wantsSnapshot(): boolean {
    const { imaging } = this.#records.settings;
    if (this.#deps.host.criu === null || imaging === "never") return false;
    return (
      imaging === "always" || this.hasBackgroundWork || this.#records.progress.now.saved.notKept.length > 0
    );
  }

  /**
   * Takes a snapshot of its processes, which stand still from then on; for `prepareFiles` see takeSnapshot(). Answers
   * why, when that fails: the sandbox is of no more use then.
   */
  async takeSnapshot(
    prepareFiles: (isDone: Promise<unknown>) => Promise<string>,
  ): Promise<{ snapshot: Snapshot; reason: null } | { snapshot: null; reason: string }> {
    const { host } = this.#deps;
    const { lease } = this.#held();
    const { live } = lease;
    const freeze = async () => {
      this.#state = move(this.#state, { kind: "frozen", lease });
      await this.#services?.freeze();
      await live.freeze();
    };
    const version = this.#records.progress.now.saved.content;
    try {
      const options = { version, background: this.background, prepareFiles, freeze };
      return { snapshot: await takeSnapshot(host, live, options), reason: null };
    } catch (error) {
      host.log.info({ err: error, session: this.#records.id }, "a snapshot could not be taken");
      return { snapshot: null, reason: `it could not be made: ${(error as Error).message}` };
    }
  }

  /**
   * Has a sandbox that stood still go on; rejects, with nothing of it left, when it does not. One that did not goes on.
   */
  async goOn(): Promise<void> {
    const { lease } = this.#held();
    const { sandbox, folder, channel } = lease.live;
    if (sandbox.cgroup === null) throw new BugError("a sandbox without a cgroup stands still");
    if (channel.isLost) {
      lease.live = await adoptSandbox(this.#deps.host, folder, sandbox.cgroup);
      this.#listen(lease.live);
    }
    this.#allow();
    await this.#services?.thaw(lease.live);
    if (this.#state.kind === "frozen") this.#state = move(this.#state, { kind: "idle", lease });
  }

  async #wakeCold(): Promise<Lease> {
    await this.#folder.finishMove();
    const folder = this.#folder.current;
    if (folder === null) throw new BugError("a session without a folder is woken");
    return this.#deps.pool.wake(folder, this.#language, this.#limits);
  }

  /** Null when that cannot be done now. */
  async #wakeWarm(): Promise<Lease | null> {
    if (!this.#folder.isMovable) return null;
    const lease = await this.#deps.pool.takeWarm(this.#language, this.#limits);
    if (lease === null) return null;
    const { live } = lease;
    try {
      if (this.#folder.isHeld) throw new Error("somebody works in its folder");
      await this.#folder.moveTo(live.folder);
      live.hello = await live.channel.moveIn();
    } catch (error) {
      const { log } = this.#deps.host;
      log.info({ err: error, session: this.#records.id }, "a session could not wake in a warm sandbox");
      const reason = new Error("a session could not move into it");
      await (this.#records.folder?.key === live.folder.key ? lease.end(reason) : lease.destroy(reason));
      return null;
    }
    this.#folder.finishMove().catch((error: unknown) => {
      this.#deps.host.log.warn({ err: error, session: this.#records.id }, "a move is not at its end yet");
    });
    return lease;
  }

  /** The sandbox that an earlier server has left on the session's folder. */
  async adopt(folder: Folder, cgroup: Cgroup): Promise<LiveSandbox> {
    return this.#obtain(() => this.#deps.pool.adopt(folder, cgroup));
  }

  beginRun(runId: string): LiveSandbox {
    const { lease } = this.#held();
    this.#state = move(this.#state, { kind: "running", lease, runId, begunAtMs: performance.now() });
    this.overQuota = null;
    return lease.live;
  }

  endRun(): void {
    this.#state = move(this.#state, { kind: "idle", lease: this.#held().lease });
  }

  markDeleted(): void {
    this.#state = move(this.#state, { kind: "deleted" });
  }

  /** Takes over changed settings, at once. */
  update(): void {
    this.#allow();
  }

  /** While a session is set up, it reaches what packages come from, whatever its programs may reach later. */
  openForSetup(isOpen: boolean): void {
    this.#isSettingUp = isOpen;
    this.#allow();
  }

  #allow(): void {
    this.#egress.allow(this.#isSettingUp || this.#records.settings.allowInternetAccess);
  }

  /** Ends it, if there is one; resolves when nothing of it is left but the session's folder. */
  async end(reason: Error): Promise<void> {
    if (!("lease" in this.#state)) return;
    const { lease } = this.#state;
    this.#state = move(this.#state, { kind: "ending" });
    await this.#services?.[Symbol.asyncDispose]();
    this.#services = null;
    this.#events.onEnd();
    try {
      await lease.end(reason);
    } catch (error) {
      // Not proved gone: whoever comes next finds its line closed, and tries to end it again.
      this.#state = move(this.#state, { kind: "idle", lease });
      throw error;
    }
    this.#state = move(this.#state, { kind: "cold" });
  }

  #held(): { lease: Lease } {
    if ("lease" in this.#state) return this.#state;
    throw new Error(`a session that is '${this.#state.kind}' has no sandbox`);
  }

  async #obtain(work: () => Promise<Lease>): Promise<LiveSandbox> {
    this.#state = move(this.#state, { kind: "starting" });
    this.background = 0;
    const { settings } = this.#records;
    try {
      const lease = await work();
      await this.#serve(lease, settings);
      this.#listen(lease.live);
      this.#state = move(this.#state, { kind: "idle", lease });
      return lease.live;
    } catch (error) {
      this.#state = move(this.#state, { kind: "cold" });
      throw error;
    }
  }

  /** Attaches what serves it; ends it when that cannot be done. `startedWith`: the settings as its start began. */
  async #serve(lease: Lease, startedWith: Readonly<SessionSettings>): Promise<void> {
    this.#allow();
    const { disk, host } = this.#deps;
    const { bytes } = keepOf(this.#records.settings, host.config);
    try {
      if (this.#records.settings !== startedWith) lease.live.setLimits(this.limitsWith());
      const quota = () => ({ bytes: this.limitsWith().fileBytes, files: host.config.limits.diskFiles });
      const onExceeded = this.#onDiskExceeded.bind(this);
      const services = [diskService(disk, { quota, stateBytes: bytes }, onExceeded), this.#egress.attach];
      this.#services = await AttachedServices.attach(lease.live, services);
    } catch (cause) {
      const reason = new Error("it could not be served", { cause });
      await (this.#records.folder === null ? lease.destroy(reason) : lease.end(reason));
      throw cause;
    }
  }

  #listen(live: LiveSandbox): void {
    const { onLate, onKernelLost, onSaved } = this.#events;
    live.channel.listen({
      onLate,
      onKernelLost,
      onSaved: (report) => {
        this.background = report.background;
        onSaved(report);
      },
      onLost: () => this.#tellLost(live, "The sandbox ended between runs"),
    });
  }

  /**
   * The first reading over quota between runs is tolerated: a save that does not fit also fills the disk for a moment.
   * Only further growth ends the sandbox. A run that began after the reading may free what another has taken.
   */
  #onDiskExceeded(live: LiveSandbox, message: string, { isNew, isNear, begunAtMs }: Reading): void {
    if (this.live !== live) return;
    if (this.#state.kind === "running") {
      if (isNear && this.#state.begunAtMs > begunAtMs) return;
      if (this.overQuota === null) live.channel.interrupt(this.#state.runId);
      else live.channel.close(new Error(message)); // told once already, and still growing
      this.overQuota = message;
    } else if (!isNew) this.#tellLost(live, message);
  }

  #tellLost(live: LiveSandbox, reason: string): void {
    if (this.#state.kind !== "idle" || this.#lost === live) return;
    this.#lost = live;
    this.#events.onLost(reason, live);
  }
}
