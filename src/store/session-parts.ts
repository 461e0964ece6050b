/** A session's row in the parts that change, and are written, each by itself. */
import type { SessionProgress, SessionRow, SessionSettings } from "./store.ts";

type SessionParts = Pick<SessionRow, "data" | "code" | "setup"> & {
  settings: SessionSettings;
  progress: SessionProgress;
};

export function partsOf(row: SessionRow): SessionParts {
  const { data, code, setup, ...summary } = row;
  const { lastRunAt, version, fileCounts, saved, leftOut, snapshotLost, hibernatedAt, ...others } = summary;
  const { touchedAt, ...settings } = others;
  const touched = touchedAt === undefined ? {} : { touchedAt };
  const progress = { lastRunAt, version, fileCounts, saved, leftOut, snapshotLost, hibernatedAt, ...touched };
  return { data, code, setup, settings, progress };
}
