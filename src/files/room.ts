/** What a tree may still take in, shared by all who write into it at the same time. */
import { AppError } from "../protocol/errors.ts";
import { walkFiles } from "./walk.ts";

type Limits = { bytes: number; files: number };

export class Room {
  #left: Limits;

  constructor(left: Limits) {
    this.#left = left;
  }

  /** Throws `disk_full` when there is no room for it. */
  take({ bytes = 0, files = 0 }: Partial<Limits>): void {
    if (bytes > this.#left.bytes || files > this.#left.files) {
      const what = bytes > this.#left.bytes ? `${this.#left.bytes} bytes` : `${this.#left.files} files`;
      throw new AppError("disk_full", `Cannot write the file: over the ${what} that are left`);
    }
    this.#left = { bytes: this.#left.bytes - bytes, files: this.#left.files - files };
  }

  /** What was taken, and is not there after all. */
  giveBack({ bytes = 0, files = 0 }: Partial<Limits>): void {
    this.#left = { bytes: this.#left.bytes + bytes, files: this.#left.files + files };
  }
}

export class Rooms {
  readonly #limits: Limits;
  readonly #open = new Map<string, { room: Promise<Room>; users: number }>();

  constructor(limits: Limits) {
    this.#limits = limits;
  }

  /** The room of a tree, measured when nobody else is writing into it. */
  async use<T>(root: string, write: (room: Room) => Promise<T>): Promise<T> {
    const entry = this.#open.get(root) ?? { room: this.#measure(root), users: 0 };
    this.#open.set(root, entry);
    entry.users += 1;
    try {
      return await write(await entry.room);
    } finally {
      entry.users -= 1;
      if (entry.users === 0) this.#open.delete(root);
    }
  }

  async #measure(root: string): Promise<Room> {
    const { totalBytes, count } = await walkFiles(root, 0);
    const { bytes, files } = this.#limits;
    return new Room({ bytes: Math.max(0, bytes - totalBytes), files: Math.max(0, files - count) });
  }
}
