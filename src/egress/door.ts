/** The socket in a sandbox's folder through which it reaches the gateway, and the rule for what it leads to. */
import { once } from "node:events";
import { rm } from "node:fs/promises";
import { createServer, type Socket } from "node:net";
import type { EgressRecord, EgressRule } from "../protocol/egress.ts";

const MAX_CONNECTIONS = 128;

export type EgressDoor = AsyncDisposable & {
  rule: EgressRule;
  /** Names that are being looked up for it. */
  lookups: number;
  onRecord: (record: EgressRecord) => void;
};

type Owner = {
  admit: (socket: Socket, door: EgressDoor) => void;
  onRecord: (record: EgressRecord) => void;
};

function closed(socket: Socket): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  socket.once("close", () => resolve());
  socket.destroy();
  return promise;
}

export async function openDoor(path: string, { admit, onRecord }: Owner): Promise<EgressDoor> {
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
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    admit(socket, door);
  });
  server.maxConnections = MAX_CONNECTIONS;
  server.listen({ path, readableAll: true, writableAll: true });
  await once(server, "listening");
  server.on("error", () => server.close());
  return door;
}
