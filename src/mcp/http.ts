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
/** Values of any kind in one message: 10,000 files are the most that a tool takes. */
const MAX_VALUES = 20_000;
const MAX_SESSIONS = 1_000;
const MAX_SESSIONS_OF_KEY = 100;
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
    if (!isShallow(parsed, { maxValues: MAX_VALUES }))
      return {
        problem: problem(-32600, `The message is nested too deep, or has more than ${MAX_VALUES} values`),
      };
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
  const content = body === undefined ? {} : { body: "{}" }; // it is parsed already
  return new Request(url, { method: request.method, headers, signal, ...content });
}

type Session = {
  transport: WebStandardStreamableHTTPServerTransport;
  server: McpServer;
  keyId: string | null;
  usedAt: number;
  /** Requests that are being answered: it is not ended for another one. */
  open: number;
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
    this.#expire(keyId);
    const id = request.headers.get(SESSION_HEADER);
    const accepts = request.headers.get("accept")?.includes(EVENTS) ?? false;
    const options = optionsOf(body);
    if (id !== null) {
      const session = this.#find(id, keyId);
      if (session !== null) return this.#within(session, request, options);
      return Response.json(problem(-32001, "Session not found"), { status: 404 });
    }
    if (accepts && isInitialize(body)) {
      if (this.#sessions.size >= MAX_SESSIONS)
        return Response.json(problem(-32000, "There are too many sessions of the protocol: wait"), {
          status: 503,
        });
      return (await this.#open(keyId)).handleRequest(request, options);
    }
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
        this.#sessions.set(id, { transport, server, keyId, usedAt: Date.now(), open: 0 });
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

  /** The session is in use until its answer has been read, or its reader is gone. */
  async #within(session: Session, request: Request, options: { parsedBody?: unknown }): Promise<Response> {
    session.open += 1;
    const done = () => {
      session.open -= 1;
      session.usedAt = Date.now();
    };
    const response = await session.transport.handleRequest(request, options);
    if (response.body === null) {
      done();
      return response;
    }
    return new Response(whenRead(response.body, done), response);
  }

  /** Ends those that nobody uses; and, of a key with many, the ones that it has not used for longest. */
  #expire(keyId: string | null): void {
    let ofKey = [...this.#sessions.values()].filter((session) => session.keyId === keyId).length;
    for (const [id, { server, usedAt, open, ...session }] of this.#sessions) {
      const isIdle = Date.now() - usedAt > IDLE_MS;
      const isOneOfMany = session.keyId === keyId && ofKey >= MAX_SESSIONS_OF_KEY;
      if (open > 0 || !(isIdle || isOneOfMany)) continue;
      if (session.keyId === keyId) ofKey -= 1;
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

/** A body, and news of its end. */
function whenRead(body: ReadableStream<Uint8Array>, done: () => void): ReadableStream<Uint8Array> {
  const reader = body.getReader();
  return new ReadableStream({
    pull: async (controller) => {
      try {
        const { value, done: isEnd } = await reader.read();
        if (!isEnd) return controller.enqueue(value);
        controller.close();
      } catch (error) {
        controller.error(error);
      }
      done();
    },
    cancel: async (reason) => {
      done();
      await reader.cancel(reason);
    },
  });
}
