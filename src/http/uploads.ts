/** Bodies that are streams, of any type and size. */
import type { Readable } from "node:stream";
import type { FastifyInstance, FastifyRequest } from "fastify";

/** Without a byte of an upload, or of an export: either holds a session's folder. */
export const STALLED_MS = 120_000;
export const UPLOAD = { bodyLimit: Number.MAX_SAFE_INTEGER, config: { isStream: true } };

/** Routes whose bodies nobody parses. */
export function acceptStreams(app: FastifyInstance, add: (uploads: FastifyInstance) => void): void {
  void app.register(async (uploads) => {
    uploads.removeAllContentTypeParsers();
    uploads.addContentTypeParser("*", (_request, payload, done) => done(null, payload));
    add(uploads);
  });
}

/**
 * Has a body taken in; what is left of one that is refused is read all the same, so that the client hears the answer.
 */
export async function receive<T>(request: FastifyRequest, take: (body: Readable) => Promise<T>): Promise<T> {
  const body = (request.body ?? request.raw) as Readable;
  request.raw.setTimeout(STALLED_MS, () => request.raw.destroy());
  try {
    return await take(body);
  } finally {
    request.raw.setTimeout(0);
    body.resume();
  }
}
