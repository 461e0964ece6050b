/**
 * `/mcp`, and `/mcp/v1`: the Model Context Protocol over HTTP, as clients of both kinds speak it: the stateless one of
 * 2026-07-28, and those before it, which begin a session of the protocol, or send single requests by curl. A session of
 * the protocol is not one of programs: it is a client's connection, and nothing depends on it but notices.
 */
import { randomUUID } from "node:crypto";
import {
  createMcpHandler,
  isLegacyRequest,
  type McpServer,
  WebStandardStreamableHTTPServerTransport,
} from "@modelcontextprotocol/server";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { goneSignal } from "../http/gone.ts";
import { isShallow } from "../lib/json-depth.ts";
import { hangUpWithCalls, ownApi } from "./api.ts";
import { createMcpServer } from "./server.ts";
import type { ApiOf } from "./tool.ts";

const PATHS = ["/mcp", "/mcp/v1"];
const SESSION_HEADER = "mcp-session-id";
const MAX_BATCH = 50;
const MAX_SESSIONS = 1_000;
const IDLE_MS = 3_600_000;
const EVENTS = "text/event-stream";
const ANYTHING = `application/json, ${EVENTS}`;

type Mounted = { version: string; maxBodyBytes: number };

export function addMcp(app: FastifyInstance, { version, maxBodyBytes }: Mounted): void {
  hangUpWithCalls(app);
  const apiOf: ApiOf = ({ http }) => ownApi(app, http?.req?.headers);
  const create = () => createMcpServer(version, apiOf);
  const modern = createMcpHandler(create, { legacy: "reject", maxRequestBodySize: maxBodyBytes });
  const sessions = new ProtocolSessions(create);
  app.addHook("preClose", async () => {
    await Promise.all([modern.close(), sessions.close()]);
  });
  void app.register(async (scope) => {
    acceptAnyBody(scope);
    const handler = async (request: FastifyRequest, reply: FastifyReply) => {
      const parsed = request.method === "POST" ? parseMessage(request.body) : {};
      if (parsed.problem !== undefined) return reply.status(400).send(parsed.problem);
      const asked = webRequest(request, reply, parsed.body);
      const isOld = await isLegacyRequest(asked, parsed.body);
      return isOld
        ? sessions.answer(asked, request.tenant.keyId, parsed.body)
        : modern.fetch(asked, optionsOf(parsed.body));
    };
    for (const url of PATHS)
      scope.route({ method: ["GET", "POST", "DELETE"], url, handler, config: { label: "mcp" } });
  });
}

/** What is no JSON is answered as the protocol says. */
function acceptAnyBody(scope: FastifyInstance): void {
  scope.removeAllContentTypeParsers();
  const asItIs = async (_request: FastifyRequest, body: string | Buffer) => body;
  scope.addContentTypeParser("*", { parseAs: "buffer" }, asItIs);
}

const optionsOf = (body: unknown) => (body === undefined ? {} : { parsedBody: body });

const problem = (code: number, message: string) => ({ jsonrpc: "2.0", id: null, error: { code, message } });

function parseMessage(body: unknown): { body?: unknown; problem?: object } {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(body as Buffer);
    const parsed: unknown = JSON.parse(text);
    if (!isShallow(parsed)) return { problem: problem(-32600, "The message is nested too deep") };
    if (Array.isArray(parsed) && parsed.length > MAX_BATCH)
      return { problem: problem(-32600, `A batch may have ${MAX_BATCH} messages`) };
    return { body: parsed };
  } catch {
    return { problem: problem(-32700, "The body is not JSON") };
  }
}

/** With a signal that fires when the client hangs up. */
function webRequest(request: FastifyRequest, reply: FastifyReply, body: unknown): Request {
  const headers = new Headers();
  for (const [name, value] of Object.entries(request.headers))
    if (value !== undefined) headers.set(name, String(value));
  if (request.method === "POST") headers.set("content-type", "application/json");
  const signal = goneSignal(reply);
  const url = new URL(request.url, "http://localhost");
  const content = body === undefined ? {} : { body: JSON.stringify(body) };
  return new Request(url, { method: request.method, headers, signal, ...content });
}

type Session = {
  transport: WebStandardStreamableHTTPServerTransport;
  server: McpServer;
  keyId: string | null;
  usedAt: number;
};

/** Sessions of the older protocol: few, each of one key, and ended when nobody has used them for an hour. */
class ProtocolSessions {
  readonly #create: () => McpServer;
  /** The one that was used last is last. */
  readonly #sessions = new Map<string, Session>();

  constructor(create: () => McpServer) {
    this.#create = create;
  }

  async answer(request: Request, keyId: string | null, body: unknown): Promise<Response> {
    this.#expire();
    const id = request.headers.get(SESSION_HEADER);
    const accepts = request.headers.get("accept")?.includes(EVENTS) ?? false;
    const options = optionsOf(body);
    if (id !== null) {
      const session = this.#find(id, keyId);
      if (session !== null) return session.transport.handleRequest(request, options);
      return Response.json(problem(-32001, "Session not found"), { status: 404 });
    }
    if (accepts && isInitialize(body)) return (await this.#open(keyId)).handleRequest(request, options);
    return this.#once(request, accepts, options);
  }

  /** One exchange without a session, answered as JSON to a client that does not ask for events. */
  async #once(request: Request, accepts: boolean, options: { parsedBody?: unknown }): Promise<Response> {
    if (request.method !== "POST")
      return Response.json(problem(-32000, `${SESSION_HEADER} is missing`), {
        status: 405,
        headers: { allow: "POST" },
      });
    if (!accepts) request.headers.set("accept", ANYTHING);
    const transport = new WebStandardStreamableHTTPServerTransport({ enableJsonResponse: !accepts });
    const server = this.#create();
    await server.connect(transport);
    request.signal.addEventListener("abort", () => void server.close(), { once: true });
    return transport.handleRequest(request, options);
  }

  async #open(keyId: string | null): Promise<WebStandardStreamableHTTPServerTransport> {
    const server = this.#create();
    const transport: WebStandardStreamableHTTPServerTransport = new WebStandardStreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      onsessioninitialized: (id) => {
        this.#sessions.set(id, { transport, server, keyId, usedAt: Date.now() });
      },
      onsessionclosed: (id) => {
        this.#sessions.delete(id);
      },
    });
    await server.connect(transport);
    return transport;
  }

  #find(id: string, keyId: string | null): Session | null {
    const session = this.#sessions.get(id);
    if (session === undefined || session.keyId !== keyId) return null;
    this.#sessions.delete(id);
    this.#sessions.set(id, session);
    session.usedAt = Date.now();
    return session;
  }

  #expire(): void {
    for (const [id, { server, usedAt }] of this.#sessions) {
      if (this.#sessions.size < MAX_SESSIONS && Date.now() - usedAt < IDLE_MS) break;
      this.#sessions.delete(id);
      void server.close();
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.#sessions.values()].map(({ server }) => server.close()));
  }
}

const isInitialize = (body: unknown): boolean =>
  typeof body === "object" && body !== null && "method" in body && body.method === "initialize";
