/** The keys of the API: who holds one, and how much it has used of what it may. All of them are in memory. */
import { createHash, timingSafeEqual } from "node:crypto";
import { randomBase36 } from "../lib/random-id.ts";
import { AppError } from "../protocol/errors.ts";
import { keyIn } from "../protocol/session-names.ts";
import type { ApiKey, KeyLimits, KeyScope, Store } from "../store/store.ts";
import { OPERATOR, type Tenant, tenantOf } from "./tenant.ts";

const TOKEN = /^era_(k[a-z0-9]{8})_[a-z0-9]{32}$/;
/** Whether a text has one in it. */
export const hasKey = (text: string): boolean => /era_k[a-z0-9]{8}_[a-z0-9]{32}/.test(text);

const MINUTE_MS = 60_000;

type Bucket = { tokens: number; at: number };

export class KeyRing {
  readonly #store: Store;
  readonly #operatorKey: string | undefined;
  readonly #keys = new Map<string, ApiKey>();
  readonly #buckets = new Map<string, Bucket>();

  constructor(store: Store, operatorKey: string | undefined) {
    this.#store = store;
    this.#operatorKey = operatorKey;
  }

  async load(): Promise<void> {
    for (const key of await this.#store.listKeys()) this.#keys.set(key.id, key);
  }

  get all(): ApiKey[] {
    return [...this.#keys.values()];
  }

  /** Who a text identifies; null when it is no key of this server. */
  find(text: string): Tenant | null {
    if (this.#operatorKey !== undefined && equal(digestOf(text), digestOf(this.#operatorKey)))
      return OPERATOR;
    const key = this.#keys.get(TOKEN.exec(text)?.[1] ?? "");
    return key !== undefined && equal(digestOf(text), Buffer.from(key.hash, "hex")) ? tenantOf(key) : null;
  }

  /** Whose a session is, by its name. */
  ownerOf(sessionId: string): Tenant {
    const key = this.#keys.get(keyIn(sessionId));
    return key === undefined ? OPERATOR : tenantOf(key);
  }

  /** Makes one; answers it with the text that nobody is told again. */
  async create(name: string, scope: KeyScope, limits: KeyLimits): Promise<{ key: ApiKey; text: string }> {
    const id = `k${randomBase36(8)}`;
    const text = `era_${id}_${randomBase36(32)}`;
    const createdAt = new Date().toISOString();
    const key = { id, name, hash: digestOf(text).toString("hex"), scope, limits, createdAt };
    await this.#store.insertKey(key);
    this.#keys.set(id, key);
    return { key, text };
  }

  /** From now on nobody is let in by it. Rejects with `key_not_found`. */
  async revoke(id: string): Promise<void> {
    if (!this.#keys.delete(id))
      throw new AppError("key_not_found", `Cannot find the key '${id.slice(0, 80)}'`);
    this.#buckets.delete(id);
    await this.#store.deleteKey(id);
  }

  /** Counts a program that is begun; refuses it with `key_limit` when there were too many in a minute. */
  countRun({ keyId, limits }: Tenant): void {
    const most = limits?.runsPerMinute ?? null;
    if (keyId === null || most === null) return;
    const now = performance.now();
    const { tokens, at } = this.#buckets.get(keyId) ?? { tokens: most, at: now };
    const left = Math.min(most, tokens + ((now - at) / MINUTE_MS) * most);
    this.#buckets.set(keyId, { tokens: left < 1 ? left : left - 1, at: now });
    if (left < 1) throw overLimit("runs_per_minute", most, "It takes more in some seconds");
  }
}

export const overLimit = (limit: string, most: number, hint: string): AppError =>
  new AppError("key_limit", `Cannot go on with this key: ${limit} is at most ${most}`, {
    hint,
    extra: { limit },
  });

const digestOf = (text: string) => createHash("sha256").update(text).digest();
const equal = (a: Buffer, b: Buffer) => a.length === b.length && timingSafeEqual(a, b);
