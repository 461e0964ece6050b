/**
 * What this host enforces, found by starting one sandbox that looks at itself, and by what the cgroup tree offers. A
 * facility that is missing stops the server unless a setting allows it by name; /health and `doctor` show the list.
 */
import { z } from "zod";
import type { CgroupTree } from "./cgroup.ts";

export type Facility = {
  name: string;
  state: "enforced" | "weaker" | "missing";
  detail: string;
};

const facts = z.object({
  capabilities: z.number(),
  no_new_privileges: z.boolean(),
  seccomp: z.boolean(),
  interfaces: z.array(z.string()),
  uid_map: z.array(z.number()),
  namespaces_refused: z.boolean(),
  root_read_only: z.boolean(),
  first_process: z.boolean(),
});
type SandboxFacts = z.infer<typeof facts>;

export const PROBE_COMMAND = ["/usr/bin/python3.13", "-I", "-S", "/opt/era/probe.py"];

/** What the probe printed; throws when it printed something else, which then is why no sandbox can be made. */
export function parseFacts(text: string): SandboxFacts {
  try {
    return facts.parse(JSON.parse(text));
  } catch (cause) {
    throw new Error(
      `Cannot make a sandbox on this host: ${text.slice(0, 500) || "it ended without a word"}`,
      { cause },
    );
  }
}

const check = (name: string, holds: boolean, detail: string): Facility => ({
  name,
  state: holds ? "enforced" : "missing",
  detail,
});

/** Pure: from the probe's facts and the controllers in force to the list of facilities. */
export function judgeFacilities(
  found: SandboxFacts,
  cgroups: CgroupSummary | null,
  asRoot: boolean,
): Facility[] {
  const hostUid = found.uid_map[1] ?? 0;
  const ownUid = asRoot && hostUid >= 65_536;
  return [
    check(
      "namespaces",
      found.first_process && found.namespaces_refused,
      "own processes, mounts, IPC, host name; no further namespaces",
    ),
    {
      name: "uid",
      state: ownUid ? "enforced" : "weaker",
      detail: ownUid ? "each session has a host uid of its own" : "all sessions run as the server's own user",
    },
    check("files", found.root_read_only, "read-only image, only the session's folders are written"),
    check(
      "capabilities",
      found.capabilities === 0 && found.no_new_privileges,
      "none, and no way to gain any",
    ),
    check("seccomp", found.seccomp, "system calls that are not listed are refused"),
    check(
      "network",
      found.interfaces.every((name) => name === "lo"),
      "no interface but a loopback of its own",
    ),
    ...(["memory", "cpu", "pids"] as const).map((controller) => judgeController(controller, cgroups, asRoot)),
  ];
}

type CgroupSummary = Pick<CgroupTree, "version" | "controllers">;

function judgeController(
  controller: CgroupTree["controllers"][number],
  cgroups: CgroupSummary | null,
  asRoot: boolean,
): Facility {
  if (cgroups?.controllers.includes(controller)) {
    return { name: controller, state: "enforced", detail: `limited by cgroup v${cgroups.version}` };
  }
  const detail = asRoot
    ? "this host has no cgroup for it"
    : "not limited: no cgroup is delegated to this user";
  return { name: controller, state: asRoot ? "missing" : "weaker", detail };
}

/** Facilities that stop the start. */
export function unacceptable(facilities: readonly Facility[], allowWeak: ReadonlySet<string>): Facility[] {
  return facilities.filter(({ name, state }) => state === "missing" && !allowWeak.has(name));
}
