/** What is wrong with a value that somebody sent or set, in words: what it is, and what it must be. */
import type { z } from "zod";

type Issue = z.core.$ZodIssue;

/** Characters of what was sent that are shown again. */
export const MAX_SHOWN = 60;

/** What is wrong with a value, and what it must be. */
export function problemOf(issue: Issue, value: unknown): string {
  switch (issue.code) {
    case "invalid_type":
      return value === undefined
        ? `it is missing: it must be ${kindOf(issue.expected)}`
        : `it is ${shown(value)}: it must be ${kindOf(issue.expected)}`;
    case "invalid_value":
      return `it is ${shown(value)}: it must be ${issue.values.map((each) => JSON.stringify(each)).join(" or ")}`;
    case "too_small":
      return tooFar("small", issue.origin, {
        value,
        bound: issue.inclusive === false ? `more than ${issue.minimum}` : `at least ${issue.minimum}`,
      });
    case "too_big":
      return tooFar("large", issue.origin, { value, bound: `at most ${issue.maximum}` });
    case "invalid_key":
      return issue.issues[0]?.message ?? issue.message;
    case "unrecognized_keys":
      return `there is no field ${issue.keys.map(quoted).join(", ")} in it`;
    case "invalid_union":
      return unionProblem(issue.errors, value);
    default:
      return issue.message;
  }
}

/** What comes nearest to any of the alternatives: the problem that lies deepest in the value. */
function unionProblem(alternatives: readonly (readonly Issue[])[], value: unknown): string {
  const all = alternatives.flat();
  const deepest = Math.max(...all.map(({ path }) => path.length));
  const issue = all.find(({ path }) => path.length === deepest && deepest > 0);
  if (issue !== undefined) {
    const problem = problemOf(issue, valueAt(value, issue.path));
    return `'${issue.path.join(".")}' in it cannot be used: ${problem}`;
  }
  const kinds = all.flatMap((each) => (each.code === "invalid_type" ? [kindOf(each.expected)] : []));
  return `it is ${shown(value)}: it must be ${[...new Set(kinds)].join(" or ")}`;
}

function tooFar(how: string, origin: string, { value, bound }: { value: unknown; bound: string }): string {
  const unit = { string: " characters", array: " items" }[origin] ?? "";
  return unit === "" ? `${shown(value)} is too ${how}: ${bound}` : `it must have ${bound}${unit}`;
}

const KINDS: Readonly<Record<string, string>> = {
  string: "a text",
  number: "a number",
  int: "a whole number",
  boolean: "true or false",
  array: "a list",
  object: "an object",
  record: "an object",
};
const kindOf = (expected: string) => KINDS[expected] ?? expected;
export const quoted = (name: string) => JSON.stringify(name.slice(0, MAX_SHOWN)).replace(/^"|"$/g, "'");

function shown(value: unknown): string {
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object" && value !== null) return "an object";
  if (typeof value === "number" && !Number.isFinite(value)) return "no number";
  return (JSON.stringify(value) ?? "nothing").slice(0, MAX_SHOWN);
}

export function valueAt(input: unknown, path: readonly PropertyKey[]): unknown {
  let value = input;
  for (const key of path) {
    if (typeof value !== "object" || value === null) return undefined;
    value = (value as Record<PropertyKey, unknown>)[key];
  }
  return value;
}
