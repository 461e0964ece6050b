/**
 * What the server counts and measures for whoever operates it. No label is chosen by a client or a guest: none has ids,
 * names, types or texts of theirs.
 */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "@prometheus-io/client";

type RunKind = "session" | "shell" | "one_shot";
type EndedProgram = {
  language: string;
  kind: RunKind;
  outcome: string;
  /** The program's own time. */
  elapsedMs: number;
  /** From the request to the program's start: for its turn, a slot, a sandbox. */
  waitedMs: number;
};

/** What is asked for when somebody looks. */
type Sources = {
  sandboxes: () => { live: number; warm: number; max: number };
  /** All sessions, also those that sleep. */
  countSessions: () => Promise<number>;
  loopDelayMs: () => number;
  freeDiskBytes: () => Promise<number>;
};

/** Seconds, from a millisecond to minutes. */
const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];

/** Metrics of the library itself, which Prometheus would not have called so. */
const MISNAMED = [
  "nodejs_active_handles_total",
  "nodejs_active_requests_total",
  "nodejs_active_resources_total",
  "nodejs_eventloop_utilization_histogram",
  "nodejs_eventloop_utilization_summary",
];

export class Metrics {
  readonly #registry = new Registry();
  readonly #runs = this.#counter("era_runs_total", "Programs that have ended", [
    "language",
    "kind",
    "outcome",
  ]);
  readonly #runSeconds = this.#histogram("era_run_duration_seconds", "Time of programs", [
    "language",
    "kind",
  ]);
  readonly #waitSeconds = this.#histogram("era_run_wait_seconds", "From a request to its program's start", [
    "kind",
  ]);
  readonly #claims = this.#counter("era_pool_claims_total", "Sandboxes that were asked for", [
    "language",
    "hit",
  ]);
  readonly #wakes = this.#histogram("era_wake_seconds", "Wakes of sessions", ["from"]);
  readonly #sleeps = this.#histogram("era_sleep_seconds", "Sleeps of sessions", ["to"]);
  readonly #savedBytes = this.#counter(
    "era_save_bytes_total",
    "Bytes of saved variables that were written",
    [],
  );
  readonly #saveFailures = this.#counter("era_save_failures_total", "Saves that failed", []);
  readonly #notKept = this.#counter("era_not_kept_total", "Variables that saves could not keep", []);
  readonly #egress = this.#counter("era_egress_total", "Connections that sessions asked for", ["decision"]);
  readonly #refusals = this.#counter("era_refusals_total", "Requests that were refused", ["code"]);
  readonly #requests = this.#histogram("era_http_request_duration_seconds", "Requests of the API", [
    "operation",
    "method",
    "status",
  ]);

  constructor() {
    collectDefaultMetrics({ register: this.#registry });
    for (const name of MISNAMED) this.#registry.removeSingleMetric(name);
  }

  #counter<T extends string>(name: string, help: string, labelNames: T[]): Counter<T> {
    return new Counter({ name, help, labelNames, registers: [this.#registry] });
  }

  #histogram<T extends string>(name: string, help: string, labelNames: T[]): Histogram<T> {
    return new Histogram({ name, help, labelNames, buckets: SECONDS, registers: [this.#registry] });
  }

  #gauge<T extends string>(
    name: string,
    help: string,
    labelNames: T[],
    look: (found: Gauge<T>) => void | Promise<void>,
  ): void {
    const collect = function (this: Gauge<T>) {
      return look(this);
    };
    new Gauge({ name, help, labelNames, registers: [this.#registry], collect });
  }

  /** Gauges, whose values are looked at when somebody asks for them. */
  watch({ sandboxes, countSessions, loopDelayMs, freeDiskBytes }: Sources): void {
    this.#gauge("era_sandboxes", "Sandboxes that live", ["state"], (found) => {
      const { live, warm } = sandboxes();
      found.set({ state: "warm" }, warm);
      found.set({ state: "used" }, Math.max(0, live - warm));
    });
    this.#gauge("era_sandbox_slots", "Sandboxes that may live at once", [], (found) =>
      found.set(sandboxes().max),
    );
    this.#gauge("era_sessions", "Sessions, also those that sleep", [], async (found) =>
      found.set(await countSessions()),
    );
    this.#gauge(
      "era_loop_delay_seconds",
      "The longest delay of the event loop in the last minute or two",
      [],
      (found) => found.set(loopDelayMs() / 1000),
    );
    this.#gauge("era_disk_free_bytes", "Free room on the data folder's disk", [], async (found) =>
      found.set(await freeDiskBytes()),
    );
  }

  ended({ language, kind, outcome, elapsedMs, waitedMs }: EndedProgram): void {
    this.#runs.inc({ language, kind, outcome });
    this.#runSeconds.observe({ language, kind }, elapsedMs / 1000);
    this.#waitSeconds.observe({ kind }, Math.max(0, waitedMs) / 1000);
  }

  claimed(language: string, isWarm: boolean): void {
    this.#claims.inc({ language, hit: String(isWarm) });
  }

  woke(from: "snapshot" | "state", ms: number): void {
    this.#wakes.observe({ from }, ms / 1000);
  }

  slept(to: "snapshot" | "state", ms: number): void {
    this.#sleeps.observe({ to }, ms / 1000);
  }

  saved(bytes: number, notKept: number, hasFailed: boolean): void {
    this.#savedBytes.inc(bytes);
    this.#notKept.inc(notKept);
    if (hasFailed) this.#saveFailures.inc();
  }

  connected(isAllowed: boolean): void {
    this.#egress.inc({ decision: isAllowed ? "allowed" : "refused" });
  }

  refused(code: string): void {
    this.#refusals.inc({ code });
  }

  answered(request: { operation: string; method: string; status: number }, ms: number): void {
    this.#requests.observe({ ...request, status: String(request.status) }, ms / 1000);
  }

  /** All of it, as Prometheus reads it. */
  text(): Promise<string> {
    return this.#registry.metrics();
  }

  get contentType(): string {
    return this.#registry.contentType;
  }
}
