/** What counts as activity of a session between its runs: how long it has been idle, and whether it can be spared. */
import type { SerialQueue } from "../../lib/serial-queue.ts";
import type { CurrentRuns } from "../history/current-runs.ts";
import type { Sleeper } from "./hibernate.ts";
import type { Incoming } from "./incoming.ts";

export type Activity = Pick<Sleeper, "host" | "records" | "sandbox"> & {
  queue: SerialQueue;
  incoming: Incoming;
  current: CurrentRuns;
};

/** Live, and nothing is asked of it. */
const isWaiting = ({ sandbox, queue }: Activity) => sandbox.state.kind === "idle" && queue.length === 0;

/** Milliseconds without a run or a request for one; null while something goes on that counts. */
export function idleMs(session: Activity): number | null {
  const { sandbox, incoming, current, host } = session;
  const { activity } = host.config;
  if (!isWaiting(session)) return null;
  if (activity.has("programs") && sandbox.hasBackgroundWork) return null;
  if (activity.has("streams") && incoming.isInUse) return null;
  return current.idleMs;
}

/** The same for a session whose programs may go on, since a snapshot keeps them; null where none can be made. */
export function spareableMs(session: Activity): number | null {
  const { host, records, incoming, current } = session;
  const canKeep = host.criu !== null && records.settings.imaging !== "never";
  return isWaiting(session) && canKeep && !incoming.isInUse ? current.idleMs : null;
}
