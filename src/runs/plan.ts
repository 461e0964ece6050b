/** From what a client asks, and what its session is set to, to the program that the agent is asked to run. Pure. */
import type { Config } from "../config.ts";
import type { GuestProgram } from "../guest/run-frame.ts";
import { diskBytesOf, keepOf } from "../live/state-budget.ts";
import { localName } from "../protocol/session-names.ts";
import type { Durability, RunRow, SessionSettings, SessionSummary } from "../store/store.ts";
import { DEFAULT_TIMEOUT_MS, type RunRequest } from "./request.ts";

export function planProgram(
  request: RunRequest,
  run: RunRow,
  session: Readonly<SessionSummary>,
  config: Config,
): Omit<GuestProgram, "data" | "recorded" | "onOutput"> {
  return {
    id: run.runId,
    name: `<run ${run.number}>`,
    code: request.code,
    keepFiles: session.persistent,
    timeoutMs: timeoutOf(request, session),
    outputBytes: config.outputBytes,
    env: { ...request.env, ...sessionEnvironment(session, request.baseUrl) },
    version: session.version + (request.shell ? 0 : 1),
    save: durabilityOf(request, session),
    keep: keepOf(session, config),
    fileBytes: diskBytesOf(session.diskMib, config),
    check: request.check,
    stdin: request.stdin,
    isAsked: request.isInteractive,
    shell: request.shell,
  };
}

/** Milliseconds: of the request, else of the session, else the server's own. */
function timeoutOf({ timeoutMs }: RunRequest, { defaultTimeout }: Readonly<SessionSettings>): number {
  return timeoutMs ?? (defaultTimeout === null ? DEFAULT_TIMEOUT_MS : defaultTimeout * 1000);
}

export function durabilityOf(
  { durability }: Pick<RunRequest, "durability">,
  session: Readonly<SessionSettings>,
): Durability {
  return durability ?? session.durability;
}

function sessionEnvironment(row: Readonly<SessionSettings>, baseUrl: string): Record<string, string> {
  return {
    ERA_SESSION: "true",
    ERA_SESSION_ID: localName(row.id),
    ERA_LANGUAGE: row.language,
    ERA_BASE_URL: baseUrl,
    ERA_PROXY_URL: `${baseUrl}/proxy/${row.id}`,
  };
}
