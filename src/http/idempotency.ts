/** `Idempotency-Key`: a retried request gets the recorded answer, also while the first is still in progress. */
import { createHash } from "node:crypto";
import type { FastifyReply, FastifyRequest } from "fastify";
import { AppError } from "../protocol/errors.ts";
import type { RecordedAnswer, Store } from "../store/store.ts";

type Answer = { status: number; body: unknown };

const MAX_KEY_CHARS = 255;

export class Idempotency {
  readonly #store: Store;
  readonly #pending = new Map<string, { hash: string; answer: Promise<RecordedAnswer> }>();

  constructor(store: Store) {
    this.#store = store;
  }

  /** Answers the request, once for each key in a scope. A refusal is not recorded: nothing has happened then. */
  async reply(
    request: FastifyRequest,
    reply: FastifyReply,
    scope: string,
    work: () => Promise<Answer>,
  ): Promise<FastifyReply> {
    const key = request.headers["idempotency-key"];
    if (key === undefined) {
      const { status, body } = await work();
      return reply.status(status).send(body);
    }
    if (typeof key !== "string" || key === "" || key.length > MAX_KEY_CHARS) {
      throw new AppError(
        "invalid_request",
        `Cannot use the header 'Idempotency-Key': it may have 1 to ${MAX_KEY_CHARS} characters`,
      );
    }
    const { answer, replayed } = await this.#once(scope, key, hashOf(request), work);
    if (replayed) reply.header("idempotency-replayed", "true");
    return reply.status(answer.status).type("application/json; charset=utf-8").send(answer.body);
  }

  async #once(scope: string, key: string, hash: string, work: () => Promise<Answer>) {
    const name = JSON.stringify([scope, key]);
    const pending = this.#pending.get(name);
    if (pending !== undefined)
      return { answer: matching(await pending.answer, pending.hash, hash), replayed: true };
    // Entered before the first wait, so that two requests at the same moment cannot both begin.
    const answer = this.#findOrWork(scope, key, hash, work);
    const shared = answer.then(({ answer }) => answer);
    shared.catch(() => undefined); // a failure reaches the first request; others may not be waiting
    this.#pending.set(name, { hash, answer: shared });
    try {
      return await answer;
    } finally {
      this.#pending.delete(name);
    }
  }

  async #findOrWork(scope: string, key: string, hash: string, work: () => Promise<Answer>) {
    const recorded = await this.#store.findAnswer(scope, key);
    if (recorded !== null) return { answer: matching(recorded, recorded.requestHash, hash), replayed: true };
    const { status, body } = await work();
    const answer = { requestHash: hash, status, body: JSON.stringify(body) };
    await this.#store.recordAnswer(scope, key, answer);
    return { answer, replayed: false };
  }
}

function matching(answer: RecordedAnswer, recordedHash: string, hash: string): RecordedAnswer {
  if (recordedHash !== hash) {
    throw new AppError(
      "idempotency_mismatch",
      "Cannot answer: this Idempotency-Key was used with a different request",
    );
  }
  return answer;
}

function hashOf(request: FastifyRequest): string {
  return createHash("sha256")
    .update(JSON.stringify([request.method, request.url, request.body]))
    .digest("hex");
}
