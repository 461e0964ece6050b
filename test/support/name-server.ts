/** A name server of the test's own: answers A queries from a table; a name may change its mind with each question. */
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";

type Answers = (name: string) => string[];

const TYPE_A = 1;

export async function startNameServer(address: string, answers: Answers): Promise<Socket> {
  const socket = createSocket("udp4");
  socket.on("message", (query, from) => socket.send(answer(query, answers), from.port, from.address));
  socket.bind(53, address);
  await once(socket, "listening");
  return socket;
}

function answer(query: Buffer, answers: Answers): Buffer {
  const { name, end } = questionOf(query);
  const type = query.readUInt16BE(end);
  const found = type === TYPE_A ? answers(name) : [];
  const header = Buffer.from(query.subarray(0, 12));
  header.writeUInt16BE(0x8180, 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(found.length, 6);
  header.writeUInt32BE(0, 8);
  const records = found.map((text) =>
    Buffer.from([0xc0, 0x0c, 0, TYPE_A, 0, 1, 0, 0, 0, 0, 0, 4, ...text.split(".").map(Number)]),
  );
  return Buffer.concat([header, query.subarray(12, end + 4), ...records]);
}

function questionOf(query: Buffer): { name: string; end: number } {
  const labels: string[] = [];
  let at = 12;
  for (let size = query[at] ?? 0; size > 0; size = query[at] ?? 0) {
    labels.push(query.toString("latin1", at + 1, at + 1 + size));
    at += size + 1;
  }
  return { name: labels.join(".").toLowerCase(), end: at + 1 };
}
