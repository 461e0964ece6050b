/**
 * One session: its row, its sandbox if it has one, and the queue in which its runs, and its deletion, take turns.
 * All changes of the row happen inside the queue or synchronously; the row is stored before an answer is sent.
 */

import { SerialQueue } from "../lib/serial-queue.ts";
import { AppError, shuttingDown } from "../protocol/errors.ts";
import type { StreamName } from "../protocol/guest.ts";
import type { Outcome } from "../protocol/outcome.ts";
import type { Limits } from "../sandbox/policy.ts";
import type { JsonObject, RunRow, SessionRow, Store } from "../store/store.ts";
import { encodeData, MAX_DATA_CHARS, parseData } from "./data.ts";
import type { DiskMonitor, Watched } from "./disk-quota.ts";
import { folderAt } from "./folder.ts";
import { LateOutput } from "./late-output.ts";
import { defaultLimits, type LiveSandbox, type SandboxHost } from "./live-sandbox.ts";
import { diskFullOutcome, lostOutcome, resolveOutcome } from "./outcome.ts";
import { OutputLog } from "./output-log.ts";
import type { Lease, SandboxPool } from "./pool.ts";
import { countsAfter, endedRun, lostRun, queuedRun, type RunEnd } from "./record.ts";
import { DEFAULT_TIMEOUT_MS, MAX_LATE_CHARS, type Run, type RunRequest, type RunResult } from "./run.ts";
import { move, type SessionState } from "./state.ts";

export type SessionDependencies = { host: SandboxHost; store: Store; pool: SandboxPool; disk: DiskMonitor };

const MIB = 1 << 20;

export class Session {
  readonly #deps: SessionDependencies;
  readonly #queue = new SerialQueue();
  #row: SessionRow;
  #state: SessionState = { kind: "cold" };
  /** The data as the agent was last told it; null when it must be told again. */
  #toldData: string | null = null;
  #epoch: number | null = null;
  #overQuota: string | null = null;
  #watched: Watched | null = null;
  /** Why runs are refused from now on: the session is being deleted, or the server is stopping. */
  #refusing: AppError | null = null;
  #nextNumber: number;
  readonly #late: LateOutput;
  /** Results on their way into the store. */
  readonly #storing = new Set<Promise<void>>();
  /** Runs that wait, are in progress or being stored, by id. */
  readonly #runs = new Map<string, Run>();

