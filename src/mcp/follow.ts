/**
 * A run as a tool waits for it: for as long as any client waits for an answer, which is a minute. What lasts longer
 * goes on, and is waited for again by its id; a client that takes its call back ends the run.
 */
import type { ServerContext } from "@modelcontextprotocol/server";
import { z } from "zod";
import { eventsOf } from "../lib/event-stream.ts";
import { type Api, type ApiRequest, accepted, RefusedError } from "./api.ts";
import type { Ran } from "./text.ts";

const PATIENCE_MS = 45_000;
const NOTICE_MS = 1_000;
const MAX_LINE_CHARS = 200;

const result = z.looseObject({
  main: z.boolean(),
  text: z.string(),
  png: z.string().optional(),
  jpeg: z.string().optional(),
});

const event = z.looseObject({
  type: z.string(),
  content: z.string().optional(),
  error: z.unknown().optional(),
  exit_code: z.number().nullish(),
  duration: z.string().nullish(),
  outcome: z.string().optional(),
  results: z.array(result).optional(),
  message: z.string().optional(),
  truncated: z
    .object({ stdout: z.number().optional(), stderr: z.number().optional(), results: z.number().optional() })
    .optional(),
});
type RunEvent = z.infer<typeof event>;

/** `request` opens a stream of a run's events. */
export async function follow(api: Api, request: ApiRequest, { mcpReq }: ServerContext): Promise<Ran> {
  const hold = new AbortController();
  const cancel = () => hold.abort();
  mcpReq.signal.addEventListener("abort", cancel, { once: true });
  const patience = Promise.withResolvers<"patience">();
  const timer = setTimeout(() => patience.resolve("patience"), PATIENCE_MS);
  try {
    const response = await accepted(api, { ...request, signal: hold.signal });
    const ran: Ran = { ...NOTHING_YET, run_id: response.headers.get("x-run-id") ?? undefined };
    const events = eventsOf(response.body ?? ReadableStream.from([]));
    const tell = progress(mcpReq);
    while (true) {
      const next = await Promise.race([events.next(), patience.promise]);
      if (next === "patience") {
        void drain(events);
        return { ...ran, isRunning: true };
      }
      if (next.done) throw new RefusedError("The run was lost");
      if (add(ran, event.parse(next.value))) return ran;
      tell(ran);
    }
  } finally {
    clearTimeout(timer);
    mcpReq.signal.removeEventListener("abort", cancel);
  }
}

const NOTHING_YET: Ran = {
  exit_code: null,
  stdout: "",
  stderr: "",
  duration: null,
  outcome: "ok",
  results: [],
};

/** True when it was the last one. */
function add(ran: Ran, { type, content = "", ...told }: RunEvent): boolean {
  if (type === "error") throw new RefusedError(String(told.error));
  if (type === "stdout") ran.stdout += content;
  else if (type === "stderr") ran.stderr += content;
  else if (type === "warning") ran.warnings = [...(ran.warnings ?? []), told.message ?? ""];
  else if (type === "done")
    Object.assign(ran, {
      exit_code: told.exit_code ?? null,
      duration: told.duration ?? null,
      outcome: told.outcome ?? "ok",
      results: told.results ?? [],
      truncated: told.truncated,
    });
  return type === "done";
}

/** Nobody waits for it now, and hanging up would end it. */
async function drain(events: AsyncGenerator<unknown>): Promise<void> {
  try {
    for await (const _event of events);
  } catch {
    // its record says how it ended
  }
}

/** Sends the newest line of output, once in a second, to a client that asked for progress. */
function progress(mcpReq: ServerContext["mcpReq"]): (ran: Ran) => void {
  const token = mcpReq._meta?.progressToken;
  const begun = performance.now();
  let last = begun;
  return ({ stdout, stderr }) => {
    const now = performance.now();
    if (token === undefined || now - last < NOTICE_MS) return;
    last = now;
    const line = (stdout || stderr).trimEnd().split("\n").at(-1) ?? "";
    const params = {
      progressToken: token,
      progress: Math.round((now - begun) / 1000),
      message: line.slice(0, MAX_LINE_CHARS),
    };
    mcpReq.notify({ method: "notifications/progress", params }).catch(() => undefined);
  };
}
