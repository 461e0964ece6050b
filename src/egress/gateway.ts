/**
 * The way from sandboxes to the internet: one forward proxy, which is not listening anywhere itself. Each session has a
 * door, a socket in its folder, and the gateway knows every connection by the door that it came through.
 */
import { Agent, type IncomingMessage } from "node:http";
import { connect, isIP, type LookupFunction, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { type ConnectionStats, type PrepareRequestFunctionOpts, RequestError, Server } from "proxy-chain";
import type { Places } from "../lib/descriptors.ts";
import type { Logger } from "../log.ts";
import {
  type Destination,
  type EgressRecord,
  type EgressRule,
  normalizeHost,
  refusal,
} from "../protocol/egress.ts";
import { type EgressDoor, openDoor } from "./door.ts";
import { publicAddresses, trustedAddresses, Unreachable } from "./resolve.ts";

/** A connection of a sandbox, and the one destination that it is for. */
type Passage = { door: EgressDoor; record: EgressRecord; startedAt: number };

const IDLE_MS = 10 * 60_000;
/** Limits of one session at a time. */
const MAX_LOOKUPS = 64;

export class EgressGateway implements AsyncDisposable {
  readonly #proxy: Server;
  readonly #passages = new Map<number, Passage>();
  readonly #arriving = new WeakMap<object, EgressDoor>();
  readonly #trusted: ReadonlySet<string>;
  readonly #places: Places;
  /** No connection is used for two sessions, or kept for later. */
  readonly #agent = new Agent({ keepAlive: false });

  /** `trusted` are hosts with their ports that the operator has named, such as package indexes: they may be private. */
  constructor(trusted: readonly Destination[], places: Places, log: Logger) {
    this.#places = places;
    this.#trusted = new Set(trusted.map(({ host, port }) => `${host}:${port}`));
    this.#proxy = new Server({
      authRealm: "era",
      prepareRequestFunction: (asked) => this.#prepare(asked),
    });
    // One request, one connection to a site: what a program sends ahead on a connection would open any number of them.
    this.#proxy.server.maxRequestsPerSocket = 1;
    this.#proxy.server.removeAllListeners("connect");
    this.#proxy.server.on("connect", (request, socket, head) => void this.#tunnel(request, socket, head));
    this.#proxy.on("requestFailed", ({ error }) =>
      log.info({ err: error }, "a request to the internet failed"),
    );
    this.#proxy.on("connectionClosed", ({ connectionId, stats }) => {
      const passage = this.#passages.get(connectionId);
      this.#passages.delete(connectionId);
      if (passage !== undefined) finish(passage, stats);
    });
  }

  /** Why a door does not lead to a destination, or null: what the operator trusts, every door leads to that is open. */
  #refusal({ rule }: EgressDoor, to: Destination): string | null {
    return rule !== false && this.#isTrusted(to) ? null : refusal(rule, to);
  }

  #isTrusted({ host, port }: Destination): boolean {
    return this.#trusted.has(`${host}:${port}`);
  }

  /** Opens a door at a path, closed to everything until it is given a rule. */
  async open(path: string, onRecord: (record: EgressRecord) => void): Promise<EgressDoor> {
    return openDoor(path, {
      places: this.#places,
      admit: (socket, door) => this.#admit(socket, door),
      onRecord,
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#proxy.closeConnections();
    this.#agent.destroy();
  }

  #admit(socket: Socket, door: EgressDoor): void {
    // The proxy takes a socket without an address for one that is gone already.
    Object.defineProperty(socket, "remoteAddress", { value: "sandbox" });
    this.#arriving.set(socket, door);
    socket.setTimeout(IDLE_MS);
    this.#proxy.server.emit("connection", socket);
  }

  /** In place of the library's own, which leaves the far side of a tunnel open when the near one has hung up. */
  async #tunnel(request: IncomingMessage, source: Duplex, head: Buffer): Promise<void> {
    try {
      const { dnsLookup: lookup, trgParsed } = await this.#proxy.prepareRequestHandling(request);
      const host = trgParsed?.hostname.replace(/^\[|\]$/g, "") ?? "";
      const target = connect({ host, port: Number(trgParsed?.port), ...(lookup ? { lookup } : {}) });
      target.setTimeout(IDLE_MS, () => target.destroy());
      target.on("error", () => source.destroy());
      target.once("close", () => source.end());
      source.on("error", () => target.destroy());
      source.once("close", () => target.destroy());
      target.once("connect", () => {
        source.write("HTTP/1.1 200 Connection Established\r\n\r\n");
        target.write(head);
        source.pipe(target);
        target.pipe(source);
      });
    } catch (error) {
      this.#proxy.failRequest(request, error as Error);
    }
  }

  async #prepare({ request, connectionId, hostname, port }: PrepareRequestFunctionOpts) {
    const door = this.#arriving.get(request.socket);
    if (door === undefined) throw new RequestError("Unknown connection", 400);
    const host = normalizeHost(hostname);
    if (host === null) throw new RequestError(`'${hostname.slice(0, 300)}' cannot be a host`, 400);
    // A tunnel that is asked for behind a plain request is not counted by `maxRequestsPerSocket`.
    if (this.#passages.has(connectionId)) throw new RequestError("One request on each connection\n", 400);
    const to = { host, port };
    const at = new Date().toISOString();
    const record: EgressRecord = { at, ...to, refused: null, sentBytes: 0, receivedBytes: 0, durationMs: 0 };
    this.#passages.set(connectionId, { door, record, startedAt: performance.now() });
    try {
      refuseForgery(request, to);
      const addresses = await this.#addresses(door, to);
      if (request.socket.destroyed) throw new RequestError("It has hung up", 400);
      return { dnsLookup: pinned(addresses) as never, httpAgent: this.#agent };
    } catch (error) {
      record.refused = error instanceof Error ? error.message.trim() : String(error);
      if (!(error instanceof Unreachable)) throw error;
      throw new RequestError(`${error.message}\n`, 403);
    }
  }

  async #addresses(door: EgressDoor, to: Destination): Promise<string[]> {
    const reason = this.#refusal(door, to);
    if (reason !== null) throw new Unreachable(reason);
    if (door.lookups >= MAX_LOOKUPS) throw new Unreachable("Too many names are being looked up");
    door.lookups += 1;
    const looked = this.#isTrusted(to) ? trustedAddresses(to.host) : publicAddresses(to.host);
    const addresses = await looked.finally(() => {
      door.lookups -= 1;
    });
    // Asked again: the rule may have been changed, and the door's connections been looked through, meanwhile.
    const now = this.#refusal(door, to);
    if (now !== null) throw new Unreachable(now);
    return addresses;
  }

  /** Sets what a door leads to, and ends its connections to what it does not lead to any more. */
  change(door: EgressDoor, rule: EgressRule): void {
    door.rule = rule;
    for (const [id, passage] of this.#passages) {
      if (passage.door === door && this.#refusal(door, passage.record) !== null)
        this.#proxy.closeConnection(id);
    }
  }
}

