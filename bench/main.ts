/**
 * `era bench`: ours and its peers, interleaved in one run, as a table and as JSON.
 * usage: main.ts [--quick] [--no-peer] [--json FILE] [runs | persistence | images | ways | api]...
 */
import { parseArgs } from "node:util";
import { measureApi } from "./api.ts";
import { measureImages } from "./images.ts";
import { measurePersistence } from "./persistence.ts";
import { type Bench, Report, scaleOf } from "./report.ts";
import { measureRuns } from "./runs.ts";
import { measureWays } from "./ways.ts";
import { measureYardstick } from "./yardstick.ts";

const PARTS: Readonly<Record<string, (bench: Bench) => Promise<void>>> = {
  runs: measureRuns,
  persistence: measurePersistence,
  images: measureImages,
  ways: measureWays,
  api: measureApi,
};

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: "boolean", default: false },
    "no-peer": { type: "boolean", default: false },
    json: { type: "string" },
  },
});

async function main(): Promise<number> {
  const unknown = positionals.find((name) => !(name in PARTS));
  if (unknown !== undefined) {
    console.error(`Cannot measure '${unknown}': the parts are ${Object.keys(PARTS).join(", ")}`);
    return 2;
  }
  const report = new Report();
  const scale = scaleOf(options.quick);
  const withPeers = !options["no-peer"];
  for (const [name, measure] of Object.entries(PARTS)) {
    if (positionals.length > 0 && !positionals.includes(name)) continue;
    report.measured(await measureYardstick());
    await measure({ report, scale, withPeers });
  }
  report.measured(await measureYardstick());
  report.print();
  if (options.json) report.write(options.json);
  return 0;
}

process.exit(await main());
