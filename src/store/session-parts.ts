/** A session's row in the parts that change, and are written, each by itself. */
import type { SessionProgress, SessionRow, SessionSettings } from "./store.ts";

type SessionParts = Pick<SessionRow, "data" | "code" | "setup"> & {
  settings: SessionSettings;
  progress: SessionProgress;
};

export function partsOf(row: SessionRow): SessionParts {
  const { data, code, setup, ...summary } = row;
  const { lastRunAt, version, fileCounts, saved, leftOut, snapshotLost, hibernatedAt, ...others } = summary;
  const { touchedAt, totals, ...settings } = others;
  const progress = {
    ...{ lastRunAt, version, fileCounts, saved, leftOut, snapshotLost, hibernatedAt },
    ...(touchedAt === undefined ? {} : { touchedAt }),
    ...(totals === undefined ? {} : { totals }),
  };
  return { data, code, setup, settings, progress };
}
