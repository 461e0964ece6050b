import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, request } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { after, test } from "node:test";
import { boundConnections } from "./bound-connections.ts";

const held: (() => void)[] = [];
/** Answers at once, or, for /slow, when the test says so. */
const server = createServer((incoming, answer) => {
  if (incoming.url === "/slow") held.push(() => answer.end("slow"));
  else answer.end("quick");
});
boundConnections(server, 8);
server.listen(0, "127.0.0.1");
await once(server, "listening");
const { port } = server.address() as AddressInfo;
after(() => server.close());

const open = async (from = "127.0.0.1"): Promise<Socket> => {
  const socket = connect({ port, host: "127.0.0.1", localAddress: from });
  socket.on("error", () => undefined);
  await once(socket, "connect");
  return socket;
};

const get = (path: string, from = "127.0.0.1") =>
  new Promise<string>((resolve, reject) => {
    const options = { port, host: "127.0.0.1", localAddress: from, path, agent: false };
    const asked = request(options, (answer) => {
      let text = "";
      answer.setEncoding("utf8").on("data", (part: string) => {
        text += part;
      });
      answer.on("end", () => resolve(text));
    });
    asked.on("error", reject).end();
  });

test("a connection without a request makes way for a new one; those with a request stay", async () => {
  const working = [get("/slow"), get("/slow")];
  while (held.length < 2) await once(server, "request");
  const idle = [];
  for (let at = 0; at < 20; at++) idle.push(await open());
  assert.equal(await get("/"), "quick");
  for (const end of held.splice(0)) end();
  assert.deepEqual(await Promise.all(working), ["slow", "slow"]);
  for (const socket of idle) socket.destroy();
});

test("one address cannot take the places of all", async () => {
  const greedy = [];
  for (let at = 0; at < 6; at++) greedy.push(get("/slow", "127.0.0.2"));
  while (held.length < 6) await once(server, "request");
  await assert.rejects(get("/slow", "127.0.0.2"), "the seventh of one address finds nobody who makes way");
  assert.equal(await get("/", "127.0.0.3"), "quick");
  for (const end of held.splice(0)) end();
  assert.deepEqual(new Set(await Promise.all(greedy)), new Set(["slow"]));
});
