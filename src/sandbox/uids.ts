/**
 * Host user ids for sandboxes, one for each session folder, from a reserved range. A uid that is free again keeps its
 * user namespace open for the next holder: making one costs 5 ms, and nothing of a session lives in it.
 */
import type { FileHandle } from "node:fs/promises";
import { openUserNamespace } from "./user.ts";

const RANGE = 1_000_000;
/** The share of uids that are free among the namespaces that are kept open for later. */
const IDLE_SHARE = 0.2;

export class UidRange {
  readonly #base: number;
  readonly #maxIdle: number;
  readonly #maxResting: number;
  readonly #used: Set<number>;
  readonly #idle = new Map<number, FileHandle>();
  readonly #open = new Map<number, FileHandle>();
  /** Namespaces of uids whose sessions sleep, in the order in which they went to sleep. */
  readonly #resting = new Map<number, FileHandle>();
  #next: number;

  /** `used` are the uids of folders that exist; `maxKept` bounds the namespaces that are kept open for later. */
  constructor(base: number, used: Iterable<number>, maxKept: number) {
    this.#maxIdle = Math.floor(maxKept * IDLE_SHARE);
    this.#maxResting = maxKept - this.#maxIdle;
    this.#base = base;
    this.#used = new Set(used);
    this.#next = base;
  }

  acquire(): number {
    const idle = this.#idle.entries().next().value;
    if (idle !== undefined) {
      this.#idle.delete(idle[0]);
      this.#open.set(...idle);
      this.#used.add(idle[0]);
      return idle[0];
    }
    for (let tried = 0; tried < RANGE; tried++) {
      const uid = this.#next;
      this.#next = this.#base + ((this.#next + 1 - this.#base) % RANGE);
      if (!this.#used.has(uid)) {
        this.#used.add(uid);
        return uid;
      }
    }
    throw new Error(`Cannot find a free uid: all ${RANGE} from ${this.#base} are in use`);
  }

  /** Descriptor of the uid's user namespace; it stays open until release(). */
  async namespaceFd(uid: number): Promise<number> {
    const known = this.#open.get(uid);
    if (known !== undefined) return known.fd;
    const handle = this.#resting.get(uid) ?? (await openUserNamespace(uid));
    this.#resting.delete(uid);
    this.#open.set(uid, handle);
    return handle.fd;
  }

  /**
   * The uid has no process left, but still owns a folder: the namespaces of those that rested last are kept for a
   * while.
   */
  async rest(uid: number): Promise<void> {
    const handle = this.#open.get(uid);
    if (handle === undefined) return;
    this.#open.delete(uid);
    this.#resting.set(uid, handle);
    if (this.#resting.size <= this.#maxResting) return;
    const [oldest] = this.#resting;
    if (oldest === undefined) return;
    this.#resting.delete(oldest[0]);
    await oldest[1].close();
  }

  /** Nothing is left that belongs to the uid. */
  async release(uid: number): Promise<void> {
    const handle = this.#open.get(uid) ?? this.#resting.get(uid);
    this.#open.delete(uid);
    this.#resting.delete(uid);
    this.#used.delete(uid);
    if (handle === undefined) return;
    if (this.#idle.size < this.#maxIdle) this.#idle.set(uid, handle);
    else await handle.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const handles of [this.#idle, this.#resting, this.#open])
      for (const handle of handles.values()) await handle.close();
    this.#idle.clear();
    this.#resting.clear();
    this.#open.clear();
  }
}
