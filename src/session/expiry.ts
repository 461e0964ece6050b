/**
 * Sessions that nobody has used for as long as they are kept: they are deleted. All of them are looked at in turn, a
 * few at a time, so that many cost no more at once than few: of 100,000 each is looked at every ten minutes.
 */
import type { Logger } from "../log.ts";
import { AppError } from "../protocol/errors.ts";
import type { SessionSummary, SessionUse, Store } from "../store/store.ts";

type Sessions = {
  /** Whether it is used now, or was within a time: then it stays. */
  isInUse(id: string, withinMs: number): boolean;
  delete(id: string): Promise<void>;
};

type ExpiryOptions = {
  store: Pick<Store, "listUse">;
  sessions: Sessions;
  /** How long one is kept that does not say so itself; null for ever. */
  expireMs: number | null;
  log: Logger;
  everyMs?: number;
};

const LOOK_EVERY_MS = 3_000;
const ROWS = 500;

export class Expiry {
  readonly #options: ExpiryOptions;
  readonly #timer: NodeJS.Timeout;
  #place = 0;
  #looking: Promise<void> | null = null;

  constructor(options: ExpiryOptions) {
    this.#options = options;
    this.#timer = setInterval(() => {
      this.#looking ??= this.#look()
        .catch((error: unknown) =>
          options.log.error({ err: error }, "cannot look for sessions that have expired"),
        )
        .finally(() => {
          this.#looking = null;
        });
    }, options.everyMs ?? LOOK_EVERY_MS);
    this.#timer.unref();
  }

  async #look(): Promise<void> {
    const { store, sessions, expireMs, log } = this.#options;
    const rows = await store.listUse(this.#place, ROWS);
    this.#place = rows.length < ROWS ? 0 : (rows.at(-1)?.place ?? 0);
    const now = Date.now();
    for (const { id, ...use } of rows) {
      const endsAt = endOf(use, expireMs);
      if (endsAt === null || endsAt > now || sessions.isInUse(id, endsAt - Date.parse(use.usedAt))) continue;
      await sessions.delete(id).catch((error: unknown) => {
        if (!(error instanceof AppError)) throw error; // somebody was quicker
      });
      log.info({ session: id }, "expired");
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    await this.#looking;
  }
}

/** When a session ends by itself, in milliseconds since 1970; null for never. */
function endOf(
  { expiresAfter, usedAt }: Pick<SessionUse, "expiresAfter" | "usedAt">,
  expireMs: number | null,
) {
  const afterMs = expiresAfter === null ? expireMs : expiresAfter === 0 ? null : expiresAfter * 1000;
  return afterMs === null ? null : Date.parse(usedAt) + afterMs;
}

/** When it was used last, and when it ends if nobody uses it from now on, as a list shows it. */
export function lifeOf(row: Readonly<SessionSummary>, expireMs: number | null) {
  const { createdAt, lastRunAt, touchedAt = "", expiresAfter } = row;
  const usedAt = [createdAt, lastRunAt, touchedAt].sort().at(-1) ?? createdAt;
  const endsAt = endOf({ expiresAfter, usedAt }, expireMs);
  return { last_used_at: usedAt, expires_at: endsAt === null ? null : new Date(endsAt).toISOString() };
}
