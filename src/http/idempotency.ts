/** `Idempotency-Key`: a retried request gets the recorded answer, also while the first is still in progress. */
import { createHash } from "node:crypto";
import type { FastifyReply, FastifyRequest } from "fastify";
import { AppError, BugError } from "../protocol/errors.ts";
import type { KnownAnswer, RecordedAnswer, Store } from "../store/store.ts";

export type IdempotencyKey = { key: string; requestHash: string };
/** Work that may reserve the key for a run in the store itself, before the run begins. */
type Work = (key: IdempotencyKey | null) => Promise<unknown>;
/** The answer of a run that a key was reserved for; null when it turns out never to have begun. */
type OfRun = (runId: string) => Promise<unknown>;
/** Work that is done once for each key in a scope, and the status that it is answered with. */
export type Keyed = { scope: string; status: number; work: Work; ofRun?: OfRun };

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
    { scope, status, work, ofRun = neverReserved }: Keyed,
  ): Promise<FastifyReply> {
    const key = request.headers["idempotency-key"];
    if (key === undefined) {
      return reply.status(status).send(await work(null));
    }
    if (typeof key !== "string" || key === "" || key.length > MAX_KEY_CHARS) {
      throw new AppError(
        "invalid_request",
        `Cannot use the header 'Idempotency-Key': it may have 1 to ${MAX_KEY_CHARS} characters`,
      );
    }
    const { answer, replayed } = await this.#once({ scope, status, work, ofRun }, key, hashOf(request));
    if (replayed) reply.header("idempotency-replayed", "true");
    return reply.status(answer.status).type("application/json; charset=utf-8").send(answer.body);
  }

  async #once(keyed: Required<Keyed>, key: string, hash: string) {
    const name = JSON.stringify([keyed.scope, key]);
    const pending = this.#pending.get(name);
    if (pending !== undefined) {
      refuseOther(pending.hash, hash);
      return { answer: await pending.answer, replayed: true };
    }
    // Entered before the first wait, so that two requests at the same moment cannot both begin.
    const answer = this.#findOrWork(keyed, key, hash);
    const shared = answer.then(({ answer }) => answer);
    shared.catch(() => undefined); // a failure reaches the first request; others may not be waiting
    this.#pending.set(name, { hash, answer: shared });
    try {
      return await answer;
    } finally {
      this.#pending.delete(name);
    }
  }

  async #findOrWork({ scope, status, work, ofRun }: Required<Keyed>, key: string, hash: string) {
    const found = await this.#store.findAnswer(scope, key);
    if (found !== null) refuseOther(found.requestHash, hash);
    const recorded = found === null ? null : recordedIn(found);
    if (recorded !== null) return { answer: recorded, replayed: true };
    const runId = found?.runId ?? null;
    const known = runId === null ? null : await ofRun(runId);
    if (known === null && found !== null && found.status !== null) throw answerRemoved();
    const body = known ?? (await work({ key, requestHash: hash }));
    const answer = { requestHash: hash, status, body: JSON.stringify(body) };
    await this.#store.recordAnswer(scope, key, answer);
    return { answer, replayed: known !== null };
  }
}

function recordedIn({ requestHash, status, body }: KnownAnswer): RecordedAnswer | null {
  return status === null || body === null ? null : { requestHash, status, body };
}

const answerRemoved = () =>
  new AppError(
    "answer_removed",
    "Cannot answer again: the request was answered, and its answer has made room for newer ones",
  );

function refuseOther(knownHash: string, hash: string): void {
  if (knownHash === hash) return;
  throw new AppError(
    "idempotency_mismatch",
    "Cannot answer: this Idempotency-Key was used with a different request",
  );
}

async function neverReserved(): Promise<never> {
  throw new BugError("a key was reserved for a run where there are none");
}

/** The hash of what a client sent, byte for byte: what a body means may be nested deeper than anything can walk. */
function hashOf({ method, url, bodyHash }: FastifyRequest): string {
  return createHash("sha256")
    .update(JSON.stringify([method, url, bodyHash]))
    .digest("hex");
}
