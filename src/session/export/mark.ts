/** What a session was like at one moment, in one short text: whether an export would be the same as an earlier one. */
import { createHash } from "node:crypto";
import { fingerprintOfAll } from "../../live/snapshots.ts";
import type { SessionFolder } from "../life/session-folder.ts";
import type { Tenancy } from "../life/tenancy.ts";
import type { SessionRecords } from "../records.ts";
import { sessionFileOf } from "./session-file.ts";

/** 64 hexadecimal digits: of its settings, files and saved variables. Null while it is awake, or has no files. */
export async function markAsleep(
  { live }: Tenancy,
  folder: SessionFolder,
  { view }: SessionRecords,
): Promise<string | null> {
  if (live !== null || folder.current === null) return null;
  using held = await folder.holdMade();
  const { exported_at: _now, ...file } = sessionFileOf(view, view.leftOut);
  const text = `${JSON.stringify(file)}\n${await fingerprintOfAll(held.folder)}`;
  return createHash("sha256").update(text).digest("hex");
}
