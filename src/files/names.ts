/** Names in a folder, one after the other: a guest may have made any number of them. */
import { type Dirent, opendirSync } from "node:fs";
import { opendir } from "node:fs/promises";
import { nullIfMissing } from "../lib/missing.ts";

const BATCH = 256;

/** Without holding up others meanwhile; nothing of a folder that has gone. */
export async function* eachEntry(folder: string): AsyncGenerator<Dirent> {
  const open = await opendir(folder, { bufferSize: BATCH }).catch(nullIfMissing);
  if (open !== null) yield* open;
}

/** Names are bytes, whatever a guest took for them. */
export function* eachName(folder: Buffer): Generator<Buffer> {
  // Buffers both ways, which Node's types do not know of here.
  using open = opendirSync(folder as unknown as string, { encoding: "buffer" as BufferEncoding });
  for (let entry = open.readSync(); entry !== null; entry = open.readSync())
    yield entry.name as unknown as Buffer;
}

export function joinName(folder: Buffer, name: Buffer): Buffer {
  return Buffer.concat([folder, Buffer.from("/"), name]);
}
