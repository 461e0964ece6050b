/** Runs a program in a sandbox of its own, which is destroyed at once: nothing of it is kept, not even a record. */
import type { EgressGateway } from "../egress/gateway.ts";
import { type Picked, pickFiles } from "../files/pick.ts";
import { randomBase36 } from "../lib/random-id.ts";
import type { DiskMonitor } from "../live/disk-monitor.ts";
import { diskService } from "../live/disk-service.ts";
import { EgressService } from "../live/egress-service.ts";
import type { Lease, SandboxPool } from "../live/pool.ts";
import type { Preload } from "../live/preload.ts";
import { AttachedServices, type Service } from "../live/services.ts";
import type { Metrics } from "../metrics.ts";
import type { EgressRule } from "../protocol/egress.ts";
import { shuttingDown } from "../protocol/errors.ts";
import type { Language } from "../protocol/languages.ts";
import type { Outcome, RichResult, RunUsage } from "../protocol/outcome.ts";
import type { Dropped } from "../store/store.ts";
import { type Execution, execute } from "./execute.ts";
import { OutputLog } from "./output-log.ts";
import { parseResults } from "./rich-values.ts";

type OneShotRequest = {
  code: string;
  language: Language;
  timeoutMs: number;
  env: Readonly<Record<string, string>>;
  /** What it reads from its standard input; null for nothing. */
  stdin: string | null;
  /** Files to put into the workspace first, by relative path. */
  files: ReadonlyMap<string, string>;
  allowInternetAccess: EgressRule;
  check: boolean;
  /** Patterns of files that the answer is to have. */
  outputs: readonly string[];
};

export type OneShotResult = {
  id: string;
  outcome: Outcome;
  stdout: string;
  stderr: string;
  usage: RunUsage;
  truncated: Dropped;
  results: RichResult[];
  /** Null when none were asked for. */
  outputs: Picked | null;
};

type OneShotOptions = {
  pool: SandboxPool;
  disk: DiskMonitor;
  egress: EgressGateway;
  metrics: Metrics;
  preload: Preload;
  outputBytes: number;
  /** What the files of one may take. */
  diskQuota: { bytes: number; files: number };
  /** A sandbox could not be destroyed. */
  onError: (error: unknown) => void;
};

export class OneShots {
  readonly #options: OneShotOptions;
  readonly #endings = new Set<Promise<void>>();
  readonly #stopping = new AbortController();

  constructor(options: OneShotOptions) {
    this.#options = options;
  }

  /** `signal` ends the run: nobody waits for its result any more. */
  async run(request: OneShotRequest, signal: AbortSignal): Promise<OneShotResult> {
    const unwanted = AbortSignal.any([signal, this.#stopping.signal]);
    const askedAt = performance.now();
    this.#options.preload.note(request.language, request.code);
    const lease = await this.#options.pool.take(request.language, null);
    try {
      unwanted.throwIfAborted();
      const waitedMs = performance.now() - askedAt;
      const result = await this.#runIn(lease, request, unwanted);
      const { language } = request;
      const elapsedMs = result.usage.elapsedUs / 1000;
      this.#options.metrics.ended({
        language,
        kind: "one_shot",
        outcome: result.outcome.kind,
        elapsedMs,
        waitedMs,
      });
      return result;
    } finally {
      this.#destroySoon(lease);
    }
  }

  async #runIn({ live }: Lease, request: OneShotRequest, unwanted: AbortSignal): Promise<OneShotResult> {
    const id = `exec_${randomBase36(16)}`;
    const interrupt = () => live.channel.interrupt(id);
    let overQuota: string | null = null;
    const onExceeded = (_live: unknown, message: string) => {
      overQuota = message;
      interrupt();
    };
    await using _services = await AttachedServices.attach(live, this.#services(request, onExceeded));
    unwanted.addEventListener("abort", interrupt, { once: true });
    try {
      for (const [path, content] of request.files) live.channel.seed(path, Buffer.from(content));
      const log = new OutputLog(this.#options.outputBytes);
      const execution = await execute(
        live,
        {
          id,
          name: "<run 1>",
          code: request.code,
          timeoutMs: request.timeoutMs,
          outputBytes: this.#options.outputBytes,
          env: request.env,
          stdin: request.stdin,
          whole: true,
          check: request.check,
          onOutput: (stream, chunk) => log.append(stream, chunk),
        },
        { overDiskQuota: () => overQuota },
      );
      const { outputs } = request;
      const picked = outputs.length === 0 ? null : await pickFiles(live.folder.workspace, outputs, unwanted);
      return { ...resultOf(id, log, execution), outputs: picked };
    } finally {
      unwanted.removeEventListener("abort", interrupt);
    }
  }

  /** Nothing is recorded of what a one-shot run asks of the internet; one that may not ask has no way there. */
  #services(
    { allowInternetAccess: rule }: OneShotRequest,
    onExceeded: Parameters<typeof diskService>[2],
  ): Service[] {
    const quota = () => this.#options.diskQuota;
    const disk = diskService(this.#options.disk, { quota, stateBytes: 0 }, onExceeded);
    if (rule === false) return [disk];
    const egress = new EgressService(this.#options.egress, () => undefined);
    egress.allow(rule);
    return [disk, egress.attach];
  }

  /** Interrupts what runs. */
  stop(): void {
    this.#stopping.abort(shuttingDown());
  }

  /** Resolves when the sandboxes of all ended runs are gone. */
  async [Symbol.asyncDispose](): Promise<void> {
    while (this.#endings.size > 0) await Promise.all(this.#endings);
  }

  /** The answer need not wait for the clean-up. */
  #destroySoon(lease: Lease): void {
    const ending = lease
      .destroy(new Error("its run has ended"))
      .catch(this.#options.onError)
      .finally(() => this.#endings.delete(ending));
    this.#endings.add(ending);
  }
}

function resultOf(
  id: string,
  log: OutputLog,
  { outcome, usage, end }: Execution,
): Omit<OneShotResult, "outputs"> {
  log.close();
  return {
    id,
    outcome,
    stdout: log.text("stdout"),
    stderr: log.text("stderr"),
    usage,
    truncated: end?.frame.dropped ?? {},
    results: end === null ? [] : parseResults(end.results),
  };
}
