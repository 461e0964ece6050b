/** A session's data: one JSON object, as it is stored and as the guest finds it in .session_data.json. */
import type { JsonObject } from "../store/store.ts";

const MAX_DEPTH = 64;

export function encodeData(data: JsonObject): string {
  return JSON.stringify(data, null, 2);
}

/** What a guest left in the file; null unless it is a JSON object of sane depth. */
export function parseData(content: Buffer): JsonObject | null {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(content));
  } catch {
    return null;
  }
  return isObject(value) && depthOf(value) <= MAX_DEPTH ? value : null;
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Levels of nesting, without recursion: the guest chooses how deep it is. */
function depthOf(value: unknown): number {
  let level: unknown[] = [value];
  for (let depth = 0; ; depth++) {
    const next: unknown[] = [];
    for (const item of level) {
      if (typeof item === "object" && item !== null)
        for (const child of Object.values(item)) next.push(child);
    }
    if (next.length === 0) return depth;
    if (depth > MAX_DEPTH) return depth;
    level = next;
  }
}
