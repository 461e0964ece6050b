import { richResults } from "../protocol/guest.ts";
import type { RichResult } from "../protocol/outcome.ts";

/** As guest/python/display.py keeps to. */
const MAX_BYTES = 8 << 20;

/** The rich values of a run; none from a guest that writes its own answer. */
export function parseResults(content: Buffer): RichResult[] {
  if (content.length === 0 || content.length > MAX_BYTES) return [];
  try {
    return richResults.parse(JSON.parse(content.toString()));
  } catch {
    return [];
  }
}