  /** `lastNumber` is that of the session's last recorded run, 0 when there is none. */
  constructor(row: SessionRow, lastNumber: number, deps: SessionDependencies) {
    this.#row = row;
    this.#deps = deps;
    this.#nextNumber = lastNumber + 1;
    this.#late = new LateOutput(
      (runId, text) => deps.store.appendLateOutput(runId, text, MAX_LATE_CHARS),
      deps.host.log,
    );
  }

  get row(): Readonly<SessionRow> {
    return this.#row;
  }

  get state(): SessionState["kind"] {
    return this.#state.kind;
  }

  get isDeleted(): boolean {
    return this.#state.kind === "deleted";
  }

  findRun(runId: string): Run | null {
    return this.#runs.get(runId) ?? null;
  }

  /** Changes settings: limits at once, all else with the next run. */
  async update(change: Partial<SessionRow>): Promise<void> {
    this.#row = { ...this.#row, ...change };
    const limits = this.#limits();
    if (limits !== null && (this.#state.kind === "idle" || this.#state.kind === "running")) {
      this.#state.lease.live.sandbox.cgroup?.setLimits(limits);
    }
    await this.#deps.store.updateSession(this.#row);
  }

  /** Queues a run. Throws at once when the queue is full. */
  async start(request: RunRequest): Promise<Run> {
    this.#refuseIfRefusing();
    if (this.#queue.length >= this.#deps.host.config.queueLength) {
      throw new AppError(
        "queue_full",
        `Cannot queue a run on session '${this.#row.id}': ${this.#queue.length} are waiting`,
      );
    }
    refuseTooMuchData(this.#row, request.updateData);
    const row = queuedRun(this.#row.id, this.#nextNumber++);
    const log = new OutputLog(this.#deps.host.config.outputBytes);
    const recorded = this.#deps.store.insertRun(row);
    // Stored outside the run's turn, and a moment later, so that the next run is on its way to the guest by then.
    const result = this.#queue
      .add(() => this.#run(request, row, log))
      .then((ended) => this.#storeSoon(ended));
    const run = { runId: row.runId, log, result };
    this.#runs.set(row.runId, run);
    result
      .catch(() => this.#abandon(row))
      .finally(() => {
        log.close();
        this.#runs.delete(row.runId);
      });
    await recorded;
    return run;
  }

  /** Asks the run in progress to end. False when that run is not in progress. */
  interrupt(runId: string): boolean {
    if (this.#state.kind !== "running" || this.#state.runId !== runId) return false;
    this.#state.lease.live.channel.interrupt(runId);
    return true;
  }

  /** The host folder that the guest sees as /workspace; null before the first run. For files/ only. */
  get workspace(): string | null {
    return this.#row.folder === null ? null : this.#folder(this.#row.folder).workspace;
  }

  /** The run in progress, if any. */
  get currentRun(): string | null {
    return this.#state.kind === "running" ? this.#state.runId : null;
  }

  /** Waits for its turn, then ends the sandbox; the next run starts another one. */
  async stop(reason: string): Promise<void> {
    await this.#queue.add(async () => {
      if (this.#state.kind === "idle") await this.#endSandbox(new Error(reason));
      await Promise.allSettled(this.#storing);
    });
  }

  /** Refuses runs that wait or come, and interrupts the one in progress after a while; ends the sandbox when it has ended. */
  async shutDown(patienceMs: number): Promise<void> {
    this.#refusing ??= shuttingDown();
    const impatient = setTimeout(() => {
      if (this.currentRun !== null) this.interrupt(this.currentRun);
    }, patienceMs);
    await this.stop("the server stopped");
    clearTimeout(impatient);
  }

  /** Ends a run in progress, so that what waits comes to its turn; runs that wait are refused. */
  async delete(): Promise<void> {
    if (this.#state.kind === "deleted") return;
    const reason = new AppError("session_deleted", `Cannot run in session '${this.#row.id}': it was deleted`);
    this.#refusing = reason;
    if (this.#state.kind === "running") this.#state.lease.live.channel.close(reason);
    await this.#queue.add(async () => {
      if (this.isDeleted) return;
      if (this.#state.kind === "idle") await this.#endSandbox(reason, true);
      else if (this.#row.folder !== null) await this.#deps.pool.removeFolder(this.#folder(this.#row.folder));
      await Promise.allSettled(this.#storing);
      await this.#deps.store.deleteSession(this.#row.id);
      this.#state = move(this.#state, { kind: "deleted" });
    });
  }

  #refuseIfRefusing(): void {
    if (this.#refusing !== null) throw this.#refusing;
  }

  async #run(request: RunRequest, row: RunRow, log: OutputLog): Promise<RunResult> {
    this.#refuseIfRefusing();
    const lease = await this.#ensureLive();
    this.#refuseIfRefusing(); // asked to end while the sandbox was being started
    this.#state = move(this.#state, { kind: "running", lease, runId: row.runId });
    this.#overQuota = null;
    const timeoutMs =
      request.timeoutMs ??
      (this.#row.defaultTimeout === null ? DEFAULT_TIMEOUT_MS : this.#row.defaultTimeout * 1000);
    const startedAt = performance.now();
    try {
      const end = await lease.live.channel.run(this.#guestRun(request, row, log, timeoutMs));
      const outcome = resolveOutcome(end.frame, {
        timeoutMs,
        ranOutOfMemory: () => lease.live.hasNewOomKills(),
        overDiskQuota: this.#overQuota,
      });
      this.#state = move(this.#state, { kind: "idle", lease });
      this.#noteEpoch(end.frame.epoch, outcome);
      this.#takeData(end.data);
      return this.#finish(request, row, log, { outcome, end, elapsedUs: end.frame.elapsed_us });
    } catch (cause) {
      if (this.#state.kind !== "running") throw cause;
      this.#deps.host.log.info({ err: cause, run_id: row.runId }, "a sandbox was lost in a run");
      await this.#endSandbox(cause instanceof Error ? cause : new Error(String(cause)));
      this.#refuseIfRefusing();
      const outcome =
        this.#overQuota === null ? lostOutcome(messageOf(cause)) : diskFullOutcome(this.#overQuota);
      this.#lose(outcome.error?.message ?? "the sandbox ended");
      const elapsedUs = Math.round((performance.now() - startedAt) * 1000);
      return this.#finish(request, row, log, { outcome, end: null, elapsedUs });
    }
  }

  #guestRun(request: RunRequest, row: RunRow, log: OutputLog, timeoutMs: number) {
    const data = encodeData(this.#row.data);
    const told = this.#toldData === data;
    this.#toldData = data;
    return {
      id: row.runId,
      name: `<run ${row.number}>`,
      code: request.code,
      data: told ? null : data,
      keepFiles: this.#row.persistent,
      timeoutMs: Math.ceil(timeoutMs),
      outputBytes: this.#deps.host.config.outputBytes,
      env: { ...request.env, ...sessionEnvironment(this.#row, request.baseUrl) },
      onOutput: (stream: StreamName, chunk: Buffer) => log.append(stream, chunk),
    };
  }

  /** What the run left in .session_data.json, if it is the data of a session; else the data stays as it was. */
  #takeData(content: Buffer | null): void {
    const data = content === null ? null : parseData(content);
    if (data !== null) this.#row.data = data;
  }

  #finish(request: RunRequest, row: RunRow, log: OutputLog, ended: Omit<RunEnd, "output">): RunResult {
    log.close();
    if (request.updateData !== null) this.#row.data = { ...this.#row.data, ...request.updateData };
    this.#row.lastRunAt = new Date().toISOString();
    this.#row.version += 1;
    this.#row.fileCounts = countsAfter(this.#row, ended.end);
    const done = endedRun(row, this.#row, { ...ended, output: log.events });
    this.#row.lostReason = null;
    return { row: done, log, data: this.#row.data };
  }

  async #storeSoon(ended: RunResult): Promise<RunResult> {
    const storing = new Promise((resolve) => setImmediate(resolve)).then(() =>
      this.#deps.store.finishRun(ended.row, this.#row),
    );
    this.#storing.add(storing);
    try {
      await storing;
      return ended;
    } finally {
      this.#storing.delete(storing);
    }
  }

  #abandon(row: RunRow): void {
    if (this.isDeleted) return;
    this.#deps.store.finishRun(lostRun(row), this.#row).catch((error: unknown) => {
      this.#deps.host.log.error({ err: error, run_id: row.runId }, "cannot record that a run was lost");
    });
  }

  /** The kernel that ran has been replaced when its number changed: what it held is gone. */
  #noteEpoch(epoch: number, outcome: Outcome): void {
    if (this.#epoch !== null && epoch !== this.#epoch) {
      this.#lose(outcome.error?.message ?? `The interpreter ended with exit status ${outcome.exitCode}`);
    }
    this.#epoch = epoch;
  }

  #lose(reason: string): void {
    if (this.#row.lostReason === null) this.#row.lostReason = reason;
  }

  async #ensureLive(): Promise<Lease> {
    if (this.#state.kind === "idle") {
      if (!this.#state.lease.live.channel.isLost) return this.#state.lease;
      this.#lose("The sandbox ended between runs");
      await this.#endSandbox(new Error("its agent is gone"));
    }
    this.#state = move(this.#state, { kind: "starting" });
    try {
      const lease = await this.#startSandbox();
      this.#epoch = 1;
      this.#toldData = null;
      this.#attach(lease.live);
      this.#state = move(this.#state, { kind: "idle", lease });
      return lease;
    } catch (error) {
      this.#state = move(this.#state, { kind: "cold" });
      throw error;
    }
  }

  async #startSandbox(): Promise<Lease> {
    const { pool, store } = this.#deps;
    const limits = this.#limits();
    if (this.#row.folder !== null) return pool.wake(this.#folder(this.#row.folder), limits);
    const lease = await pool.take(limits);
    this.#row.folder = { key: lease.live.folder.key, uid: lease.live.folder.uid };
    try {
      await store.updateSession(this.#row);
      return lease;
    } catch (error) {
      this.#row.folder = null;
      await lease.destroy(new Error("its session could not be stored"));
      throw error;
    }
  }

  #limits(): Limits | null {
    const { memoryMib, cpuCount } = this.#row;
    if (memoryMib === null && cpuCount === null) return null;
    const defaults = defaultLimits(this.#deps.host.config);
    return {
      ...defaults,
      memoryBytes: memoryMib === null ? defaults.memoryBytes : memoryMib * MIB,
      cpus: cpuCount ?? defaults.cpus,
    };
  }

  #folder(folder: { key: string; uid: number }) {
    return folderAt(this.#deps.host.config.dataDir, folder.key, folder.uid);
  }

  #attach(live: LiveSandbox): void {
    live.channel.events = {
      onLate: (runId, _stream, chunk) => this.#late.add(runId, chunk),
      onKernelLost: (description) => this.#lose(`The interpreter ended between runs (${description})`),
      onLost: () => this.#onLineLost(),
    };
    this.#watched = {
      paths: [live.folder.workspace, live.folder.home],
      pids: () => live.sandbox.cgroup?.pids() ?? [],
      excess: this.#watched?.excess ?? null,
      onExceeded: (message) => this.#onDiskExceeded(live, message),
    };
    this.#deps.disk.watch(this.#watched);
  }

  /** A sandbox that ends between runs; during a run, the run itself hears of it. */
  #onLineLost(): void {
    if (this.#state.kind !== "idle") return;
    this.#lose("The sandbox ended between runs");
    void this.stop("its agent is gone");
  }

  #onDiskExceeded(live: LiveSandbox, message: string): void {
    if (this.#state.kind === "running" && this.#state.lease.live === live) {
      if (this.#overQuota === null) live.channel.interrupt(this.#state.runId);
      else live.channel.close(new Error(message)); // told once already, and still growing
      this.#overQuota = message;
    } else if (this.#state.kind === "idle") {
      this.#lose(message);
      void this.stop(message);
    }
  }

  async #endSandbox(reason: Error, withFolder = false): Promise<void> {
    if (this.#state.kind !== "idle" && this.#state.kind !== "running") return;
    const { lease } = this.#state;
    this.#state = move(this.#state, { kind: "ending" });
    if (this.#watched !== null) this.#deps.disk.unwatch(this.#watched);
    this.#late.flush();
    try {
      if (withFolder) await lease.destroy(reason);
      else await lease.end(reason);
    } catch (error) {
      // Not proved gone: whoever comes next finds its line closed, and tries to end it again.
      this.#state = move(this.#state, { kind: "idle", lease });
      throw error;
    }
    if (!withFolder) this.#state = move(this.#state, { kind: "cold" });
  }
}

function sessionEnvironment(row: SessionRow, baseUrl: string): Record<string, string> {
  return {
    ERA_SESSION: "true",
    ERA_SESSION_ID: row.id,
    ERA_LANGUAGE: row.language,
    ERA_BASE_URL: baseUrl,
    ERA_PROXY_URL: `${baseUrl}/proxy/${row.id}`,
  };
}

function refuseTooMuchData(row: SessionRow, update: JsonObject | null): void {
  if (update === null) return;
  const size = JSON.stringify(row.data).length + JSON.stringify(update).length;
  if (size <= MAX_DATA_CHARS) return;
  throw new AppError(
    "invalid_request",
    `Cannot use 'update_data': with it the session's data may have over ${MAX_DATA_CHARS} characters`,
  );
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
