/**
 * What is known of one session, in records with one writer each. Only what changed is written, and the writes of a
 * session reach the store one after the other, in the order in which they were asked for.
 */
import { SerialQueue } from "../lib/serial-queue.ts";
import type { FolderPlace, PlaceStore, SessionPlace, Snapshot } from "../store/places.ts";
import { partsOf } from "../store/session-parts.ts";
import {
  type JsonObject,
  OwnershipLost,
  type RunEffect,
  type RunRow,
  type SessionRow,
  type SessionSettings,
  type SetupRow,
  type Store,
  type StoredCode,
} from "../store/store.ts";
import { Progress } from "./saved/progress.ts";

/** A session as the rest of the server reads it; nobody changes it. */
export type SessionView = Readonly<SessionRow> & Readonly<SessionPlace>;

export class SessionRecords {
  readonly id: string;
  readonly progress: Progress;
  /** Called when a write found that another server has the session. */
  onOwnershipLost: (reason: OwnershipLost) => void = () => undefined;
  readonly #store: Store;
  readonly #places: PlaceStore;
  readonly #writes = new SerialQueue();
  #settings: SessionSettings;
  #data: JsonObject;
  /** The data that the store has. */
  #storedData: JsonObject;
  #code: StoredCode | null;
  #setup: SetupRow | null;
  #place: SessionPlace;

  constructor(row: SessionRow, place: SessionPlace, { store, places }: { store: Store; places: PlaceStore }) {
    const { data, code, setup, settings, progress } = partsOf(row);
    this.id = row.id;
    this.progress = new Progress(progress);
    this.#settings = settings;
    this.#data = data;
    this.#storedData = data;
    this.#code = code;
    this.#setup = setup;
    this.#place = place;
    this.#store = store;
    this.#places = places;
  }

  get settings(): Readonly<SessionSettings> {
    return this.#settings;
  }

  /** Another object after each change. */
  get data(): JsonObject {
    return this.#data;
  }

  get setup(): Readonly<SetupRow> | null {
    return this.#setup;
  }

  get folder(): Readonly<FolderPlace> | null {
    return this.#place.folder;
  }

  get snapshot(): Readonly<Snapshot> | null {
    return this.#place.snapshot;
  }

  get view(): SessionView {
    const [data, code, setup] = [this.#data, this.#code, this.#setup];
    return { ...this.#settings, ...this.progress.now, data, code, setup, ...this.#place };
  }

  changeSettings(change: Partial<SessionSettings>): Promise<void> {
    this.#settings = { ...this.#settings, ...change };
    const settings = this.#settings;
    return this.write(() => this.#store.saveSettings(settings));
  }

  storeCode(code: StoredCode | null): Promise<void> {
    this.#code = code;
    return this.write(() => this.#store.saveCode(this.id, code));
  }

  storeSetup(setup: SetupRow): Promise<void> {
    this.#setup = setup;
    return this.write(() => this.#store.saveSetup(this.id, setup));
  }

  /** Stored with the end of the run that has changed it, or by storeData(). */
  replaceData(data: JsonObject): void {
    this.#data = data;
  }

  storeData(): Promise<void> {
    const data = this.#data;
    this.#storedData = data;
    return this.write(() => this.#store.saveData(this.id, data));
  }

  storeProgress(): Promise<void> {
    const { now } = this.progress;
    return this.write(() => this.#store.saveProgress(this.id, now));
  }

  /** Its files were changed by somebody else than a run. */
  noteChangedFiles(): Promise<void> {
    this.progress.filesChanged();
    return this.storeProgress();
  }

  /** Rejects, and it is where it was, when that cannot be stored. */
  async moveFolder(folder: FolderPlace, durable: boolean): Promise<void> {
    const before = this.#place.folder;
    try {
      await this.#putPlace({ ...this.#place, folder }, durable);
    } catch (error) {
      this.#place = { ...this.#place, folder: before };
      throw error;
    }
  }

  putSnapshot(snapshot: Snapshot | null, durable = false): Promise<void> {
    return this.#putPlace({ ...this.#place, snapshot }, durable);
  }

  #putPlace(place: SessionPlace, durable: boolean): Promise<void> {
    this.#place = place;
    return this.write(() => this.#places.savePlace(this.id, place, durable));
  }

  insertRun(run: RunRow): Promise<void> {
    return this.write(() => this.#store.insertRun(run));
  }

  /** With what the run has changed; nothing of a run that never began. */
  finishRun(run: RunRow, durable = false): Promise<void> {
    const effect: RunEffect = {
      progress: this.progress.now,
      data: this.#data === this.#storedData ? null : this.#data,
    };
    if (effect.data !== null) this.#storedData = effect.data;
    return this.write(async () => {
      try {
        await this.#store.finishRun(run, effect, durable);
      } catch (error) {
        if (effect.data !== null) this.#storedData = {}; // to be written again
        throw error;
      }
    });
  }

  /** Has its turn after all that was asked of the store for this session before. */
  async write<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await this.#writes.add(work);
    } catch (error) {
      if (error instanceof OwnershipLost) this.onOwnershipLost(error);
      throw error;
    }
  }
}
