/**
 * A session's hold on a sandbox, while it has one: started, adopted, served, ended. Its moves are in state.ts; all of them
 * happen in the session's turn, but for the news that a sandbox has ended by itself.
 */
import { adoptSandbox } from "../../live/adopt.ts";
import type { DiskMonitor } from "../../live/disk-monitor.ts";
import { diskService } from "../../live/disk-service.ts";
import { EgressService } from "../../live/egress-service.ts";
import type { Folder } from "../../live/folder.ts";
import type { SandboxHost } from "../../live/host.ts";
import type { LiveSandbox } from "../../live/live-sandbox.ts";
import { defaultLimits } from "../../live/plan-sandbox.ts";
import type { Lease, SandboxPool } from "../../live/pool.ts";
import { AttachedServices } from "../../live/services.ts";
import { dropImage, imageFolder, reasonAgainst, reasonInFiles, takeImage } from "../../live/snapshots.ts";
import { keepOf } from "../../live/state-budget.ts";
import type { EgressRecord } from "../../protocol/egress.ts";
import { AppError, BugError, shortageError } from "../../protocol/errors.ts";
import type { SavedFrame, StreamName } from "../../protocol/guest.ts";
import type { Language } from "../../protocol/language.ts";
import type { Cgroup } from "../../sandbox/cgroup.ts";
import type { Limits } from "../../sandbox/policy.ts";
import type { ProcessImage, SessionRow, Store } from "../../store/store.ts";
import type { SessionFolder } from "./session-folder.ts";
import { move, type SessionState } from "./state.ts";

type SandboxEvents = {
  onLate: (runId: string, stream: StreamName, chunk: Buffer) => void;
  onKernelLost: (epoch: number, description: string) => void;
  onSaved: (report: SavedFrame) => void;
  /** A program has asked something of the internet. */
  onEgress: (record: EgressRecord) => void;
  /** Called once when the sandbox is lost, or must be ended, between runs. During a run the run's own promise tells it. */
  onLost: (reason: string, live: LiveSandbox) => void;
  /** Its processes are gone; what was collected of its output must be stored. */
  onEnd: () => void;
};

type Dependencies = { host: SandboxHost; store: Store; pool: SandboxPool; disk: DiskMonitor };

const MIB = 1 << 20;
/** Processes of a sandbox in which nothing of the program runs: bubblewrap, the agent, the kernel, and bash's own shell. */
const ownProcesses = ({ isResumed }: LiveSandbox, language: Language) =>
  (isResumed ? 2 : 3) + (language === "bash" ? 1 : 0);

export class Tenancy {
  readonly #deps: Dependencies;
  readonly #folder: SessionFolder;
  readonly #language: Language;
  readonly #events: SandboxEvents;
  #state: SessionState = { kind: "cold" };
  readonly #egress: EgressService;
  #services: AttachedServices | null = null;
  #isSettingUp = false;
  #lost: LiveSandbox | null = null;
  /** Why the run in progress was stopped, when it was for its session's disk quota. */
  overQuota: string | null = null;
  /** Threads of the program between runs, as last reported. */
  threads = 0;

  constructor(language: Language, deps: Dependencies, folder: SessionFolder, events: SandboxEvents) {
    this.#language = language;
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
    return this.#state.kind === "idle" || this.#state.kind === "running" ? this.#state.lease.live : null;
  }

  get currentRun(): string | null {
    return this.#state.kind === "running" ? this.#state.runId : null;
  }

