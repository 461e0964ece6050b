/** What a client sends, against its schema: a refusal names the field, what is wrong, and what it may be. */
import type { z } from "zod";
import { AppError } from "../protocol/errors.ts";
import { MAX_SHOWN, problemOf, quoted, valueAt } from "../protocol/issues.ts";

const MAX_ISSUES = 20;
/** A field that is further away from each known one is not taken for any of them. */
const MAX_DISTANCE = 3;

/** A query as its schema describes it, or `invalid_request` naming the first field that is not. */
function parseInput<T extends z.ZodType>(schema: T, input: unknown): z.infer<T> {
  const parsed = schema.safeParse(input ?? {});
  if (parsed.success) return parsed.data;
  const issues = parsed.error.issues.slice(0, MAX_ISSUES).map((issue) => ({
    field: issue.path.join("."),
    problem: problemOf(issue, valueAt(input, issue.path)),
  }));
  const [first] = issues;
  const field = first?.field === undefined || first.field === "" ? "the body" : `'${first.field}'`;
  throw new AppError("invalid_request", `Cannot use ${field}: ${first?.problem ?? "it is not valid"}`, {
    details: issues,
  });
}

/** The same of a body: a field that there is not is refused, and each may be written as snake_case or camelCase. */
export function parseBody<T extends z.ZodObject>(schema: T, input: unknown): z.infer<T> {
  return parseInput(schema, namedAsIn(schema, input));
}

function namedAsIn(schema: z.ZodObject, input: unknown): unknown {
  if (typeof input !== "object" || input === null || Array.isArray(input)) return input;
  const spelled = spellingsOf(schema);
  const named: Record<string, unknown> = {};
  for (const [given, value] of Object.entries(input)) {
    const name = spelled.get(given);
    if (name === undefined) throw unknownField(given, Object.keys(schema.shape));
    if (Object.hasOwn(named, name))
      throw new AppError("invalid_request", `Cannot use ${quoted(given)}: '${name}' is given twice`);
    named[name] = value;
  }
  return named;
}

/** Made once for each schema: a run waits for it. */
const SPELLINGS = new WeakMap<z.ZodObject, ReadonlyMap<string, string>>();

/** How each field may be written -> its name. */
function spellingsOf(schema: z.ZodObject): ReadonlyMap<string, string> {
  const known = SPELLINGS.get(schema);
  if (known !== undefined) return known;
  const names = Object.keys(schema.shape);
  const made = new Map(names.flatMap((name) => [name, otherSpelling(name)].map((each) => [each, name])));
  SPELLINGS.set(schema, made);
  return made;
}

/** allowPublicAccess for allow_public_access, and the other way round. */
const otherSpelling = (name: string) =>
  name.includes("_")
    ? name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())
    : name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

function unknownField(given: string, known: readonly string[]): AppError {
  const [nearest] = known
    .map((name) => ({
      name,
      distance: distanceOf(given.toLowerCase().slice(0, MAX_SHOWN), name.toLowerCase()),
    }))
    .filter(({ name, distance }) => distance <= Math.min(MAX_DISTANCE, Math.floor(name.length / 2)))
    .sort((a, b) => a.distance - b.distance);
  const hint =
    nearest === undefined ? `The fields are ${known.join(", ")}` : `Did you mean '${nearest.name}'?`;
  return new AppError("invalid_request", `Cannot use ${quoted(given)}: there is no such field`, {
    hint,
    details: [{ field: given.slice(0, MAX_SHOWN), problem: "there is no such field" }],
  });
}

/** Single characters to insert, remove or replace, to make one text of the other (Levenshtein). */
function distanceOf(one: string, other: string): number {
  let row = Array.from({ length: other.length + 1 }, (_, at) => at);
  for (const [line, letter] of [...one].entries()) {
    const next = [line + 1];
    for (let at = 0; at < other.length; at++) {
      const replaced = (row[at] ?? 0) + (letter === other[at] ? 0 : 1);
      next.push(Math.min(replaced, (row[at + 1] ?? 0) + 1, (next[at] ?? 0) + 1));
    }
    row = next;
  }
  return row[other.length] ?? 0;
}
