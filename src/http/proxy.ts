/**
 * Public addresses of a session: what listens on a port inside is reached through /proxy/{id}/{port}/…, with streaming
 * bodies and WebSockets. Where nothing listens, each request runs the session's stored code, which prints the answer.
 */
import http from "node:http";
import type { Duplex } from "node:stream";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { portNumber } from "../api/fields.ts";
import { getHost } from "../api/network.ts";
import { AppError } from "../protocol/errors.ts";
import { isServerName } from "../protocol/session-names.ts";
import type { SessionRegistry } from "../session/registry.ts";
import type { Session } from "../session/session.ts";
import {
  confinedCookie,
  isAnswerHeader,
  isOfConnection,
  isPolicy,
  isUpgradeHeader,
  SANDBOX,
} from "./headers.ts";
import { refuseMoreRuns } from "./key-limits.ts";
import { hasKey, type KeyRing } from "./key-ring.ts";
import type { ProxyDomain } from "./proxy-domain.ts";
import { serve } from "./serve.ts";
import { parseId } from "./sessions.ts";
import { answerByStoredCode } from "./stored-answer.ts";

type ProxyParams = { Params: { id: string; port: string; "*"?: string } };
type ProxyRoutes = {
  registry: SessionRegistry;
  keys: KeyRing;
  domain: ProxyDomain | null;
  apiKey: string | undefined;
  bodyBytes: number;
};

const PROXY_ROUTES = ["/proxy/:id/:port", "/proxy/:id/:port/*"];
const FORM = "/proxy/{session}/{port}/{path}";
const ADDRESS = /^\/proxy\/([^/?]+)\/(\d+)(\/[^?]*)?(\?.*)?$/;

/** The path of a request, also of one that came by a name of a session's port. */
export function addressIn({ url = "/", headers }: http.IncomingMessage, domain: ProxyDomain | null): string {
  return domain?.isMeant(headers.host) ? domain.pathOf(headers.host, url) : url;
}

/** Which requests to upgrade are taken as such: all others are answered as if they had not asked. */
export function isUpgrade(request: http.IncomingMessage, domain: ProxyDomain | null): boolean {
  const { upgrade: wanted = "", "content-length": length } = request.headers;
  return (
    addressIn(request, domain).startsWith("/proxy/") && wanted.toLowerCase() !== "h2c" && length === undefined
  );
}

export function addProxy(app: FastifyInstance, routes: ProxyRoutes): void {
  const { registry, domain } = routes;
  serve(app, getHost, async ({ params, query: { port }, request }) => {
    const { row } = await registry.get(params.id);
    const own = domain?.addressOf(row.id, port, request.protocol);
    const url = own ?? `${request.protocol}://${request.host}/proxy/${row.id}/${port}`;
    return { url, base_url: url, session_id: row.id, port };
  });

  void app.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser("*", (_request, payload, done) => done(null, payload));
    for (const url of PROXY_ROUTES) {
      scope.all<ProxyParams>(
        url,
        {
          bodyLimit: Number.MAX_SAFE_INTEGER,
          exposeHeadRoute: false,
          config: { isStream: true, isPublic: true, label: "proxy" },
        },
        (request, reply) => pass(routes, request, reply),
      );
    }
  });

  const upgraded = new Set<Duplex>();
  app.addHook("preClose", async () => {
    for (const socket of upgraded) socket.destroy();
  });
  app.server.on("upgrade", (request: http.IncomingMessage, socket: Duplex, head: Buffer) => {
    if (!addressIn(request, domain).startsWith("/proxy/")) return; // a terminal's
    upgraded.add(socket);
    socket.on("error", () => socket.destroy()).once("close", () => upgraded.delete(socket));
    upgrade(routes, request, { socket, head }).catch((error: unknown) => {
      const status = error instanceof AppError ? error.status : 500;
      const text = `HTTP/1.1 ${status} ${http.STATUS_CODES[status]}\r\nconnection: close\r\n\r\n`;
      socket.end(text, () => socket.destroy());
    });
  });
}

/** The session behind a public address. Rejects for a bad address, an unknown session, or one that is not public. */
async function find(registry: SessionRegistry, id: string, port: string) {
  const parsed = portNumber.safeParse(Number(port));
  if (!parsed.success)
    throw new AppError(
      "invalid_request",
      `Cannot use '${port.slice(0, 20)}' as a port: it must be 1 to 65535`,
      {
        extra: { format: FORM },
      },
    );
  const session = await registry.get(isServerName(id) ? id : parseId(id));
  if (!session.row.allowPublicAccess)
    throw new AppError("not_public", `Cannot reach the session '${session.id}': it is not public`);
  return { session, port: parsed.data };
}

