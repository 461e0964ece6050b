/**
 * The folder of one session: made when it is first needed, and left for that of a warm sandbox when the session wakes.
 * Whoever works in it by its path holds it meanwhile, so that it stays where it is.
 */
import type { Owner } from "../files/open.ts";
import { BugError } from "../protocol/errors.ts";
import type { SessionRow, Store } from "../store/store.ts";
import { type Folder, folderAt } from "./folder.ts";
import type { SandboxHost } from "./live-sandbox.ts";

export type HeldFolder = Disposable & {
  /** Null before the session has one. */
  folder: Folder | null;
  /** Whose new files are; null when they are the server's own user's. */
  owner: Owner;
};

export class SessionFolder {
  readonly #row: SessionRow;
  readonly #host: SandboxHost;
  readonly #store: Store;
  #holders = 0;
  #moving: Promise<void> | null = null;

  constructor(row: SessionRow, { host, store }: { host: SandboxHost; store: Store }) {
    this.#row = row;
    this.#host = host;
    this.#store = store;
  }

  get current(): Folder | null {
    const { folder } = this.#row;
    return folder === null ? null : this.at(folder);
  }

  at({ key, uid }: { key: string; uid: number }): Folder {
    return folderAt(this.#host.config.dataDir, key, uid);
  }

  /** Takes over a folder that was made for it. Rejects, and has none, when that cannot be stored. */
  async adopt(folder: Folder): Promise<void> {
    this.#row.folder = { key: folder.key, uid: folder.uid };
    try {
      await this.#store.updateSession(this.#row);
    } catch (error) {
      this.#row.folder = null;
      throw error;
    }
  }

  /** The folder, to work in by its path; it stays there until it is let go. */
  async hold(): Promise<HeldFolder> {
    while (this.#moving !== null) await this.#moving;
    this.#holders += 1;
    let isHeld = true;
    const folder = this.current;
    return {
      folder,
      owner: this.#host.asRoot && folder !== null ? { uid: folder.uid } : null,
      [Symbol.dispose]: () => {
        if (isHeld) this.#holders -= 1;
        isHeld = false;
      },
    };
  }

  async holdMade(): Promise<HeldFolder & { folder: Folder }> {
    const held = await this.hold();
    if (held.folder === null) throw new BugError("a folder is held that was not made");
    return { ...held, folder: held.folder };
  }

  get isHeld(): boolean {
    return this.#holders > 0;
  }

  /** While `work` moves the folder, nobody else works in it; it must not be held when this is called. */
  async move<T>(work: () => Promise<T>): Promise<T> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#moving = promise;
    try {
      return await work();
    } finally {
      this.#moving = null;
      resolve();
    }
  }
}
