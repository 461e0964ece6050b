/** The table of operations as an OpenAPI 3.1 document. */
import { z } from "zod";
import { ERROR_CATALOGUE, type ErrorCode } from "../protocol/errors.ts";
import { refusal } from "./answers.ts";
import { type Answer, COMMON_ERRORS, isSchema, type Operation } from "./operation.ts";
import { PARAMS, paramNames } from "./params.ts";
import { OPERATIONS } from "./table.ts";

type Json = Record<string, unknown>;

const DESCRIPTION = `Runs code in isolated sessions that remember. Fields of requests may be written as snake_case or
camelCase; one that there is not is refused, with the name that was meant. A program that fails is an answer with
status 200. Refusals have \`error\`, \`code\` and often \`hint\`.`;

/** What the headings of the reference say. */
const TAGS: Readonly<Record<Operation["tag"], string>> = {
  Runs: "Programs, one-shot or in a session, and their records",
  Sessions: "Sessions with their settings, copies of them, and moves from one server to another",
  State: "What becomes of the variables",
  Files: "The workspace of a session, whether it lives or sleeps",
  "Stored code": "A program that a session keeps, and runs when a request brings none",
  Processes: "Programs that go on beside the runs",
  "Packages and network": "What is installed, what is reached, and who reaches the session",
  Keys: "Who may use the server, for what, and what was done",
  Server: "The server itself",
};

/** The document; made anew with each call. */
export function openApiDocument(version: string): Json {
  const components = new Components();
  const paths: Record<string, Json> = {};
  for (const each of OPERATIONS) {
    const path = paths[each.path] ?? {};
    path[each.method.toLowerCase()] = describeOperation(each, components);
    paths[each.path] = path;
  }
  components.schema(refusal, "output");
  return {
    openapi: "3.1.0",
    info: {
      title: "ERA Agent",
      version,
      description: DESCRIPTION,
      license: { name: "Apache-2.0", identifier: "Apache-2.0" },
    },
    servers: [{ url: "/" }],
    tags: [...new Set(OPERATIONS.map(({ tag }) => tag))].map((name) => ({ name, description: TAGS[name] })),
    security: [{ key: [] }],
    paths,
    components: {
      securitySchemes: { key: { type: "http", scheme: "bearer" } },
      schemas: components.schemas,
    },
  };
}

/** Schemas with a name of their own, which others refer to. */
class Components {
  readonly schemas: Record<string, unknown> = {};

  /** A schema as JSON schema, its named parts as references into the document. */
  schema(type: z.ZodType, io: "input" | "output"): Json {
    const made = z.toJSONSchema(type, { io, unrepresentable: "any", target: "draft-2020-12" }) as Json;
    const { $schema: _, $defs, ...schema } = made;
    for (const [name, part] of Object.entries(($defs ?? {}) as Json))
      this.schemas[name] = tidied(part as Json);
    const id = type.meta()?.id;
    if (id === undefined) return tidied(schema);
    if (schema.$ref === undefined) this.schemas[id] = tidied(schema);
    return { $ref: `#/components/schemas/${id}` };
  }
}

/** With references into the document, and without what OpenAPI has no use for. */
function tidied(schema: Json): Json {
  const text = JSON.stringify(schema, (key, value: unknown) =>
    key === "id" && typeof value === "string" ? undefined : value,
  );
  return JSON.parse(text.replaceAll('"#/$defs/', '"#/components/schemas/')) as Json;
}

function describeOperation(operation: Operation, components: Components): Json {
  const { id, tag, summary, description, scope, body, errors } = operation;
  const requestBody = body === undefined ? {} : { requestBody: describeBody(operation, components) };
  return {
    operationId: id,
    tags: [tag],
    summary,
    ...(description === undefined ? {} : { description }),
    ...(scope === "none" ? { security: [] } : {}),
    parameters: [
      ...pathParameters(operation),
      ...queryParameters(operation, components),
      ...headers(operation),
    ],
    ...requestBody,
    responses: { ...answersOf(operation, components), ...refusalsOf([...COMMON_ERRORS, ...errors]) },
  };
}

function describeBody({ body, example }: Operation, components: Components): Json {
  if (body === undefined || !isSchema(body))
    return {
      required: true,
      content: { [body?.type ?? ""]: { schema: { type: "string", format: "binary" } } },
    };
  const schema = inSnakeCase(components.schema(body, "input"));
  return {
    required: body.safeParse({}).success === false,
    content: {
      "application/json": { schema, ...(example?.body === undefined ? {} : { example: example.body }) },
    },
  };
}

/** One style is enough for a client: the names of fields as snake_case. */
function inSnakeCase(schema: Json): Json {
  const { properties, ...others } = schema;
  if (typeof properties !== "object" || properties === null) return schema;
  const named = Object.entries(properties).map(([name, part]) => [snakeCase(name), part]);
  return { ...others, properties: Object.fromEntries(named), additionalProperties: false };
}

export const snakeCase = (name: string) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

const pathParameters = ({ path }: Operation): Json[] =>
  paramNames(path).map((name) => {
    const { $schema: _, description, ...schema } = z.toJSONSchema(PARAMS[name], { io: "output" }) as Json;
    return { name, in: "path", required: true, description, schema };
  });

function queryParameters({ query }: Operation, components: Components): Json[] {
  if (query === undefined) return [];
  const { properties, required } = components.schema(query, "output");
  return Object.entries((properties ?? {}) as Record<string, Json>).map(
    ([name, { description, ...schema }]) => ({
      name,
      in: "query",
      required: ((required ?? []) as string[]).includes(name),
      ...(description === undefined ? {} : { description }),
      schema,
    }),
  );
}

const KEY_HEADER = {
  name: "Idempotency-Key",
  in: "header",
  required: false,
  description: "A retry with the same key gets the recorded answer, for a day",
  schema: { type: "string", minLength: 1, maxLength: 255 },
};
const headers = ({ once }: Operation): Json[] => (once ? [KEY_HEADER] : []);

function answersOf({ answers }: Operation, components: Components): Json {
  const described = Object.entries(answers).map(([status, answer]) => [
    status,
    describeAnswer(answer, components),
  ]);
  return Object.fromEntries(described) as Json;
}

function describeAnswer(answer: Answer | null, components: Components): Json {
  if (answer === null) return { description: "Nothing has changed" };
  if (isSchema(answer)) {
    const schema = components.schema(answer, "output");
    return { description: "Done", content: { "application/json": { schema } } };
  }
  return {
    description: answer.description,
    content: { [answer.type.split(";")[0] ?? ""]: { schema: { type: "string" } } },
  };
}

/** The statuses of refusals, each with its codes. */
function refusalsOf(codes: readonly ErrorCode[]): Json {
  const byStatus = Map.groupBy(new Set(codes), (code) => ERROR_CATALOGUE[code].status);
  const described = [...byStatus]
    .sort(([one], [other]) => one - other)
    .map(([status, ofStatus]) => [
      status,
      {
        description: ofStatus.map((code) => `\`${code}\``).join(", "),
        content: { "application/json": { schema: { $ref: "#/components/schemas/Refusal" } } },
      },
    ]);
  return Object.fromEntries(described) as Json;
}
