/**
 * Failures of the file system that say that nothing, or something else, is at a path; all others are failures to look.
 */

// A server that is not root may not look into what a guest has closed to itself.
const MISSING = new Set(["ENOENT", "ENOTDIR", "ELOOP", "ENXIO", "ENAMETOOLONG", "EACCES"]);
/** Somebody has taken the place, or it is of another kind. */
const IN_THE_WAY = new Set([...MISSING, "EEXIST", "EISDIR", "ENOTEMPTY", "EINVAL", "EBUSY"]);

const codeOf = (error: unknown) => (error as NodeJS.ErrnoException | null)?.code ?? "";

export const isMissing = (error: unknown): boolean => MISSING.has(codeOf(error));

export const isInTheWay = (error: unknown): boolean => IN_THE_WAY.has(codeOf(error));

/** For `.catch`: null for what is missing. */
export function nullIfMissing(error: unknown): null {
  if (isMissing(error)) return null;
  throw error;
}
