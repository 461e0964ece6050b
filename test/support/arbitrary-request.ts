/** Requests to an operation of the OpenAPI document: such as it takes, and such as somebody gets wrong. */
import fc from "fast-check";

type Json = Record<string, unknown>;
export type ArbitraryRequest = {
  method: string;
  path: string;
  body: string | undefined;
  operationId: string;
};

const IDS = ["fuzz-a", "fuzz-b", "none", "..", "a b", "x".repeat(200), ""];
const WRONG = fc.oneof(
  fc.constantFrom<unknown>(
    null,
    true,
    -1,
    1e308,
    "",
    "\u0000",
    "x".repeat(10_000),
    [],
    {},
    [[]],
    "__proto__",
  ),
  fc.jsonValue({ maxDepth: 2 }),
);

/** What a program of a session may be: short ones, that end. */
const CODE = fc.oneof(
  fc.constantFrom("x = 1", "print('y')", "1 / 0", "exit(3)", "data = [1] * 1000", "import os; os.getpid()"),
  fc.string({ maxLength: 40 }),
);
/** Fields with values that would take long, or take the session away from the other requests. */
const SPECIAL: Readonly<Record<string, fc.Arbitrary<unknown>>> = {
  code: CODE,
  command: fc.constantFrom("true", "ls", "exit 4", "echo x"),
  language: fc.constantFrom("python", "py", "python", "bash", "cobol"),
  session_id: fc.constantFrom("made-a", "made-b", "fuzz-a", ...IDS),
  new_id: fc.constantFrom("copy-a", "copy-b", "copy-c", "fuzz-a"),
  id: fc.constantFrom("copy-a", "made-c", "fuzz-b"),
  setup: fc.constant(undefined),
  cursor: fc.constantFrom("1", "5"),
  limit: fc.integer({ min: 1, max: 50 }),
  version: fc.integer({ min: 1, max: 9 }),
  timeout: fc.constantFrom<unknown>(0.05, 1, 5),
  timeout_ms: fc.constantFrom<unknown>(50, 5_000),
  env: fc.constantFrom<unknown>({}, { A: "b" }, { A: "b", C: "" }),
  envs: fc.constantFrom<unknown>({}, { A: "b" }),
  check: fc.constant(false),
  cpu_count: fc.constantFrom<unknown>(0.5, 1, null),
  disk_mib: fc.constantFrom<unknown>(50, 100, null),
  memory_mib: fc.constantFrom<unknown>(128, 256, null),
  default_timeout: fc.integer({ min: 1, max: 20 }),
  allow_internet_access: fc.constantFrom<unknown>(false, { allow: ["example.org"] }),
};

