/**
 * Paths by patterns: `*` and `?` within a name, `**` for any number of names. Its time grows with the product of both
 * lengths at most, whoever chose them: it never tries a star again once a later one fits.
 */

/** Says of a path, as `out/a.png`, whether it fits. */
export function pathPattern(pattern: string): (path: string) => boolean {
  const names = pattern.split("/").map((name) => [...name]);
  return (path) => fits(names, path.split("/"), isAnyDepth, fitsName);
}

const isAnyDepth = (name: readonly string[]) => name.length === 2 && name[0] === "*" && name[1] === "*";
const fitsName = (name: readonly string[], told: string) =>
  fits(
    name,
    [...told],
    (letter) => letter === "*",
    (letter, other) => letter === "?" || letter === other,
  );

/** `isAny`: what in the pattern stands for any number of items; all else stands for one. */
function fits<Pattern, Item>(
  pattern: readonly Pattern[],
  items: readonly Item[],
  isAny: (part: Pattern) => boolean,
  isOne: (part: Pattern, item: Item) => boolean,
): boolean {
  let at = 0;
  let next = 0;
  let lastAny: { at: number; next: number } | null = null;
  while (next < items.length) {
    const part = pattern[at];
    if (part !== undefined && isAny(part)) {
      lastAny = { at, next };
      at += 1;
    } else if (part !== undefined && isOne(part, items[next] as Item)) {
      at += 1;
      next += 1;
    } else {
      if (lastAny === null) return false;
      lastAny.next += 1;
      at = lastAny.at + 1;
      next = lastAny.next;
    }
  }
  return pattern.slice(at).every(isAny);
}