  /** Whether something of the program goes on between runs. */
  get hasBackgroundWork(): boolean {
    const { live } = this;
    if (live === null) return false;
    const processes = live.sandbox.cgroup?.pids().length ?? 0;
    return this.threads > 0 || processes > ownProcesses(live, this.#language);
  }

  /**
   * A new sandbox with a folder of its own; for a session that has one, its processes as they were imaged, a warm sandbox
   * to move into, or a new one on its folder.
   */
  async start(row: SessionRow): Promise<LiveSandbox> {
    const limits = limitsOf(row, this.#deps.host);
    return this.#obtain(row, async () => {
      if (this.#folder.current === null) return this.#deps.pool.take(row.language, limits);
      await this.#folder.finishMove();
      return (
        (await this.#wakeImage(row, limits)) ??
        (await this.#wakeWarm(row, limits)) ??
        this.#wakeCold(row, limits)
      );
    });
  }

  /** Null when there is no image, or it cannot be used: then it is gone, and the row says why. */
  async #wakeImage(row: SessionRow, limits: Limits | null): Promise<Lease | null> {
    const { host, pool } = this.#deps;
    const { image } = row;
    const folder = this.#folder.current;
    if (image === null || folder === null) return null;
    let reason = await reasonAgainst(host, image);
    if (reason !== null) {
      await this.dropImage(row, reason);
      return null;
    }
    const admit = async () => {
      reason = await reasonInFiles(image, folder);
      if (reason !== null) throw new Error(reason);
      await this.useImage(row);
    };
    let lease: Lease;
    try {
      lease = await pool.resume({
        folder,
        limits: limits ?? defaultLimits(host.config),
        snapshot: { ...image, folder: imageFolder(host, image) },
        admit,
      });
    } catch (error) {
      // There was no slot for it, or nothing of it was begun: it can be tried again.
      if (error instanceof AppError) throw error;
      const shortage = image.isUsed || row.image?.isUsed ? null : shortageError("wake the session", error);
      if (shortage !== null) throw shortage;
      await this.dropImage(row, reason ?? `it could not be restored: ${(error as Error).message}`);
      return null;
    }
    try {
      await this.dropImage(row, null);
    } catch (error) {
      await lease.end(new Error("its session could not be stored"));
      throw error;
    }
    if (image.uid !== folder.uid) lease.live.channel.reseed();
    this.threads = image.threads;
    return lease;
  }

  /** From now on, also after a loss of power, its image is not restored again. */
  async useImage(row: SessionRow): Promise<void> {
    if (row.image === null) return;
    row.image = { ...row.image, isUsed: true };
    await this.#deps.store.updateSession(row, true);
  }

  /** The session goes on without its image: because it was used, or for a reason that the next run tells. */
  async dropImage(row: SessionRow, reason: string | null): Promise<void> {
    const { host, store } = this.#deps;
    const { image } = row;
    if (image === null) return;
    row.image = null;
    row.imageLost = reason;
    await store.updateSession(row);
    dropImage(host, image).catch((error: unknown) =>
      host.log.warn({ err: error }, "an image was not removed"),
    );
  }

  /**
   * Images its processes, which stand still from then on; for `prepareFiles` see takeImage(). Null, with the reason in the
   * row, when that fails: the sandbox is of no more use then.
   */
  async image(row: SessionRow, prepareFiles: Parameters<typeof takeImage>[4]): Promise<ProcessImage | null> {
    const { live } = this.#held().lease;
    const { threads, hasBackgroundWork } = this;
    const freeze = async () => {
      await this.#services?.freeze();
      await live.freeze();
    };
    try {
      const activity = { threads, hasBackgroundWork };
      return await takeImage(this.#deps.host, row, { ...live, freeze }, activity, prepareFiles);
    } catch (error) {
      this.#deps.host.log.info({ err: error, session: row.id }, "a session could not be imaged");
      row.imageLost = `it could not be made: ${(error as Error).message}`;
      return null;
    }
  }

  /** Has a sandbox that stood still go on; rejects, with nothing of it left, when it does not. One that did not goes on. */
  async goOn(row: SessionRow): Promise<void> {
    const { lease } = this.#held();
    const { sandbox, folder, channel } = lease.live;
    if (sandbox.cgroup === null) throw new BugError("a sandbox without a cgroup stands still");
    if (channel.isLost) {
      lease.live = await adoptSandbox(this.#deps.host, folder, sandbox.cgroup);
      this.#listen(lease.live);
    }
    this.#allow(row);
    await this.#services?.thaw(lease.live);
  }

  async #wakeCold(row: SessionRow, limits: Limits | null): Promise<Lease> {
    await this.#folder.finishMove();
    const folder = this.#folder.current;
    if (folder === null) throw new BugError("a session without a folder is woken");
    return this.#deps.pool.wake(folder, row.language, limits);
  }

  /** Null when that cannot be done now. */
  async #wakeWarm(row: SessionRow, limits: Limits | null): Promise<Lease | null> {
    if (!this.#folder.isMovable) return null;
    const lease = await this.#deps.pool.takeWarm(row.language, limits);
    if (lease === null) return null;
    const { live } = lease;
    try {
      if (this.#folder.isHeld) throw new Error("somebody works in its folder");
      await this.#folder.moveTo(live.folder);
      live.hello = await live.channel.restore();
    } catch (error) {
      const { log } = this.#deps.host;
      log.info({ err: error, session: row.id }, "a session could not wake in a warm sandbox");
      const reason = new Error("a session could not move into it");
      await (row.folder?.key === live.folder.key ? lease.end(reason) : lease.destroy(reason));
      return null;
    }
    this.#folder.finishMove().catch((error: unknown) => {
      this.#deps.host.log.warn({ err: error, session: row.id }, "a move is not at its end yet");
    });
    return lease;
  }

  /** The sandbox that an earlier server has left on the session's folder. */
  async adopt(row: SessionRow, folder: Folder, cgroup: Cgroup): Promise<LiveSandbox> {
    return this.#obtain(row, () => this.#deps.pool.adopt(folder, cgroup));
  }

  beginRun(runId: string): LiveSandbox {
    const { lease } = this.#held();
    this.#state = move(this.#state, { kind: "running", lease, runId });
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
  update(row: SessionRow): void {
    const limits = limitsOf(row, this.#deps.host);
    if (limits !== null) this.live?.setLimits(limits);
    this.#allow(row);
  }

  /** While a session is set up, it reaches what packages come from, whatever its programs may reach later. */
  openForSetup(row: SessionRow, isOpen: boolean): void {
    this.#isSettingUp = isOpen;
    this.#allow(row);
  }

  #allow({ allowInternetAccess }: SessionRow): void {
    this.#egress.allow(this.#isSettingUp || allowInternetAccess);
  }

  /** Ends it, if there is one; resolves when nothing of it is left but the session's folder. */
  async end(reason: Error): Promise<void> {
    if (this.#state.kind !== "idle" && this.#state.kind !== "running") return;
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
    if (this.#state.kind === "idle" || this.#state.kind === "running") return this.#state;
    throw new Error(`a session that is '${this.#state.kind}' has no sandbox`);
  }

  async #obtain(row: SessionRow, work: () => Promise<Lease>): Promise<LiveSandbox> {
    this.#state = move(this.#state, { kind: "starting" });
    this.threads = 0;
    try {
      const lease = await work();
      await this.#serve(row, lease);
      this.#listen(lease.live);
      this.#state = move(this.#state, { kind: "idle", lease });
      return lease.live;
    } catch (error) {
      this.#state = move(this.#state, { kind: "cold" });
      throw error;
    }
  }

  /** Attaches what serves it; ends it when that cannot be done. */
  async #serve(row: SessionRow, lease: Lease): Promise<void> {
    this.#allow(row);
    const { disk, host } = this.#deps;
    const { bytes } = keepOf(row, host.config);
    const onExceeded = (live: LiveSandbox, message: string, isNew: boolean) =>
      this.#onDiskExceeded(live, message, isNew);
    try {
      const services = [diskService(disk, bytes, onExceeded), this.#egress.attach];
      this.#services = await AttachedServices.attach(lease.live, services);
    } catch (cause) {
      const reason = new Error("it could not be served", { cause });
      await (row.folder === null ? lease.destroy(reason) : lease.end(reason));
      throw cause;
    }
  }

  #listen(live: LiveSandbox): void {
    const { onLate, onKernelLost, onSaved } = this.#events;
    live.channel.listen({
      onLate,
      onKernelLost,
      onSaved: (report) => {
        this.threads = report.threads;
        onSaved(report);
      },
      onLost: () => this.#tellLost(live, "The sandbox ended between runs"),
    });
  }

  /**
   * The first reading over quota between runs is tolerated: a save that does not fit also fills the disk for a moment. Only
   * further growth ends the sandbox.
   */
  #onDiskExceeded(live: LiveSandbox, message: string, isNew: boolean): void {
    if (this.live !== live) return;
    if (this.#state.kind === "running") {
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

function limitsOf({ memoryMib, cpuCount }: SessionRow, host: SandboxHost): Limits | null {
  if (memoryMib === null && cpuCount === null) return null;
  const defaults = defaultLimits(host.config);
  return {
    ...defaults,
    memoryBytes: memoryMib === null ? defaults.memoryBytes : memoryMib * MIB,
    cpus: cpuCount ?? defaults.cpus,
  };
}
