/** Runs a program in a sandbox of its own, which is destroyed at once: nothing of it is kept, not even a record. */

import type { EgressDoor } from "../egress/door.ts";
import type { EgressGateway } from "../egress/gateway.ts";
import type { GuestRun } from "../guest/guest-run.ts";
import { randomBase36 } from "../lib/random-id.ts";
import type { DiskMonitor } from "../live/disk-monitor.ts";
import { egressSocket, type Folder, measuredFolders } from "../live/folder.ts";
import type { Lease, SandboxPool } from "../live/pool.ts";
import type { EgressRule } from "../protocol/egress.ts";
import { shuttingDown } from "../protocol/errors.ts";
import type { Language } from "../protocol/language.ts";
import type { Outcome, RichResult } from "../protocol/outcome.ts";
import type { Dropped } from "../store/store.ts";
import { lostOutcome, resolveOutcome } from "./outcome.ts";
import { OutputLog } from "./output-log.ts";
import { parseResults } from "./rich-values.ts";

type OneShotRequest = {
  code: string;
  language: Language;
  timeoutMs: number;
  env: Readonly<Record<string, string>>;
  /** Files to put into the workspace first, by relative path. */
  files: ReadonlyMap<string, string>;
  allowInternetAccess: EgressRule;
  check: boolean;
};

export type OneShotResult = {
  id: string;
  outcome: Outcome;
  stdout: string;
  stderr: string;
  elapsedUs: number;
  truncated: Dropped;
  results: RichResult[];
};

export class OneShots {
  readonly #pool: SandboxPool;
  readonly #egress: EgressGateway;
  readonly #disk: DiskMonitor;
  readonly #outputBytes: number;
  readonly #endings = new Set<Promise<void>>();
  readonly #stopping = new AbortController();
  readonly #onError: (error: unknown) => void;

  constructor(
    { pool, disk, egress }: { pool: SandboxPool; disk: DiskMonitor; egress: EgressGateway },
    outputBytes: number,
    onError: (error: unknown) => void,
  ) {
    this.#pool = pool;
    this.#egress = egress;
    this.#disk = disk;
    this.#outputBytes = outputBytes;
    this.#onError = onError;
  }

  /** `signal` ends the run: nobody waits for its result any more. */
  async run(request: OneShotRequest, signal: AbortSignal): Promise<OneShotResult> {
    const unwanted = AbortSignal.any([signal, this.#stopping.signal]);
    const lease = await this.#pool.take(request.language, null);
    if (unwanted.aborted) {
      this.#destroySoon(lease);
      throw unwanted.reason;
    }
    const id = `exec_${randomBase36(16)}`;
    const log = new OutputLog(this.#outputBytes);
    let overDiskQuota: string | null = null;
    let door: EgressDoor | null = null;
    const { folder, channel } = lease.live;
    const watched = {
      ...measuredFolders(folder, 0),
      pids: () => lease.live.sandbox.cgroup?.pids() ?? [],
      excess: null,
      onExceeded: (message: string) => {
        overDiskQuota = message;
        channel.interrupt(id);
      },
    };
    this.#disk.watch(watched);
    const interrupt = () => channel.interrupt(id);
    unwanted.addEventListener("abort", interrupt, { once: true });
    try {
      door = await this.#openDoor(folder, request.allowInternetAccess);
      for (const [path, content] of request.files) channel.seed(path, Buffer.from(content));
      const end = await channel.run(this.#guestRun(id, request, log));
      const ranOutOfMemory = () => lease.live.takeOomKills() > 0;
      const outcome = resolveOutcome(end.frame, {
        timeoutMs: request.timeoutMs,
        ranOutOfMemory,
        overDiskQuota,
      });
      return finish(id, log, outcome, end.frame.elapsed_us, end.frame.dropped, parseResults(end.results));
    } catch (cause) {
      const outcome = lostOutcome(cause instanceof Error ? cause.message : String(cause), null);
      return finish(id, log, outcome, 0, {}, []);
    } finally {
      unwanted.removeEventListener("abort", interrupt);
      this.#disk.unwatch(watched);
      await door?.[Symbol.asyncDispose]();
      this.#destroySoon(lease);
    }
  }

  /** Nothing is recorded of what a one-shot run asks of the internet. */
  async #openDoor(folder: Folder, rule: EgressRule): Promise<EgressDoor | null> {
    if (rule === false) return null;
    const door = await this.#egress.open(egressSocket(folder), () => undefined);
    this.#egress.change(door, rule);
    return door;
  }

  /** Interrupts what runs. */
  stop(): void {
    this.#stopping.abort(shuttingDown());
  }

  /** Resolves when the sandboxes of all ended runs are gone. */
  async [Symbol.asyncDispose](): Promise<void> {
    while (this.#endings.size > 0) await Promise.all(this.#endings);
  }

  #guestRun(id: string, request: OneShotRequest, log: OutputLog): GuestRun {
    return {
      id,
      name: "<run 1>",
      code: request.code,
      data: null,
      keepFiles: true,
      timeoutMs: Math.ceil(request.timeoutMs),
      outputBytes: this.#outputBytes,
      env: request.env,
      version: 1,
      save: "none",
      keep: { versions: 1, bytes: 0 },
      whole: true,
      check: request.check,
      shell: false,
      recorded: [],
      onOutput: (stream, chunk) => log.append(stream, chunk),
    };
  }

  /** The answer need not wait for the clean-up. */
  #destroySoon(lease: Lease): void {
    const ending = lease
      .destroy(new Error("its run has ended"))
      .catch(this.#onError)
      .finally(() => this.#endings.delete(ending));
    this.#endings.add(ending);
  }
}

function finish(
  id: string,
  log: OutputLog,
  outcome: Outcome,
  elapsedUs: number,
  truncated: OneShotResult["truncated"],
  results: RichResult[],
): OneShotResult {
  log.close();
  return {
    id,
    outcome,
    stdout: log.text("stdout"),
    stderr: log.text("stderr"),
    elapsedUs,
    truncated,
    results,
  };
}