async function pass(
  { registry, keys, domain, apiKey, bodyBytes }: ProxyRoutes,
  request: FastifyRequest<ProxyParams>,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const { session, port } = await find(registry, request.params.id, request.params.port);
  const path = pathOf(request.raw.url);
  const connect = () => session.connect(port);
  const prefix = prefixOf(session, port, domain?.isMeant(request.headers.host));
  const target = { prefix, port, path, apiKey };
  const connection = await connect();
  if (connection !== null) return forward({ ...target, connection, body: request.raw }, request, reply);
  if (session.row.code !== null) refuseMoreRuns(keys.ownerOf(session.id), { registry, keys }, session.id);
  const headers = withoutKey(request.raw.headers, apiKey);
  const answered = await answerByStoredCode(session, request, { path, headers, bodyBytes, connect });
  if ("connection" in answered)
    return forward(
      { ...target, connection: answered.connection, body: answered.requestBody },
      request,
      reply,
    );
  const { answer } = answered;
  reply.code(answer.status).headers(answer.headers);
  if (prefix !== null) reply.header("content-security-policy", SANDBOX);
  return reply.send(answer.body);
}

/** Keys of this server are for this server. */
function withoutKey(headers: http.IncomingHttpHeaders, apiKey: string | undefined): http.IncomingHttpHeaders {
  const { authorization = "", ...others } = headers;
  const isOurs = (apiKey !== undefined && authorization.includes(apiKey)) || hasKey(authorization);
  return isOurs ? others : headers;
}

function decoded(part = ""): string {
  try {
    return decodeURIComponent(part);
  } catch (cause) {
    throw new AppError(
      "invalid_request",
      `Cannot read '${part.slice(0, 80)}': it is not percent-encoded UTF-8`,
      {
        cause,
      },
    );
  }
}

/** Without the part that names session and port. */
function pathOf(url = ""): string {
  const [, , , path = "/", query = ""] = ADDRESS.exec(url) ?? [];
  return path + query;
}

type Target = {
  port: number;
  /** The beginning of all its addresses; null where it has an origin of its own. */
  prefix: string | null;
  apiKey: string | undefined;
};
type Forward = Target & {
  connection: Duplex;
  path: string;
  body: http.IncomingMessage | Buffer;
};

function forward(
  { connection, path, body, ...target }: Forward,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const { promise, resolve, reject } = Promise.withResolvers<FastifyReply>();
  let letGo: () => void = () => undefined;
  const fail = (cause: unknown) => {
    connection.destroy();
    letGo();
    const why = cause instanceof Error ? cause.message : String(cause);
    const message = `Cannot get an answer from port ${target.port}: ${why}`;
    reject(new AppError("proxy_failed", message, { cause, details: why }));
  };
  reply.raw.once("close", () => connection.destroy());
  if (reply.raw.destroyed) fail(new Error("the client has gone"));
  try {
    const headers = headersFor(request.raw, target);
    // Also where Node would not by itself: without it, a body of these methods would have no end.
    if (request.headers["transfer-encoding"] !== undefined) headers["transfer-encoding"] = "chunked";
    const outgoing = http.request({
      createConnection: () => connection,
      method: request.method,
      path,
      headers,
    });
    outgoing.on("error", fail);
    const hungUp = () => fail(new Error("it hung up"));
    outgoing.once("close", hungUp);
    // What a guest answers may be unfit to be passed on: a failure here must not become the server's.
    outgoing.once("response", (incoming) => {
      outgoing.off("close", hungUp);
      incoming.once("close", letGo);
      try {
        resolve(answer(reply, incoming, { connection, prefix: target.prefix }));
      } catch (error) {
        incoming.destroy();
        fail(error);
      }
    });
    if (Buffer.isBuffer(body)) outgoing.end(body);
    else {
      body.pipe(outgoing);
      // What is left of a body that nobody takes any more is read all the same, so that the client hears the answer.
      letGo = () => void body.unpipe(outgoing).resume();
    }
  } catch (error) {
    fail(error);
  }
  return promise;
}

type Answered = { connection: Duplex; prefix: string | null };

