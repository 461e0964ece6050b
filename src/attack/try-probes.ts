/** Tries probes on a server, each language in a session of its own. */
import type { Language } from "../protocol/languages.ts";
import type { Probe, ProbeGroup } from "./probe.ts";

export type Target = { url: string; headers: Record<string, string> };

export type Finding = {
  group: string;
  title: string;
  held: boolean;
  /** What was printed instead of what was expected. */
  said: string;
};

const TIMEOUT_SECONDS = 60;
const MAX_SAID = 300;

/** Each finding as soon as it is there; what was made for them is gone at the end. */
export async function* tryProbes(
  target: Target,
  groups: readonly ProbeGroup[],
  prefix: string,
): AsyncGenerator<Finding> {
  const made = new Set<string>();
  try {
    for (const { name, probes } of groups) {
      for (const probe of probes) {
        const session = `${prefix}-${probe.language ?? "python"}`;
        made.add(session);
        yield { group: name, title: probe.title, ...(await tryOne(target, session, probe)) };
      }
    }
  } finally {
    for (const session of made) await call(target, "DELETE", `/api/sessions/${session}`);
  }
}

async function tryOne(target: Target, session: string, { code, language = "python", expected }: Probe) {
  const body = { code, language, timeout: TIMEOUT_SECONDS };
  const answer = await call(target, "POST", `/api/sessions/${session}/run`, body);
  const { stdout = "", stderr = "", error } = answer as { stdout?: string; stderr?: string; error?: unknown };
  if (expected.test(stdout)) return { held: true, said: "" };
  const said = stdout + stderr || JSON.stringify(error ?? answer);
  return { held: false, said: said.slice(0, MAX_SAID).trim() };
}

async function call({ url, headers }: Target, method: string, path: string, body?: { language: Language }) {
  const response = await fetch(url + path, {
    method,
    headers,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return (await response.json()) as object;
}
