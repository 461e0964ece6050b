/**
 * Public addresses of a session: what listens on a port inside is reached through /proxy/{id}/{port}/…, with streaming
 * bodies and WebSockets. Where nothing listens, each request runs the session's stored code, which prints the answer.
 */
import http from "node:http";
import type { Duplex } from "node:stream";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { AppError } from "../protocol/errors.ts";
import { hostQuery, portNumber } from "../protocol/http.ts";
import type { SessionRegistry } from "../session/registry.ts";
import type { Session } from "../session/session.ts";
import { parseInput } from "./body.ts";
import { relay } from "./relay.ts";
import { type IdParams, parseId } from "./sessions.ts";

type ProxyParams = { Params: { id: string; port: string; "*"?: string } };
type ProxyRoutes = { registry: SessionRegistry; apiKey: string | undefined; bodyBytes: number };

const PROXY_ROUTES = ["/proxy/:id/:port", "/proxy/:id/:port/*"];
const FORM = "/proxy/{session}/{port}/{path}";
const ADDRESS = /^\/proxy\/([^/?]+)\/(\d+)(\/[^?]*)?(\?.*)?$/;
/** They concern one connection, not the request that it carries. */
const HOP_BY_HOP = new Set([
  "connection",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);
/** What a guest answers is shown as a document of nobody: it must not act as a page of this server. */
const SANDBOX = "sandbox allow-downloads allow-forms allow-modals allow-popups allow-scripts";

export function addProxy(app: FastifyInstance, { registry, apiKey, bodyBytes }: ProxyRoutes): void {
  app.get<IdParams>("/api/sessions/:id/host", async (request) => {
    const { row } = await registry.get(parseId(request.params.id));
    const { port } = parseHost(request.query);
    const url = `${request.protocol}://${request.host}/proxy/${row.id}/${port}`;
    return { url, base_url: url, session_id: row.id, port };
  });

  void app.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser("*", (_request, payload, done) => done(null, payload));
    for (const url of PROXY_ROUTES) {
      scope.all<ProxyParams>(
        url,
        { bodyLimit: Number.MAX_SAFE_INTEGER, exposeHeadRoute: false },
        (request, reply) => serve({ registry, apiKey, bodyBytes }, request, reply),
      );
    }
  });

  app.server.on("upgrade", (request: http.IncomingMessage, socket: Duplex, head: Buffer) => {
    socket.on("error", () => socket.destroy());
    upgrade(registry, apiKey, request, socket, head).catch((error: unknown) => {
      const status = error instanceof AppError ? error.status : 500;
      socket.end(`HTTP/1.1 ${status} ${http.STATUS_CODES[status]}\r\nconnection: close\r\n\r\n`);
    });
  });
}

function parseHost(query: unknown) {
  try {
    return parseInput(hostQuery, query);
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    throw new AppError(error.code, error.message, { ...error.options, extra: { usage: "?port=8000" } });
  }
}

/** The session behind a public address. Rejects for a bad address, an unknown session, or one that is not public. */
async function find(registry: SessionRegistry, id: string, port: string) {
  const parsed = portNumber.safeParse(Number(port));
  if (!parsed.success)
    throw new AppError("invalid_request", `Cannot use '${port.slice(0, 20)}' as a port`, {
      extra: { format: FORM },
    });
  const session = await registry.get(parseId(id));
  if (!session.row.allowPublicAccess)
    throw new AppError("not_public", `Cannot reach the session '${session.row.id}': it is not public`);
  return { session, port: parsed.data };
}

async function serve(
  { registry, apiKey, bodyBytes }: ProxyRoutes,
  request: FastifyRequest<ProxyParams>,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const { session, port } = await find(registry, request.params.id, request.params.port);
  const path = pathOf(request.raw.url);
  reply.header("content-security-policy", SANDBOX);
  const connect = () => session.connect(port);
  const target = { session, port, path, apiKey };
  const connection = await connect();
  if (connection !== null) return forward({ ...target, connection, body: request.raw }, request, reply);
  const headers = withoutKey(request.raw.headers, apiKey);
  const relayed = await relay(session, request, { path, headers, bodyBytes, connect });
  if ("connection" in relayed)
    return forward({ ...target, connection: relayed.connection, body: relayed.requestBody }, request, reply);
  const { answer } = relayed;
  return reply.code(answer.status).headers(answer.headers).send(answer.body);
}

