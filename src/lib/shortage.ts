/** Failures of the operating system that say what the host is short of. They are ordinary events, and pass. */

const KINDS: Readonly<Record<string, Shortage>> = {
  EMFILE: "descriptors",
  ENFILE: "descriptors",
  EAGAIN: "processes",
  ENOMEM: "memory",
  ENOSPC: "disk",
  EDQUOT: "disk",
};
/** SQLite's codes, of which the lowest byte is the kind. */
const SQLITE_KINDS: Readonly<Record<number, Shortage>> = { 13: "disk", 7: "memory" };
const MAX_CAUSES = 8;

type Shortage = "descriptors" | "processes" | "memory" | "disk";

/** What was short, by an error or the causes of it; null when it is another failure. */
export function shortageIn(error: unknown): Shortage | null {
  let at = error;
  for (let depth = 0; depth < MAX_CAUSES && at instanceof Error; depth++, at = at.cause) {
    const { code, errcode } = at as { code?: unknown; errcode?: unknown };
    const kind = typeof code === "string" ? KINDS[code] : undefined;
    if (kind !== undefined) return kind;
    const ofDatabase = typeof errcode === "number" ? SQLITE_KINDS[errcode & 0xff] : undefined;
    if (ofDatabase !== undefined) return ofDatabase;
  }
  return null;
}
