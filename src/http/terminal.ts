/**
 * …/processes/{process_id}/terminal: what a process prints and is given, over one WebSocket.
 *
 *     client                                         server
 *       GET …/terminal?after=PLACE              ->
 *                                               <-   {"type": "begin", "place"}
 *                                               <-   bytes that it prints       (with a terminal, or of both streams)
 *       bytes that are typed                    ->
 *       {"type": "resize", "columns", "rows"}   ->
 *       {"type": "end"}                         ->   (no more input)
 *                                               <-   {"type": "gap", "missed_bytes"}
 *                                               <-   {"type": "exit", "process"}, and the end
 *                                               <-   {"type": "error", "error", "code"}
 * A client that comes back says the place that it had: where it began, and what it has had. Browsers, which cannot
 * set headers, send their key as a protocol: `era.key.` and the key, beside `era`.
 */
import type http from "node:http";
import type { Duplex } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import type { FastifyInstance } from "fastify";
import { type RawData, type WebSocket, WebSocketServer } from "ws";
import { z } from "zod";
import { terminalSize } from "../api/processes.ts";
import { AppError } from "../protocol/errors.ts";
import type { SessionPrograms } from "../session/life/session-programs.ts";
import type { SessionRegistry } from "../session/registry.ts";
import { type Rules, tenantOf } from "./auth.ts";
import type { KeyRing } from "./key-ring.ts";
import { awakeSession } from "./obtain-session.ts";
import { viewProcess } from "./processes.ts";
import type { ProxyDomain } from "./proxy-domain.ts";
import { nameFor } from "./sessions.ts";
import { localText, mayDo, type Tenant } from "./tenant.ts";

type TerminalRoutes = { registry: SessionRegistry; keys: KeyRing; rules: Rules; domain: ProxyDomain | null };

const ADDRESS = /^\/api\/sessions\/([^/?]+)\/processes\/([^/?]+)\/terminal(?:\?after=(\d{1,15}))?$/;
const PROTOCOL = "era";
const KEY_PREFIX = "era.key.";
const MAX_MESSAGE_BYTES = 1 << 20;
const PING_MS = 30_000;
/** How long what does not fit waits before it is tried again. */
const FULL_MS = 50;
const OVER = 1000;
const FAILED = 1011;

const control = z.discriminatedUnion("type", [
  terminalSize.extend({ type: z.literal("resize") }),
  z.strictObject({ type: z.literal("end") }),
]);

function parseControl(text: string): z.infer<typeof control> {
  try {
    return control.parse(JSON.parse(text));
  } catch (cause) {
    throw new AppError("invalid_request", "Cannot use this message: it says 'resize' with a size, or 'end'", {
      cause,
    });
  }
}

/** Whether a request is one for a terminal; by a name of a session's port, it is that port's. */
export const isTerminal = (
  { url = "", headers }: http.IncomingMessage,
  domain: ProxyDomain | null,
): boolean => !domain?.isMeant(headers.host) && ADDRESS.test(url);

export function addTerminals(app: FastifyInstance, routes: TerminalRoutes): void {
  const sockets = new WebSocketServer({
    noServer: true,
    maxPayload: MAX_MESSAGE_BYTES,
    handleProtocols: (offered) => (offered.has(PROTOCOL) ? PROTOCOL : false),
  });
  app.addHook("preClose", async () => {
    for (const socket of sockets.clients) socket.terminate();
  });
  app.server.on("upgrade", (request: http.IncomingMessage, connection: Duplex, head: Buffer) => {
    if (!isTerminal(request, routes.domain)) return;
    connection.on("error", () => connection.destroy());
    find(routes, request).then(
      (found) =>
        sockets.handleUpgrade(
          request,
          connection,
          head,
          (socket) => void new Terminal(socket, found).serve(),
        ),
      (error: unknown) => refuse(connection, error),
    );
  });
}

type Found = { programs: SessionPrograms; program: string; place: number; tenant: Tenant };

async function find(
  { registry, keys, rules }: TerminalRoutes,
  request: http.IncomingMessage,
): Promise<Found> {
  const [, id = "", program = "", after = "0"] = ADDRESS.exec(request.url ?? "") ?? [];
  const tenant = tenantOf(withKey(request.headers), keys, rules);
  if (!mayDo(tenant, "run"))
    throw new AppError("scope_missing", "Cannot do this with this key: it needs 'run'");
  const { programs } = await awakeSession(registry, tenant, nameFor(tenant, decodeURIComponent(id)));
  await programs.find(program);
  return { programs, program, place: Number(after), tenant };
}

