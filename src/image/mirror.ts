/**
 * Where Debian's packages come from: a setting, else the mirrors that this host's own apt uses, else mmdebstrap's
 * default.
 */
import { runCommand } from "../lib/run-command.ts";

const TIMEOUT_MS = 20_000;
const FORMAT = "$(REPO_URI) $(ORIGIN) $(CODENAME)";

/** Lines of a sources.list for the suite; empty means that mmdebstrap's default is to be used. */
export async function findSources(suite: string, setting: string | undefined): Promise<string[]> {
  if (setting !== undefined) return [`deb ${setting} ${suite} main`];
  const listed = await runCommand(["apt-get", "indextargets", "--format", FORMAT, "Created-By: Packages"], {
    timeoutMs: TIMEOUT_MS,
  }).catch(() => null);
  return listed === null || listed.code !== 0 ? [] : sourcesFromTargets(listed.stdout, suite);
}

/** From apt's list of "<uri> <origin> <codename>" to one line for the release and one for its security updates. */
export function sourcesFromTargets(targets: string, suite: string): string[] {
  let main: string | undefined;
  let security: string | undefined;
  for (const line of targets.split("\n")) {
    const [uri, origin, codename = ""] = line.trim().split(/\s+/);
    if (uri === undefined || origin !== "Debian") continue;
    if (codename.endsWith("-security")) security ??= uri;
    else if (!codename.includes("-")) main ??= uri;
  }
  if (main === undefined) return [];
  const lines = [`deb ${main} ${suite} main`];
  if (security !== undefined) lines.push(`deb ${security} ${suite}-security main`);
  return lines;
}
