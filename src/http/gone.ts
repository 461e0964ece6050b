import type { FastifyReply } from "fastify";

/** Fires when the client has gone before its answer was sent whole: nobody waits for the work any more. */
export function goneSignal(reply: FastifyReply): AbortSignal {
  const gone = new AbortController();
  reply.raw.once("close", () => {
    if (!reply.raw.writableFinished) gone.abort(new Error("the client has gone"));
  });
  return gone.signal;
}
