/**
 * Bounds the connections of clients, of one address and of all, so that no number of them takes the descriptors that
 * the server works with. Where there is no place for a new one, the one that has been without a request for longest
 * makes way: whoever only holds connections open holds up nobody.
 */
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { Socket } from "node:net";

/** The share of all places that one address may have: a proxy in front of this server is one address. */
const SHARE_OF_ONE = 0.75;

type Entry = { address: string; requests: number };

/** Answers what ends every connection that is without a request, and takes no new one: the server is about to stop. */
export function boundConnections(server: Server, max: number): () => void {
  const maxOfOne = Math.max(1, Math.floor(max * SHARE_OF_ONE));
  /** In the order in which they last came, or ended a request. */
  const open = new Map<Socket, Entry>();
  const counts = new Map<string, number>();
  let isStopping = false;

  const makeRoom = (address: string | null): boolean => {
    for (const [socket, entry] of open) {
      if (entry.requests > 0 || (address !== null && entry.address !== address)) continue;
      forget(socket);
      socket.destroy();
      return true;
    }
    return false;
  };
  const forget = (socket: Socket) => {
    const entry = open.get(socket);
    if (entry === undefined) return;
    open.delete(socket);
    const left = (counts.get(entry.address) ?? 0) - 1;
    if (left > 0) counts.set(entry.address, left);
    else counts.delete(entry.address);
  };
  const begin = ({ socket }: IncomingMessage) => {
    const entry = open.get(socket);
    if (entry !== undefined) entry.requests += 1;
  };

  server.on("connection", (socket) => {
    const address = socket.remoteAddress ?? "";
    const isFull =
      isStopping ||
      ((counts.get(address) ?? 0) >= maxOfOne && !makeRoom(address)) ||
      (open.size >= max && !makeRoom(null));
    if (isFull) {
      socket.destroy();
      return;
    }
    open.set(socket, { address, requests: 0 });
    counts.set(address, (counts.get(address) ?? 0) + 1);
    socket.once("close", () => forget(socket));
  });
  server.on("request", (request: IncomingMessage, response: ServerResponse) => {
    begin(request);
    response.once("close", () => {
      const entry = open.get(request.socket);
      if (entry === undefined) return;
      entry.requests -= 1;
      if (isStopping && entry.requests === 0) request.socket.destroySoon();
      open.delete(request.socket);
      open.set(request.socket, entry);
    });
  });
  server.on("upgrade", begin); // both ends use it as they like until it closes
  return () => {
    isStopping = true;
    for (const [socket, { requests }] of open) if (requests === 0) socket.destroy();
  };
}
