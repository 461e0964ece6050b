/** An operation as a route: parameters, query and body are checked as it declares them, then its work is done. */
import type { FastifyInstance, FastifyReply, FastifyRequest, RouteShorthandOptions } from "fastify";
import type { z } from "zod";
import { isSchema, type Operation } from "../api/operation.ts";
import { PARAMS, type ParamsOf, paramNames } from "../api/params.ts";
import { AppError } from "../protocol/errors.ts";
import { isServerName } from "../protocol/session-names.ts";
import type { Idempotency, Keyed } from "./idempotency.ts";
import { parseBody } from "./input.ts";
import { forTenant, type Tenant } from "./tenant.ts";

declare module "fastify" {
  interface FastifyContextConfig {
    operation?: Operation;
  }
}

type Parsed<S> = S extends z.ZodType ? z.infer<S> : undefined;
export type Asked<O extends Operation> = {
  params: ParamsOf<O["path"]>;
  query: Parsed<O["query"]>;
  body: Parsed<O["body"]>;
  request: FastifyRequest;
  reply: FastifyReply;
};
type Answers<O extends Operation> = O["answers"][keyof O["answers"]];
/** The JSON that an operation answers. */
type AnswerOf<O extends Operation> = Extract<Answers<O>, z.ZodType> extends infer S ? Parsed<S> : never;

/** Answers with what `handle` resolves to, or with the reply that it sends itself. */
export function serve<const O extends Operation>(
  app: FastifyInstance,
  operation: O,
  handle: (asked: Asked<O>) => Promise<AnswerOf<O> | FastifyReply>,
  options: RouteShorthandOptions = {},
): void {
  const status = ordinaryStatus(operation);
  app.route({
    ...(isStream(operation) ? { exposeHeadRoute: false } : {}),
    ...options,
    method: operation.method,
    url: routeOf(operation.path),
    config: { ...options.config, operation },
    handler: async (request, reply) => {
      const answer: unknown = await handle(ask(operation, request, reply));
      return answer === reply ? reply : reply.status(status).send(forTenant(request.tenant, answer));
    },
  });
}

type Once<O extends Operation> = Omit<Keyed, "work" | "status" | "ofRun"> & {
  work: (key: Parameters<Keyed["work"]>[0]) => Promise<AnswerOf<O>>;
  ofRun?: (runId: string) => Promise<AnswerOf<O> | null>;
};

/** The same for an operation that happens once for each `Idempotency-Key`. */
export function serveOnce<const O extends Operation>(
  app: FastifyInstance,
  idempotency: Idempotency,
  operation: O,
  plan: (asked: Asked<O>) => Once<O>,
): void {
  const status = ordinaryStatus(operation);
  serve(app, operation, (asked) => {
    const { scope, work, ofRun } = plan(asked);
    const { tenant } = asked.request;
    const shown = <T>(answer: T) => forTenant(tenant, answer);
    return idempotency.reply(asked.request, asked.reply, {
      scope: scope.startsWith("/") ? `${tenant.prefix}${scope}` : scope,
      status,
      work: async (key) => shown(await work(key)),
      ...(ofRun === undefined ? {} : { ofRun: async (runId: string) => shown(await ofRun(runId)) }),
    });
  });
}

/** What is sent for as long as there is something would have no end for who asks for its head alone. */
const isStream = ({ answers }: Operation) => {
  const answer = answers[200];
  return answer !== undefined && answer !== null && !isSchema(answer) && answer.type === "text/event-stream";
};

const ordinaryStatus = ({ answers }: Operation) => Number(Object.keys(answers)[0]);

/** As Fastify writes it. */
const routeOf = (path: string) => path.replace("{path}", "*").replaceAll(/\{(\w+)\}/g, ":$1");

function ask<O extends Operation>(operation: O, request: FastifyRequest, reply: FastifyReply): Asked<O> {
  const params = parseParams(operation, request.params as Record<string, string>, request.tenant);
  const query = withMore(operation, () => parseQuery(operation, request.query as object));
  const body = withMore(operation, () => parseOwnBody(operation, request.body));
  return { params, query, body, request, reply } as Asked<O>;
}

/** The names of sessions are the server's from here on. */
function parseParams(
  { path }: Operation,
  given: Record<string, string>,
  { prefix }: Tenant,
): Record<string, unknown> {
  const params: Record<string, unknown> = {};
  for (const name of paramNames(path)) {
    const text = name === "path" ? (given["*"] ?? "").replace(/\/$/, "") : (given[name] ?? "");
    if (name === "id" && prefix === "" && isServerName(text)) {
      params[name] = text;
      continue;
    }
    const parsed = PARAMS[name].safeParse(text);
    if (!parsed.success) throw wrongParam(name, text, parsed.error.issues[0]?.message ?? "it is not valid");
    params[name] = name === "id" ? `${prefix}${parsed.data}` : parsed.data;
  }
  return params;
}

const MAX_SHOWN_CHARS = 140;

function wrongParam(name: string, text: string, problem: string): AppError {
  const shown = JSON.stringify(text.slice(0, MAX_SHOWN_CHARS));
  if (name === "id") return new AppError("invalid_session_id", `Cannot use ${shown} as a session's id`);
  return new AppError("invalid_request", `Cannot use the ${name} ${shown}: ${problem}`);
}

function parseQuery({ query, summary }: Operation, given: object): unknown {
  if (query !== undefined) return parseBody(query, given);
  const [name] = Object.keys(given);
  if (name === undefined) return undefined;
  throw new AppError(
    "invalid_request",
    `Cannot use '${name.slice(0, MAX_SHOWN_CHARS)}' in the query: it takes none`,
    {
      hint: `What was asked for does this: ${summary.charAt(0).toLowerCase()}${summary.slice(1)}`,
    },
  );
}

function parseOwnBody({ body }: Operation, given: unknown): unknown {
  return body === undefined || !isSchema(body) ? undefined : parseBody(body, given);
}

function withMore<T>({ onInvalid }: Operation, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    if (onInvalid === undefined || !(error instanceof AppError)) throw error;
    const extra = onInvalid === "message" ? { message: error.message } : onInvalid;
    throw new AppError(error.code, error.message, { ...error.options, extra });
  }
}
