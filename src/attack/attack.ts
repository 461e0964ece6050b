/** The whole attack on a server: what is allowed first, then all that must be refused. */
import { tryClients } from "./clients.ts";
import { CONTROLS } from "./controls.ts";
import { FILES } from "./files.ts";
import { LANGUAGE_GROUPS } from "./languages.ts";
import { hostServers, NEIGHBOUR_GROUPS, VICTIM, VICTIM_CONTROLS } from "./neighbours.ts";
import { NETWORK } from "./network.ts";
import type { ProbeGroup } from "./probe.ts";
import { PROCESS_GROUPS } from "./processes.ts";
import { SYSTEM_CALLS } from "./system-calls.ts";
import { type Finding, type Target, tryProbes } from "./try-probes.ts";

/** What a program tries that is alone in its sandbox. */
export const PROBES: readonly ProbeGroup[] = [
  ...SYSTEM_CALLS,
  ...FILES,
  ...PROCESS_GROUPS,
  ...NETWORK,
  ...LANGUAGE_GROUPS,
];

const INTRUDER = "era-attack";
const VICTIM_PREFIX = "era-attack-victim";

/** Each finding as soon as it is there. */
export async function* attack(target: Target): AsyncGenerator<Finding> {
  yield* tryProbes(target, [...CONTROLS, ...PROBES], INTRUDER);
  await using host = await hostServers();
  yield* tryProbes(target, [host.group], INTRUDER);
  yield* againstVictim(target);
  yield* tryClients(target);
}

async function* againstVictim(target: Target): AsyncGenerator<Finding> {
  const victim = {
    name: "a session to be looked at",
    probes: [{ title: "it is there", code: VICTIM, expected: /^ALLOWED True/ }],
  };
  const inVictim = tryProbes(target, [victim, VICTIM_CONTROLS], VICTIM_PREFIX);
  for await (const finding of inVictim) {
    yield finding;
    // The last one is told before its session is removed.
    if (finding.title === VICTIM_CONTROLS.probes.at(-1)?.title && finding.group === VICTIM_CONTROLS.name)
      yield* tryProbes(target, NEIGHBOUR_GROUPS, INTRUDER);
  }
}
