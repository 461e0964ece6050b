/** The socket in a sandbox's folder through which it reaches the gateway, and the rule for what it leads to. */
import { once } from "node:events";
import { rm } from "node:fs/promises";
import { createServer, type Socket } from "node:net";
import type { Places } from "../lib/descriptors.ts";
import type { EgressRecord, EgressRule } from "../protocol/egress.ts";

const MAX_CONNECTIONS = 128;
/** While the rule lets nothing through, a connection is there to be refused, and gone. */
const MAX_REFUSED = 4;
const REFUSED_MS = 2_000;

export type EgressDoor = AsyncDisposable & {
  rule: EgressRule;
  /** Names that are being looked up for it. */
  lookups: number;
  onRecord: (record: EgressRecord) => void;
};

type Owner = {
  /** For connections, shared by all doors. */
  places: Places;
  admit: (socket: Socket, door: EgressDoor) => void;
  onRecord: (record: EgressRecord) => void;
};

function closed(socket: Socket): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  socket.once("close", () => resolve());
  socket.destroy();
  return promise;
}

export async function openDoor(path: string, { places, admit, onRecord }: Owner): Promise<EgressDoor> {
  await rm(path, { force: true });
  const sockets = new Set<Socket>();
  const door: EgressDoor = {
    rule: false,
    lookups: 0,
    onRecord,
    [Symbol.asyncDispose]: async () => {
      server.close();
      // Awaited: what each has carried is recorded when it closes.
      await Promise.all([...sockets].map(closed));
    },
  };
  const server = createServer((socket) => {
    const isClosed = door.rule === false;
    if ((isClosed && sockets.size >= MAX_REFUSED) || !places.take()) {
      socket.destroy();
      return;
    }
    sockets.add(socket);
    const overdue = isClosed ? setTimeout(() => socket.destroy(), REFUSED_MS) : undefined;
    socket.once("close", () => {
      clearTimeout(overdue);
      sockets.delete(socket);
      places.giveBack();
    });
    admit(socket, door);
  });
  server.maxConnections = MAX_CONNECTIONS;
  server.listen({ path, readableAll: true, writableAll: true });
  await once(server, "listening");
  server.on("error", () => undefined); // a connection could not be taken: the next one may be
  return door;
}