function answer(
  reply: FastifyReply,
  incoming: http.IncomingMessage,
  { connection, prefix }: Answered,
): FastifyReply {
  incoming.on("error", () => reply.raw.destroy());
  incoming.once("close", () => connection.destroy());
  const { statusCode = 0 } = incoming;
  if (statusCode < 200 || statusCode > 599) throw new Error(`its status is ${statusCode}`);
  reply.code(statusCode);
  for (const [name, value] of Object.entries(incoming.headers))
    if (value !== undefined && (isAnswerHeader(name) || (prefix === null && isPolicy(name))))
      reply.header(name, value);
  const cookies = incoming.headers["set-cookie"];
  if (cookies !== undefined)
    reply.removeHeader("set-cookie").header(
      "set-cookie",
      cookies.map((cookie) => confinedCookie(cookie, prefix)),
    );
  if (prefix !== null) reply.header("content-security-policy", SANDBOX);
  return reply.send(incoming);
}

/** The beginning of all addresses of a session's port; null where it has an origin of its own. */
const prefixOf = (session: Session, port: number, isOwn = false) =>
  isOwn ? null : `/proxy/${session.id}/${port}`;

function headersFor(request: http.IncomingMessage, { prefix, apiKey }: Target) {
  const headers: http.OutgoingHttpHeaders = {};
  const named = new Set(
    String(request.headers.connection ?? "")
      .toLowerCase()
      .split(/\s*,\s*/),
  );
  named.delete("content-length"); // it says where the body ends, whatever a client says of it
  for (const [name, value] of Object.entries(withoutKey(request.headers, apiKey)))
    if (!isOfConnection(name) && !named.has(name)) headers[name] = value;
  const { host } = request.headers;
  const { remoteAddress } = request.socket;
  if (host !== undefined) headers["x-forwarded-host"] = host;
  if (remoteAddress !== undefined) headers["x-forwarded-for"] = remoteAddress;
  if (prefix !== null) headers["x-forwarded-prefix"] = prefix;
  return headers;
}

/**
 * A connection that both ends use as they like once the program has agreed: WebSockets. Until then the program's answer
 * is read as HTTP, since whoever is in front of this server may reuse a connection that was answered in another way.
 */
async function upgrade(
  { registry, domain, apiKey }: ProxyRoutes,
  request: http.IncomingMessage,
  { socket, head }: { socket: Duplex; head: Buffer },
): Promise<void> {
  const address = addressIn(request, domain);
  const match = ADDRESS.exec(address);
  if (match === null) throw new AppError("route_not_found", "Cannot upgrade this address");
  const { session, port } = await find(registry, decoded(match[1]), match[2] ?? "");
  const connection = await session.connect(port);
  if (connection === null) throw new AppError("proxy_failed", `Cannot connect: nobody listens on ${port}`);
  const prefix = prefixOf(session, port, domain?.isMeant(request.headers.host));
  socket.once("close", () => connection.destroy());
  if (socket.destroyed) connection.destroy();
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const fail = (cause: Error) => {
    connection.destroy();
    reject(new AppError("proxy_failed", `Cannot upgrade: ${cause.message}`, { cause }));
  };
  const headers = {
    ...headersFor(request, { port, prefix, apiKey }),
    connection: "Upgrade",
    upgrade: request.headers.upgrade,
  };
  const outgoing = http.request({ createConnection: () => connection, path: pathOf(address), headers });
  const hungUp = () => fail(new Error("it hung up"));
  outgoing.on("error", fail).once("close", hungUp);
  outgoing.once("response", (incoming) => {
    incoming.destroy();
    fail(new Error(`its status is ${incoming.statusCode}`));
  });
  outgoing.once("upgrade", (incoming, inner, first) => {
    outgoing.off("close", hungUp);
    const lines = ["HTTP/1.1 101 Switching Protocols"];
    for (let at = 0; at < incoming.rawHeaders.length; at += 2) {
      const [name = "", value = ""] = incoming.rawHeaders.slice(at, at + 2);
      const known = name.toLowerCase();
      if (!isUpgradeHeader(known)) continue;
      lines.push(`${name}: ${known === "set-cookie" ? confinedCookie(value, prefix) : value}`);
    }
    socket.write(`${lines.join("\r\n")}\r\n\r\n`);
    socket.write(first);
    inner.write(head);
    inner.on("error", () => socket.destroy());
    inner.once("close", () => socket.destroy());
    inner.pipe(socket);
    socket.pipe(inner);
    resolve();
  });
  outgoing.end();
  return promise;
}
