/**
 * The folder of one session: made when it is first needed, and left for that of a warm sandbox when the session wakes.
 * Whoever works in it by its path holds it meanwhile, so that it stays where it is.
 *
 * A move is written down, on disk, before the first file moves: whoever finds it half done goes on with it before
 * anything else uses either folder. It ends when the new folder is on disk and the old one is gone, with its uid.
 */
import type { Owner } from "../../files/open.ts";
import { removeTree } from "../../lib/remove-tree.ts";
import { SerialQueue } from "../../lib/serial-queue.ts";
import { type Folder, folderAt } from "../../live/folder.ts";
import type { SandboxHost } from "../../live/host.ts";
import { flush, isMovable, moveContent } from "../../live/move-folder.ts";
import { createOwnedFolder, removeFolder } from "../../live/owned-folder.ts";
import { BugError } from "../../protocol/errors.ts";
import type { FolderPlace } from "../../store/places.ts";
import type { SessionRecords } from "../records.ts";

export type HeldFolder = Disposable & {
  /** Null before the session has one. */
  folder: Folder | null;
  /** Whose new files are; null when they are the server's own user's. */
  owner: Owner;
};

type Place = Pick<FolderPlace, "key" | "uid">;

export class SessionFolder {
  readonly #records: SessionRecords;
  readonly #host: SandboxHost;
  readonly #moves = new SerialQueue();
  #holders = 0;
  /** False while a move may be incomplete, including one that an earlier server began. */
  #hasArrived = false;

  constructor(records: SessionRecords, host: SandboxHost) {
    this.#records = records;
    this.#host = host;
  }

  get current(): Folder | null {
    const { folder } = this.#records;
    return folder === null ? null : this.#at(folder);
  }

  #at({ key, uid }: Place): Folder {
    return folderAt(this.#host.config.dataDir, key, uid);
  }

  /** Makes one for it. Rejects, leaving nothing of it, when that cannot be stored. */
  async make(): Promise<void> {
    const made = await createOwnedFolder(this.#host);
    try {
      await this.adopt(made);
    } catch (error) {
      await removeFolder(this.#host, made);
      throw error;
    }
  }

  /** Takes over a folder that was made for it. Rejects, and has none, when that cannot be stored. */
  async adopt(folder: Folder): Promise<void> {
    await this.#records.moveFolder({ key: folder.key, uid: folder.uid }, false);
  }

  /** The folder, to work in by its path; it stays there until it is let go. */
  async hold(): Promise<HeldFolder> {
    while (!this.#hasArrived) await this.finishMove();
    const folder = this.current;
    this.#holders += 1;
    let isHeld = true;
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

  /** Whether it can be left now: nobody works in it, nothing of its last sandbox lives, and it holds few files. */
  get isMovable(): boolean {
    const folder = this.current;
    if (folder === null || !this.#host.asRoot || this.isHeld) return false;
    return (this.#host.cgroups?.open(folder.key).isEmpty() ?? true) && isMovable(folder);
  }

  /**
   * Moves all of it into another, new folder. When it rejects the session may have either folder, and files in each.
   */
  async moveTo(target: Folder): Promise<void> {
    this.#hasArrived = false; // from now on nobody begins to work in it
    await this.#moves.add(() => this.#moveTo(target));
  }

  async #moveTo(target: Folder): Promise<void> {
    const { folder: before } = this.#records;
    if (before === null || before.movedFrom !== undefined) throw new BugError("a folder cannot be moved now");
    const movedFrom = { key: before.key, uid: before.uid };
    await this.#records.moveFolder({ key: target.key, uid: target.uid, movedFrom }, true);
    moveContent(this.#at(movedFrom), target);
    this.#hasArrived = true;
  }

  /** Brings the last move to its end, if it is not there yet. */
  async finishMove(): Promise<void> {
    await this.#moves.add(() => this.#finishMove());
  }

  async #finishMove(): Promise<void> {
    const place = this.#records.folder;
    if (place?.movedFrom === undefined) {
      this.#hasArrived = true;
      return;
    }
    const from = this.#at(place.movedFrom);
    const to = this.#at(place);
    if (!this.#hasArrived) moveContent(from, to);
    this.#hasArrived = true;
    await flush(to);
    await removeTree(from.root);
    await this.#records.moveFolder({ key: to.key, uid: to.uid }, false);
    await this.#host.uids.release(from.uid);
  }

  /** Removes it, and what a move may have left where it was. No process uses it any more. */
  async remove(): Promise<void> {
    await this.#moves.add(async () => {
      for (const place of this.#places) await removeFolder(this.#host, this.#at(place));
    });
  }

  get #places(): Place[] {
    const { folder } = this.#records;
    if (folder === null) return [];
    return folder.movedFrom === undefined ? [folder] : [folder, folder.movedFrom];
  }
}
