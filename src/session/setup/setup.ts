/**
 * What a session has installed before its first run: steps in a shell beside the kernel, in the session's turn, so that
 * runs which come meanwhile wait. Interrupted by the server's end, it begins again with the next server.
 */
import { randomBase36 } from "../../lib/random-id.ts";
import type { SandboxHost } from "../../live/host.ts";
import { diskBytesOf, keepOf } from "../../live/state-budget.ts";
import { AppError } from "../../protocol/errors.ts";
import { execute } from "../../runs/execute.ts";
import { OutputLog } from "../../runs/output-log.ts";
import { planSetup, type SetupStep } from "../../runs/plan-setup.ts";
import type { SetupResult, SetupRow, SetupStatus } from "../../store/store.ts";
import type { Admission } from "../life/admission.ts";
import type { Tenancy } from "../life/tenancy.ts";
import type { SessionRecords } from "../records.ts";

type Dependencies = { host: SandboxHost };

const STEP_TIMEOUT_MS = 300_000;
const MAX_PROGRESS_LINES = 200;
const MAX_LINE = 1_000;
/** The limit of what is told of a failed step's output. */
const MAX_TAIL = 16_384;

type StepEnd = { failure: string | null; stdout: string; stderr: string };

export class Setup {
  readonly #deps: Dependencies;
  readonly #records: SessionRecords;
  readonly #sandbox: Tenancy;
  #progress: string[] = [];
  #isCancelled = false;

  constructor(records: SessionRecords, sandbox: Tenancy, deps: Dependencies) {
    this.#records = records;
    this.#sandbox = sandbox;
    this.#deps = deps;
  }

  /** Whether it is still to be done, or being done. */
  get isOpen(): boolean {
    return this.#records.setup?.status === "pending" || this.#records.setup?.status === "running";
  }

  /** The newest lines that its steps have printed. */
  get progress(): readonly string[] {
    return this.#progress;
  }

  refuseIfOpen(): void {
    if (!this.isOpen) return;
    throw new AppError("setup_in_progress", `Cannot run in '${this.#records.id}' yet: its setup goes on`);
  }

  /** Ends it, and what of it runs now. False when there is none to end. */
  cancel(): boolean {
    if (!this.isOpen) return false;
    this.#isCancelled = true;
    const runId = this.#sandbox.currentRun;
    if (runId?.startsWith(STEP_PREFIX)) this.#sandbox.live?.channel.interrupt(runId);
    return true;
  }

  /** In the session's turn. Rejects when the session is being ended, and stays open then. */
  async run(admission: Admission, makeLive: () => Promise<unknown>): Promise<void> {
    admission.check();
    const { setup } = this.#records;
    if (setup === null || !this.isOpen) return;
    const startedAt = performance.now();
    const result = emptyResult();
    await this.#note(setup, "running", null);
    try {
      await makeLive();
      admission.check();
      this.#sandbox.openForSetup(true);
      for (const step of planSetup(setup.request)) {
        admission.check();
        const end = this.#isCancelled ? CANCELLED : await this.#step(step);
        if (end.failure !== null) {
          admission.check(); // what the server's own end has interrupted has not failed
          return await this.#fail(setup, result, end, startedAt);
        }
        result[step.adds.list].push(...step.adds.items);
      }
      const done = { ...result, success: true, duration_ms: Math.round(performance.now() - startedAt) };
      await this.#note(setup, this.#isCancelled ? "cancelled" : "completed", done);
    } catch (error) {
      const isLost = this.#sandbox.live?.channel.isLost === true;
      if (isLost) await this.#sandbox.end(new Error("it was lost in a setup"));
      admission.check();
      const failure = error instanceof Error ? error.message : String(error);
      await this.#fail(setup, result, { failure, stdout: "", stderr: "" }, startedAt);
    } finally {
      this.#sandbox.openForSetup(false);
    }
  }

  async #step(step: SetupStep): Promise<StepEnd> {
    const id = `${STEP_PREFIX}${randomBase36(16)}`;
    const log = new OutputLog(this.#deps.host.config.outputBytes);
    this.#say(`> ${step.title}`);
    const lines = new LineSplitter((line) => this.#say(line));
    const live = this.#sandbox.beginRun(id);
    try {
      const { outcome, lost } = await execute(
        live,
        {
          id,
          name: "<setup>",
          code: step.command,
          timeoutMs: STEP_TIMEOUT_MS,
          outputBytes: this.#deps.host.config.outputBytes,
          env: step.env,
          version: this.#records.progress.now.version,
          keep: keepOf(this.#records.settings, this.#deps.host.config),
          fileBytes: diskBytesOf(this.#records.settings.diskMib, this.#deps.host.config),
          shell: true,
          onOutput: (stream, chunk) => {
            log.append(stream, chunk);
            lines.add(chunk); // a command displays nothing
          },
        },
        { overDiskQuota: () => this.#sandbox.overQuota },
      );
      if (lost !== null) throw lost;
      lines.end();
      const failure =
        outcome.kind === "ok" ? null : `'${step.title}' failed: ${describe(outcome.kind, outcome.exitCode)}`;
      return { failure, stdout: log.text("stdout"), stderr: log.text("stderr") };
    } finally {
      log.close();
      if (this.#sandbox.currentRun === id) this.#sandbox.endRun();
    }
  }

  async #fail(setup: SetupRow, result: SetupResult, end: StepEnd, startedAt: number): Promise<void> {
    const failed = {
      ...result,
      success: false,
      duration_ms: Math.round(performance.now() - startedAt),
      error: this.#isCancelled ? "It was cancelled" : (end.failure ?? ""),
      stdout: end.stdout.slice(-MAX_TAIL),
      stderr: end.stderr.slice(-MAX_TAIL),
    };
    await this.#note(setup, this.#isCancelled ? "cancelled" : "failed", failed);
  }

  async #note({ request }: SetupRow, status: SetupStatus, result: SetupResult | null): Promise<void> {
    await this.#records.storeSetup({ request, status, result });
  }

  #say(line: string): void {
    this.#progress.push(line.slice(0, MAX_LINE));
    if (this.#progress.length > MAX_PROGRESS_LINES) this.#progress.shift();
  }
}

const STEP_PREFIX = "setup_";
const CANCELLED: StepEnd = { failure: "It was cancelled", stdout: "", stderr: "" };

function emptyResult(): SetupResult {
  const lists = { pip_packages: [], npm_packages: [], go_modules: [], commands_run: [] };
  return { success: false, duration_ms: 0, ...lists };
}

function describe(kind: string, exitCode: number): string {
  return kind === "exited" || kind === "raised" ? `exit code ${exitCode}` : kind.replaceAll("_", " ");
}

/** Lines of output that comes in pieces. */
class LineSplitter {
  readonly #onLine: (line: string) => void;
  readonly #decoder = new TextDecoder();
  #rest = "";

  constructor(onLine: (line: string) => void) {
    this.#onLine = onLine;
  }

  add(chunk: Buffer): void {
    const lines = (this.#rest + this.#decoder.decode(chunk, { stream: true })).split(/\r?\n|\r/);
    this.#rest = (lines.pop() ?? "").slice(0, MAX_LINE);
    for (const line of lines) if (line !== "") this.#onLine(line);
  }

  end(): void {
    if (this.#rest !== "") this.#onLine(this.#rest);
  }
}
