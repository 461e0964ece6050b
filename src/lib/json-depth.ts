/** Deepest nesting that is accepted of any JSON which somebody else wrote: what walks it later may recurse. */
export const MAX_JSON_DEPTH = 64;

type JsonBounds = { maxDepth?: number; maxValues?: number };

/** Whether a parsed JSON value is nested at most so deep, and has at most so many values. Itself without recursion. */
export function isShallow(
  value: unknown,
  { maxDepth = MAX_JSON_DEPTH, maxValues = Number.POSITIVE_INFINITY }: JsonBounds = {},
): boolean {
  let level: unknown[] = [value];
  let left = maxValues;
  for (let depth = 0; depth <= maxDepth; depth++) {
    const next: unknown[] = [];
    for (const item of level) {
      if (typeof item === "object" && item !== null)
        for (const child of Object.values(item)) next.push(child);
    }
    if (next.length === 0) return true;
    left -= next.length;
    if (left < 0) return false;
    level = next;
  }
  return false;
}
