/** The life of a session's sandbox. Every move is here; one that is not is a bug, named with both its ends. */

import type { Lease } from "../../live/pool.ts";
import { BugError } from "../../protocol/errors.ts";

export type SessionState =
  /** No sandbox; the next run starts one. */
  | { kind: "cold" }
  | { kind: "starting" }
  | { kind: "idle"; lease: Lease }
  /** `begunAtMs`: by the monotonic clock. */
  | { kind: "running"; lease: Lease; runId: string; begunAtMs: number }
  /** Its processes stand still, while a snapshot of them is taken or its files are copied. */
  | { kind: "frozen"; lease: Lease }
  /** The sandbox is being ended; its end is awaited before anything else may happen. */
  | { kind: "ending" }
  | { kind: "deleted" };

type Kind = SessionState["kind"];

const MOVES: Readonly<Record<Kind, readonly Kind[]>> = {
  cold: ["starting", "deleted"],
  starting: ["idle", "cold"],
  idle: ["running", "frozen", "ending"],
  running: ["idle", "ending"],
  frozen: ["idle", "ending"],
  /** Back to idle when the end failed: it is tried again. */
  ending: ["cold", "idle", "deleted"],
  deleted: [],
};

/** The state after a move. Throws BugError for a move that the table does not have. */
export function move(from: SessionState, to: SessionState): SessionState {
  if (!MOVES[from.kind].includes(to.kind))
    throw new BugError(`a session cannot go from '${from.kind}' to '${to.kind}'`);
  return to;
}
