/**
 * `era attack`: attacks fresh sandboxes of this host, and a server of its own, as hostile programs and strangers would;
 * prints what held, in words. Exit status 1 when anything did not, or when what is allowed does not work.
 */
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { attack } from "../attack/attack.ts";
import type { Finding } from "../attack/try-probes.ts";
import type { Config } from "../config.ts";
import { randomBase36 } from "../lib/random-id.ts";
import { removeTree } from "../lib/remove-tree.ts";
import { runCommand } from "../lib/run-command.ts";
import type { Logger } from "../log.ts";
import { obtainImage } from "./image.ts";
import { startServer } from "./start-server.ts";

export async function attackCommand(config: Config, log: Logger, signal: AbortSignal): Promise<number> {
  const image = await obtainImage(config, signal);
  const dataDir = await mkdtemp(join(tmpdir(), "era-attack-"));
  await runCommand(["chmod", "711", dataDir], { timeoutMs: 10_000 });
  try {
    const apiKey = randomBase36(24);
    const own = { ...config, dataDir, apiKey, host: "127.0.0.1", port: 0, pool: new Map() };
    await using server = await startServer(own, image, log);
    const headers = { authorization: `Bearer ${apiKey}` };
    return await report(attack({ url: server.url, headers }), signal);
  } finally {
    await removeTree(dataDir);
  }
}

/** Prints findings by their groups; answers the exit status. */
export async function report(findings: AsyncIterable<Finding>, signal: AbortSignal): Promise<number> {
  const all: Finding[] = [];
  let group: Finding[] = [];
  for await (const finding of findings) {
    signal.throwIfAborted();
    if (group.length > 0 && group[0]?.group !== finding.group) {
      printGroup(group);
      group = [];
    }
    group.push(finding);
    all.push(finding);
  }
  printGroup(group);
  const failed = all.filter(({ held }) => !held);
  const what = failed.length === 0 ? "all as they should be" : `${failed.length} not as they should be`;
  console.log(`\n${all.length} acts tried, ${what}`);
  return all.length > 0 && failed.length === 0 ? 0 : 1;
}

function printGroup(findings: readonly Finding[]): void {
  const [first] = findings;
  if (first === undefined) return;
  const failed = findings.filter(({ held }) => !held);
  const verb = first.group.startsWith("controls") ? "work" : "held";
  console.log(
    `${failed.length === 0 ? "ok     " : "FAILED "} ${first.group}: ${findings.length - failed.length} of ${findings.length} ${verb}`,
  );
  for (const { title, said } of failed) console.log(`          ${title}: ${said.replaceAll("\n", " ")}`);
}
