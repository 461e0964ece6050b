/** What a benchmark has measured: samples by name while it runs, then a table and JSON. */
import { readFileSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { type Figures, summarise } from "./statistics.ts";

type Unit = "ms" | "per second" | "MiB" | "KiB" | "bytes" | "count" | "MB/s";
/**
 * What is to be reached, on a machine whose yardstick is NOMINAL_MS: times and rates are judged scaled by this one's.
 */
type Bar = { p50?: number; p99?: number; most?: number; least?: number };
type Row = { name: string; unit: Unit; figures: Figures | number; bar?: Bar };

const NOMINAL_MS = 0.2;
const RATES = new Set<Unit>(["per second", "MB/s"]);

export class Report {
  readonly #rows: Row[] = [];
  readonly #samples = new Map<string, number[]>();
  readonly #yardsticks: number[] = [];

  /** Adds milliseconds to what is known under a name. */
  collect(name: string, more: readonly number[]): void {
    const known = this.#samples.get(name) ?? [];
    known.push(...more);
    this.#samples.set(name, known);
  }

  /** How fast this machine is now: see yardstick.ts. */
  measured(yardstickMs: number): void {
    this.#yardsticks.push(yardstickMs);
  }

  /** Makes a row of the samples of a name. */
  times(name: string, bar?: Bar): void {
    this.#add({ name, unit: "ms", figures: summarise(this.#samples.get(name) ?? []) }, bar);
  }

  value(name: string, unit: Unit, value: number, bar?: Bar): void {
    this.#add({ name, unit, figures: value }, bar);
  }

  /** How much longer the one takes than the other at the median, from samples that were taken in turn. */
  difference(name: string, longer: string, shorter: string, bar: Bar): void {
    const median = (of: string) => summarise(this.#samples.get(of) ?? []).p50;
    this.value(name, "ms", median(longer) - median(shorter), bar);
  }

  print(): void {
    const cell = (value: number) => (value < 100 ? value.toFixed(2) : value.toFixed(0)).padStart(9);
    const yardstick = this.#yardstick;
    console.log(
      `yardstick ${yardstick.toFixed(3)} ms (${this.#yardsticks.map((each) => each.toFixed(3)).join(", ")}); ` +
        `bars hold for ${NOMINAL_MS} ms, and are scaled by ${(yardstick / NOMINAL_MS).toFixed(2)}`,
    );
    const heads = ["p50", "p95", "p99"].map((name) => name.padStart(9)).join("");
    console.log(`${"".padEnd(52)}${heads}  unit        yardsticks  to reach, scaled`);
    for (const { name, unit, figures, bar } of this.#rows) {
      const shown =
        typeof figures === "number"
          ? `${cell(figures)}${" ".repeat(18)}`
          : [figures.p50, figures.p95, figures.p99].map(cell).join("");
      const times = unit === "ms" ? cell(medianOf(figures) / yardstick) : "";
      const judged = bar === undefined ? "" : this.#judge({ name, unit, figures, bar });
      console.log(`${name.padEnd(52)}${shown}  ${unit.padEnd(10)}  ${times.padStart(10)}  ${judged}`);
    }
  }

  write(path: string): void {
    const machine = {
      cores: cpus().length,
      model: cpus()[0]?.model,
      kernel: readFileSync("/proc/version", "utf8").split(" ")[2],
      yardstickMs: this.#yardstick,
    };
    const rows = this.#rows.map((row) => ({ ...row, missed: this.#missed(row) }));
    writeFileSync(path, `${JSON.stringify({ at: new Date().toISOString(), machine, rows }, null, 2)}\n`);
  }

  get #yardstick(): number {
    return summarise(this.#yardsticks).p50;
  }

  #add(row: Row, bar: Bar | undefined): void {
    this.#rows.push(bar === undefined ? row : { ...row, bar });
  }

  #judge(row: Row): string {
    const bars = this.#scaled(row).map(({ key, bar }) => `${key} ${bar.toFixed(2)}`);
    const missed = this.#missed(row);
    return `${bars.join(", ")}${missed.length === 0 ? "" : `  MISSED: ${missed.join(", ")}`}`;
  }

  #missed(row: Row): string[] {
    return this.#scaled(row)
      .filter(({ key, bar }) => {
        const value =
          typeof row.figures === "number" ? row.figures : row.figures[key === "p99" ? "p99" : "p50"];
        return key === "least" ? value < bar : value > bar;
      })
      .map(({ key }) => key);
  }

  #scaled({ unit, bar = {} }: Row): { key: string; bar: number }[] {
    const factor = this.#yardstick / NOMINAL_MS;
    const scale = unit === "ms" ? factor : RATES.has(unit) ? 1 / factor : 1;
    return Object.entries(bar).map(([key, value]) => ({ key, bar: value * scale }));
  }
}

const medianOf = (figures: Figures | number) => (typeof figures === "number" ? figures : figures.p50);

/** How much is measured: all, or a tenth to see that it works. */
type Scale = { quick: boolean; times: (count: number) => number };

export function scaleOf(quick: boolean): Scale {
  return { quick, times: (count) => Math.max(3, Math.round(count * (quick ? 0.1 : 1))) };
}

/** What each part of the benchmark is given. */
export type Bench = { report: Report; scale: Scale; withPeers: boolean };