function finish({ door, record, startedAt }: Passage, stats: ConnectionStats | undefined): void {
  record.durationMs = Math.round(performance.now() - startedAt);
  if (record.refused === null) {
    record.sentBytes = stats?.srcRxBytes ?? 0;
    record.receivedBytes = stats?.srcTxBytes ?? 0;
  }
  door.onRecord(record);
}

const AUTHORITY = /^[^/?#@\\\s]+:\d{1,5}$/;

/** A request that names one host to the proxy and another to the server behind it is no honest one. */
function refuseForgery({ method, url, headers, rawHeaders }: IncomingMessage, to: Destination): void {
  if (method === "CONNECT") {
    if (!AUTHORITY.test(url ?? "")) throw new RequestError("A tunnel leads to a host and a port\n", 400);
    return;
  }
  const names = rawHeaders.filter((name, at) => at % 2 === 0 && name.toLowerCase() === "host");
  const named = names.length > 1 ? null : /^(.*?)(?::(\d{1,5}))?$/.exec(headers.host ?? "");
  const host = normalizeHost(named?.[1] ?? "");
  if (host !== to.host || Number(named?.[2] ?? 80) !== to.port)
    throw new RequestError("The header 'Host' names another host than the request\n", 400);
}

/** Answers what was found before, whatever is asked. */
function pinned(addresses: readonly string[]): LookupFunction {
  const all = addresses.map((address) => ({ address, family: isIP(address) }));
  return (_host, options, callback) => {
    const [first] = all;
    if (options.all) callback(null, all);
    else callback(null, first?.address ?? "", first?.family ?? 4);
  };
}
