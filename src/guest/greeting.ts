/** The first frame of a line: whoever has dialled must say who it is, in a short time. */
import type { Socket } from "node:net";
import type { HelloFrame } from "../protocol/guest.ts";
import { type Frame, FrameError, FrameReader } from "./framing.ts";

/** A hello, and what came behind it. */
export type Greeting = { hello: HelloFrame; reader: FrameReader; rest: Frame[] };

/** Rejects when the other end hangs up, says anything else, or nothing within `patienceMs`. The socket stays open. */
export function awaitHello(
  socket: Socket,
  patienceMs: number,
  isOurs: (hello: HelloFrame) => boolean,
): Promise<Greeting> {
  const { promise, resolve, reject } = Promise.withResolvers<Greeting>();
  const reader = new FrameReader();
  const patience = setTimeout(() => reject(new Error("The agent said nothing")), patienceMs);
  const onEnd = () => reject(new Error("The agent hung up"));
  const onData = (chunk: Buffer) => {
    try {
      const [first, ...rest] = reader.push(chunk);
      if (first === undefined) return;
      if (first.header.type !== "hello" || !isOurs(first.header))
        throw new FrameError("the agent did not say hello");
      socket.pause(); // what follows is for whoever takes the line over
      resolve({ hello: first.header, reader, rest });
    } catch (error) {
      reject(error instanceof Error ? error : new Error(String(error)));
    }
  };
  socket.on("error", reject).on("close", onEnd).on("data", onData);
  const clean = () => {
    clearTimeout(patience);
    socket.off("close", onEnd).off("data", onData);
    socket.on("error", () => socket.destroy());
  };
  promise.then(clean, clean);
  return promise;
}
