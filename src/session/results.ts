import { richResults } from "../protocol/guest.ts";
import type { RichResult } from "../protocol/outcome.ts";

/** The rich values of a run; none from a guest that writes its own answer. */
export function parseResults(content: Buffer): RichResult[] {
  if (content.length === 0) return [];
  try {
    const parsed = richResults.safeParse(JSON.parse(content.toString()));
    return parsed.success ? (parsed.data as RichResult[]) : [];
  } catch {
    return [];
  }
}