/** The key of this server is for this server. */
function withoutKey(headers: http.IncomingHttpHeaders, apiKey: string | undefined): http.IncomingHttpHeaders {
  const { authorization, ...others } = headers;
  return apiKey !== undefined && authorization?.includes(apiKey) ? others : headers;
}

/** Without the part that names session and port. */
function pathOf(url = ""): string {
  const [, , , path = "/", query = ""] = ADDRESS.exec(url) ?? [];
  return path + query;
}

type Forward = {
  connection: Duplex;
  session: Session;
  port: number;
  path: string;
  apiKey: string | undefined;
  body: http.IncomingMessage | Buffer;
};

function forward(
  { connection, session, port, path, apiKey, body }: Forward,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const { promise, resolve, reject } = Promise.withResolvers<FastifyReply>();
  const outgoing = http.request({
    createConnection: () => connection,
    method: request.method,
    path,
    headers: headersFor(request.raw, { session, port, apiKey }),
  });
  const gone = () => outgoing.destroy();
  reply.raw.once("close", gone);
  outgoing.on("error", (cause) => {
    connection.destroy();
    const message = `Cannot get an answer from port ${port}: ${cause.message}`;
    reject(new AppError("proxy_failed", message, { cause, details: cause.message }));
  });
  outgoing.once("response", (incoming) => {
    reply.code(incoming.statusCode ?? 502);
    for (const [name, value] of Object.entries(incoming.headers))
      if (!HOP_BY_HOP.has(name) && value !== undefined) reply.header(name, value);
    reply.header("content-security-policy", SANDBOX);
    incoming.once("close", () => connection.destroy());
    incoming.on("error", () => reply.raw.destroy());
    resolve(reply.send(incoming));
  });
  if (Buffer.isBuffer(body)) outgoing.end(body);
  else body.pipe(outgoing);
  return promise;
}

type Target = { session: Session; port: number; apiKey: string | undefined };

function headersFor(request: http.IncomingMessage, { session, port, apiKey }: Target) {
  const headers: http.OutgoingHttpHeaders = {};
  const named = new Set(
    String(request.headers.connection ?? "")
      .toLowerCase()
      .split(/\s*,\s*/),
  );
  for (const [name, value] of Object.entries(withoutKey(request.headers, apiKey)))
    if (!HOP_BY_HOP.has(name) && !named.has(name)) headers[name] = value;
  headers["x-forwarded-host"] = request.headers.host;
  headers["x-forwarded-prefix"] = `/proxy/${session.row.id}/${port}`;
  headers["x-forwarded-for"] = request.socket.remoteAddress;
  return headers;
}

/** A connection that both ends use as they like from now on: WebSockets. */
async function upgrade(
  registry: SessionRegistry,
  apiKey: string | undefined,
  request: http.IncomingMessage,
  socket: Duplex,
  head: Buffer,
): Promise<void> {
  const match = ADDRESS.exec(request.url ?? "");
  if (match === null) throw new AppError("route_not_found", "Cannot upgrade this address");
  const { session, port } = await find(registry, decodeURIComponent(match[1] ?? ""), match[2] ?? "");
  const connection = await session.connect(port);
  if (connection === null) throw new AppError("proxy_failed", `Cannot connect: nobody listens on ${port}`);
  const headers = {
    ...headersFor(request, { session, port, apiKey }),
    connection: "Upgrade",
    upgrade: request.headers.upgrade,
  };
  const lines = Object.entries(headers).flatMap(([name, value]) =>
    value === undefined ? [] : [value].flat().map((text) => `${name}: ${text}\r\n`),
  );
  connection.write(`${request.method} ${pathOf(request.url)} HTTP/1.1\r\n${lines.join("")}\r\n`);
  connection.write(head);
  connection.pipe(socket);
  socket.pipe(connection);
  for (const [one, other] of [
    [connection, socket],
    [socket, connection],
  ] as const)
    one.once("close", () => other.destroy());
}
