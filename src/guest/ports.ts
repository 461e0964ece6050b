/**
 * Connections to ports inside a sandbox. The agent dials them from inside, to a second socket in the sandbox's folder,
 * and shows the ticket of the request that each is for; whoever dials without one is turned away.
 */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { rm } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import type { Places } from "../lib/descriptors.ts";

const TICKET_BYTES = 32;
const TIMEOUT_MS = 5_000;
const MAX_STRANGERS = 64;

type Waiter = (connection: Socket | null) => void;

export class SandboxPorts implements AsyncDisposable {
  readonly #path: string;
  readonly #ask: (port: number, ticket: string) => void;
  readonly #places: Places;
  readonly #waiters = new Map<string, Waiter>();
  readonly #strangers = new Set<Socket>();
  readonly #connections = new Set<Socket>();
  #server: Promise<Server> | null = null;

  /** `ask` tells the agent; the socket file is made with the first connection. `places` are those of all sandboxes. */
  constructor(path: string, places: Places, ask: (port: number, ticket: string) => void) {
    this.#path = path;
    this.#places = places;
    this.#ask = ask;
  }

  /** A connection to a port inside; null when nobody listens there. */
  async connect(port: number): Promise<Socket | null> {
    this.#server ??= this.#listen();
    try {
      await this.#server;
    } catch (error) {
      this.#server = null;
      throw error;
    }
    const ticket = randomBytes(TICKET_BYTES / 2).toString("hex");
    const { promise, resolve } = Promise.withResolvers<Socket | null>();
    const overdue = setTimeout(() => this.#settle(ticket, null), TIMEOUT_MS);
    this.#waiters.set(ticket, (connection) => {
      clearTimeout(overdue);
      resolve(connection);
    });
    this.#ask(port, ticket);
    return promise;
  }

  /** The agent says that nobody listens. */
  refused(ticket: string): void {
    this.#settle(ticket, null);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const ticket of [...this.#waiters.keys()]) this.#settle(ticket, null);
    for (const socket of [...this.#strangers, ...this.#connections]) socket.destroy();
    (await this.#server?.catch(() => null))?.close();
  }

  async #listen(): Promise<Server> {
    await rm(this.#path, { force: true });
    const server = createServer((socket) => this.#accept(socket));
    server.listen({ path: this.#path, readableAll: true, writableAll: true });
    await once(server, "listening");
    server.on("error", () => undefined); // a connection could not be taken: the next one may be
    return server;
  }

  #accept(socket: Socket): void {
    if (this.#strangers.size >= MAX_STRANGERS || !this.#places.take()) {
      socket.destroy();
      return;
    }
    this.#strangers.add(socket);
    const patience = setTimeout(() => socket.destroy(), TIMEOUT_MS);
    socket.on("error", () => socket.destroy());
    socket.once("close", () => {
      clearTimeout(patience);
      this.#strangers.delete(socket);
      this.#connections.delete(socket);
      this.#places.giveBack();
    });
    const onReadable = () => {
      const ticket: Buffer | null = socket.read(TICKET_BYTES);
      if (ticket === null) return;
      socket.off("readable", onReadable);
      clearTimeout(patience);
      this.#strangers.delete(socket);
      this.#connections.add(socket);
      if (!this.#settle(ticket.toString("latin1"), socket)) socket.destroy();
    };
    socket.on("readable", onReadable);
  }

  #settle(ticket: string, connection: Socket | null): boolean {
    const waiter = this.#waiters.get(ticket);
    this.#waiters.delete(ticket);
    waiter?.(connection);
    return waiter !== undefined;
  }
}
