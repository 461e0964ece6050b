/** What a benchmark has measured: samples by name while it runs, then a table and JSON. */
import { readFileSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { type Figures, summarise } from "./statistics.ts";

type Unit = "ms" | "per second" | "MiB" | "KiB" | "bytes" | "count" | "MB/s";
type Row = { name: string; unit: Unit; figures: Figures | number; reach?: string };

export class Report {
  readonly #rows: Row[] = [];
  readonly #samples = new Map<string, number[]>();

  /** Adds milliseconds to what is known under a name. */
  collect(name: string, more: readonly number[]): void {
    const known = this.#samples.get(name) ?? [];
    known.push(...more);
    this.#samples.set(name, known);
  }

  /** Makes a row of the samples of a name. */
  times(name: string, reach?: string): void {
    this.#add({ name, unit: "ms", figures: summarise(this.#samples.get(name) ?? []) }, reach);
  }

  value(name: string, unit: Unit, value: number, reach?: string): void {
    this.#add({ name, unit, figures: value }, reach);
  }

  /** How much longer the one takes than the other at the median, from samples that were taken in turn. */
  difference(name: string, longer: string, shorter: string, reach: string): void {
    const median = (of: string) => summarise(this.#samples.get(of) ?? []).p50;
    this.value(name, "ms", median(longer) - median(shorter), reach);
  }

  print(): void {
    const cell = (value: number) => (value < 100 ? value.toFixed(2) : value.toFixed(0)).padStart(9);
    console.log(
      `${"".padEnd(52)}${["p50", "p95", "p99"].map((name) => name.padStart(9)).join("")}  unit        reach`,
    );
    for (const { name, unit, figures, reach } of this.#rows) {
      const shown =
        typeof figures === "number"
          ? `${cell(figures)}${" ".repeat(18)}`
          : [figures.p50, figures.p95, figures.p99].map(cell).join("");
      console.log(`${name.padEnd(52)}${shown}  ${unit.padEnd(10)}  ${reach ?? ""}`);
    }
  }

  write(path: string): void {
    const machine = {
      cores: cpus().length,
      model: cpus()[0]?.model,
      kernel: readFileSync("/proc/version", "utf8").split(" ")[2],
    };
    const content = { at: new Date().toISOString(), machine, rows: this.#rows };
    writeFileSync(path, `${JSON.stringify(content, null, 2)}\n`);
  }

  #add(row: Row, reach: string | undefined): void {
    this.#rows.push(reach === undefined ? row : { ...row, reach });
  }
}

/** How much is measured: all, or a tenth to see that it works. */
type Scale = { quick: boolean; times: (count: number) => number };

export function scaleOf(quick: boolean): Scale {
  return { quick, times: (count) => Math.max(3, Math.round(count * (quick ? 0.1 : 1))) };
}

/** What each part of the benchmark is given. */
export type Bench = { report: Report; scale: Scale; withPeers: boolean };