/** All requests that a document describes, each with a chance. */
export function arbitraryRequest(document: Json): fc.Arbitrary<ArbitraryRequest> {
  const schemas = (document.components as { schemas: Record<string, Json> }).schemas;
  const all = Object.entries(document.paths as Record<string, Record<string, Json>>).flatMap(
    ([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => requestOf({ path, method, operation }, schemas)),
  );
  return fc.oneof(...all);
}

type Described = { path: string; method: string; operation: Json };

function requestOf(
  { path, method, operation }: Described,
  schemas: Record<string, Json>,
): fc.Arbitrary<ArbitraryRequest> {
  const parameters = (operation.parameters ?? []) as { name: string; in: string; schema: Json }[];
  const queries = parameters.filter((each) => each.in === "query");
  const content =
    (operation.requestBody as { content?: Record<string, { schema: Json }> } | undefined)?.content ?? {};
  const schema = content["application/json"]?.schema;
  const body = schema === undefined ? fc.constant(undefined) : bodyOf(schema, schemas);
  return fc
    .record({
      id: fc.constantFrom("fuzz-a", "fuzz-a", "fuzz-b", ...IDS.slice(2, 6)),
      rest: fc.constantFrom("a.txt", "deep/b.txt", "../x", "%00", "a".repeat(300), "run_1"),
      query: fc.record(
        Object.fromEntries(
          queries.map(({ name, schema }) => [name, mostly(SPECIAL[name] ?? anyOfSchema(schema, schemas))]),
        ),
        { requiredKeys: [] },
      ),
      stray: fc.oneof(
        { weight: 30, arbitrary: fc.constant(undefined) },
        { weight: 1, arbitrary: fc.string({ maxLength: 5 }) },
      ),
      body,
    })
    .map(({ id, rest, query, stray, body }) => {
      const asked = new URLSearchParams();
      for (const [name, value] of Object.entries(query)) asked.set(name, String(value));
      if (stray !== undefined) asked.set("stray", stray);
      const place = path
        .replace("{id}", encodeURIComponent(id))
        .replace(/\{\w+\}/g, encodeURIComponent(rest));
      const text = String(asked);
      return {
        method: method.toUpperCase(),
        path: text === "" ? place : `${place}?${text}`,
        body: body === undefined ? undefined : body,
        operationId: String(operation.operationId),
      };
    });
}

const mostly = (right: fc.Arbitrary<unknown>) =>
  fc.oneof({ weight: 6, arbitrary: right }, { weight: 1, arbitrary: WRONG });

/** A body as the schema has it, or one with a field that is wrong, or text that is no JSON. */
function bodyOf(schema: Json, schemas: Record<string, Json>): fc.Arbitrary<string> {
  const right = anyOfSchema(schema, schemas) as fc.Arbitrary<Json>;
  const names = Object.keys((schema.properties ?? {}) as Json);
  const spoilt = fc
    .record({ value: right, name: fc.constantFrom(...names, "unknown", "__proto__"), wrong: WRONG })
    .map(({ value, name, wrong }) => JSON.stringify({ ...value, [name]: wrong }));
  return fc.oneof(
    { weight: 6, arbitrary: right.map((value) => JSON.stringify(value)) },
    { weight: 4, arbitrary: spoilt },
    {
      weight: 1,
      arbitrary: fc.oneof(
        fc.string(),
        WRONG.map((value) => JSON.stringify(value) ?? ""),
      ),
    },
  );
}

function anyOfSchema(schema: Json, schemas: Record<string, Json>): fc.Arbitrary<unknown> {
  const { $ref, enum: values, const: value, anyOf, type } = schema;
  if (typeof $ref === "string") return anyOfSchema(schemas[$ref.split("/").at(-1) ?? ""] ?? {}, schemas);
  if (Array.isArray(values)) return fc.constantFrom(...(values as unknown[]));
  if (value !== undefined) return fc.constant(value);
  if (Array.isArray(anyOf)) return fc.oneof(...anyOf.map((each) => anyOfSchema(each as Json, schemas)));
  if (type === "array") return fc.array(anyOfSchema((schema.items ?? {}) as Json, schemas), { maxLength: 3 });
  if (type === "object") return objectOf(schema, schemas);
  if (type === "boolean") return fc.boolean();
  if (type === "integer") return fc.oneof(fc.integer(), fc.integer({ min: 1, max: 5 }));
  if (type === "number") return fc.oneof(fc.double({ noNaN: true }), fc.integer({ min: 1, max: 20 }));
  if (type === "null") return fc.constant(null);
  return type === "string" ? fc.string({ maxLength: 30 }) : fc.jsonValue({ maxDepth: 1 });
}

function objectOf({ properties, required = [] }: Json, schemas: Record<string, Json>): fc.Arbitrary<unknown> {
  if (properties === undefined)
    return fc.dictionary(fc.string({ maxLength: 5 }), fc.string({ maxLength: 5 }));
  const fields = Object.entries(properties as Record<string, Json>).map(([name, part]) => [
    name,
    SPECIAL[name] ?? anyOfSchema(part, schemas),
  ]);
  return fc.record(Object.fromEntries(fields) as Record<string, fc.Arbitrary<unknown>>, {
    requiredKeys: required as string[],
  });
}