function withKey(headers: http.IncomingHttpHeaders): http.IncomingHttpHeaders {
  const offered = (headers["sec-websocket-protocol"] ?? "").split(/\s*,\s*/);
  const key = offered.find((name) => name.startsWith(KEY_PREFIX))?.slice(KEY_PREFIX.length);
  return key === undefined ? headers : { ...headers, authorization: `Bearer ${key}` };
}

function refuse(connection: Duplex, error: unknown): void {
  const known =
    error instanceof AppError ? error : new AppError("invalid_request", "Cannot read the address");
  const body = JSON.stringify({ error: known.message, code: known.code });
  connection.end(
    `HTTP/1.1 ${known.status} Refused\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
    () => connection.destroy(),
  );
}

/** One connection; any number may look at the same process, and type. */
class Terminal {
  readonly #socket: WebSocket;
  readonly #found: Found;
  readonly #gone = new AbortController();
  #typed = Promise.resolve();
  #isAlive = true;

  constructor(socket: WebSocket, found: Found) {
    this.#socket = socket;
    this.#found = found;
    socket.on("error", () => socket.terminate()).once("close", () => this.#gone.abort());
    socket.on("pong", () => {
      this.#isAlive = true;
    });
    socket.on("message", (data, isBinary) => this.#onMessage(data, isBinary));
  }

  async serve(): Promise<void> {
    const pings = setInterval(() => this.#ping(), PING_MS);
    try {
      await this.#tell({ type: "begin", place: this.#found.place });
      await this.#show();
      this.#socket.close(OVER);
    } catch (error) {
      if (!this.#gone.signal.aborted) await this.#fail(error);
    } finally {
      clearInterval(pings);
    }
  }

  /** A client that is gone without a word holds nothing for long. */
  #ping(): void {
    if (this.#isAlive) this.#socket.ping();
    else this.#socket.terminate();
    this.#isAlive = false;
  }

  /** At the client's pace: what it does not take waits in the sandbox. */
  async #show(): Promise<void> {
    const { programs, program, place } = this.#found;
    for await (const { missed, content } of programs.follow(program, place, this.#gone.signal)) {
      if (missed > 0) await this.#tell({ type: "gap", missed_bytes: missed });
      await this.#send(content);
    }
    await this.#tell({ type: "exit", process: viewProcess(await programs.find(program)) });
  }

  /** One after the other, in their order; no more are read meanwhile. */
  #onMessage(data: RawData, isBinary: boolean): void {
    this.#socket.pause();
    this.#typed = this.#typed
      .then(() => this.#take(data, isBinary))
      .catch((error: unknown) => this.#fail(error))
      .finally(() => this.#socket.resume());
  }

  async #take(data: RawData, isBinary: boolean): Promise<void> {
    const { programs, program } = this.#found;
    const bytes = Buffer.isBuffer(data)
      ? data
      : Buffer.concat(Array.isArray(data) ? data : [Buffer.from(data)]);
    if (isBinary) return this.#type(bytes);
    const asked = parseControl(bytes.toString());
    if (asked.type === "end") return programs.input(program, Buffer.alloc(0), true);
    await programs.resize(program, { columns: asked.columns, rows: asked.rows });
  }

  /** What does not fit waits, and all that comes after it. */
  async #type(bytes: Buffer): Promise<void> {
    const { programs, program } = this.#found;
    while (!this.#gone.signal.aborted) {
      try {
        return await programs.input(program, bytes, false);
      } catch (error) {
        if (!(error instanceof AppError) || error.code !== "input_full") throw error;
        await sleep(FULL_MS);
      }
    }
  }

  /** Input for a process that has just ended is no fault: its end is on the way. */
  async #fail(error: unknown): Promise<void> {
    if (this.#gone.signal.aborted || (error instanceof AppError && error.code === "process_ended")) return;
    const known = error instanceof AppError ? error : new AppError("sandbox_failed", "The sandbox has ended");
    const message = localText(this.#found.tenant, known.message);
    await this.#tell({ type: "error", error: message, code: known.code }).catch(() => undefined);
    this.#socket.close(FAILED);
  }

  #tell(message: object): Promise<void> {
    return this.#send(JSON.stringify(message));
  }

  #send(data: string | Buffer): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#socket.send(data, (error) => (error === undefined || error === null ? resolve() : reject(error)));
    return promise;
  }
}
