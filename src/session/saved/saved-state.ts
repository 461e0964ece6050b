/**
 * What the server knows of a session's saved variables, from what its agent reports. Each function changes the
 * record that it is given, and nothing else.
 */
import type { EndFrame, RestoredState, SavedFrame } from "../../protocol/guest.ts";
import type { Outcome } from "../../protocol/outcome.ts";
import type { SavedState } from "../../store/store.ts";

const UNSAVED = "The server's last sandbox for it ended before its state was saved";

export const NOTHING_SAVED: SavedState = {
  content: 0,
  savedVersion: 0,
  bytes: 0,
  notKept: [],
  failure: null,
  rolledBack: null,
};

/** A report may be heard late, with the answer of a later run: what is known to be saved is not forgotten for it. */
export function noteSaved(state: SavedState, report: SavedFrame): void {
  if (report.version < state.savedVersion) return;
  state.failure = report.failed;
  if (report.failed !== null) return;
  state.savedVersion = report.version;
  state.bytes = report.bytes;
  state.notKept = report.not_kept;
}

/** A new kernel holds what was saved: less than there was, unless all was. */
export function noteRestored(state: SavedState, restored: RestoredState | null, reason: string | null): void {
  const version = restored?.version ?? 0;
  const damage = restored?.damage[0];
  if (version < state.content || damage !== undefined) {
    state.rolledBack ??= { version, reason: damage ?? reason ?? UNSAVED };
  }
  state.content = version;
  state.savedVersion = version;
  if (restored !== null) state.notKept = restored.not_kept;
}

/** A run's sandbox disappeared under it: the variables will be what was saved last. */
export function noteLost(state: SavedState, outcome: Outcome): void {
  state.rolledBack ??= { version: state.savedVersion, reason: outcome.error?.message ?? UNSAVED };
  state.content = state.savedVersion;
}

/** What a kernel is known by, and what became of the one before it. Of a run that is heard again, nothing is known. */
export type Known = { epoch: number | null; lossReason: string | null };

/** After a run: its kernel may have been replaced, in the run or before it. */
export function noteEnd(saved: SavedState, end: EndFrame, outcome: Outcome, known: Known): void {
  const isReplay = known.epoch === null;
  if (isReplay ? end.restored !== null : end.epoch !== known.epoch) {
    const version = end.restored?.version ?? 0;
    const reason = outcome.error?.message ?? `The interpreter ended with exit status ${outcome.exitCode}`;
    saved.rolledBack ??= { version, reason: end.restored?.damage[0] ?? reason };
    saved.content = version;
    if (end.restored !== null) {
      saved.notKept = end.restored.not_kept;
      if (end.restored.damage.length === 0) saved.savedVersion = Math.max(saved.savedVersion, version);
    }
    return;
  }
  if (end.restored !== null || known.lossReason !== null) noteRestored(saved, end.restored, known.lossReason);
  // When runs are heard again, later ones may be in what was restored.
  saved.content = isReplay ? Math.max(saved.content, end.version) : end.version;
}
