/** Kept versions of a session's variables: which there are, and going back to one. */

import type { LiveSandbox } from "../../live/live-sandbox.ts";
import { AppError } from "../../protocol/errors.ts";
import type { Keep, StateListing } from "../../protocol/guest.ts";
import type { Store } from "../../store/store.ts";
import type { SessionRecords, SessionView } from "../records.ts";

const NOTHING: StateListing = { variables: [], versions: [], not_kept: [] };

/** What is saved, without waking anybody: null when only an agent can tell. */
export async function findListing(
  live: LiveSandbox | null,
  row: SessionView,
  store: Store,
): Promise<StateListing | null> {
  if (live !== null && !live.channel.isLost) {
    try {
      return await live.channel.inspect();
    } catch (error) {
      if (!live.channel.isLost) throw error; // else it has gone to sleep, or ended, meanwhile
    }
  }
  if (row.folder === null) return NOTHING;
  const stored = await store.findListing(row.id);
  return stored?.versions[0]?.version === row.saved.savedVersion ? stored : null;
}

/**
 * Makes a kept version current, under a new number, in the session's turn. Answers the epoch of the kernel that holds
 * it. Rejects with `version_not_kept`.
 */
export async function rollBack(
  live: LiveSandbox,
  records: SessionRecords,
  version: number,
  keep: Keep,
): Promise<number> {
  const { saved, version: newest } = records.progress.now;
  // The state of a run is written after its answer: what is not there yet is waited for.
  if (version > saved.savedVersion && version <= newest && records.settings.durability !== "none")
    await live.channel.save(newest, keep);
  const to = newest + 1;
  const { error, epoch, restored } = await live.channel.rollback(version, to);
  if (error !== null)
    throw new AppError(
      "version_not_kept",
      `Cannot roll '${records.id}' back to version ${version}: it is not kept`,
      { details: error },
    );
  records.progress.wentBack(to, restored);
  return epoch;
}
