/**
 * Connections from outside to what listens in a session. One that sleeps with its processes is woken by them; one whose
 * processes stand still, while they are put into a snapshot or copied, is waited for. However many come, they wait for
 * one turn.
 */
import type { Socket } from "node:net";
import type { SessionRecords } from "../records.ts";
import type { Tenancy } from "./tenancy.ts";

export class Incoming {
  readonly #records: SessionRecords;
  readonly #sandbox: Tenancy;
  readonly #wake: () => Promise<void>;
  readonly #onClosed: () => void;
  readonly #open = new Set<Socket>();
  #waking: Promise<void> | null = null;

  /**
   * `wake` takes a turn of the session, and has its processes there when it has a snapshot of them. `onClosed` is
   * called when a connection has ended.
   */
  constructor(
    records: SessionRecords,
    sandbox: Tenancy,
    { wake, onClosed }: { wake: () => Promise<void>; onClosed: () => void },
  ) {
    this.#onClosed = onClosed;
    this.#records = records;
    this.#sandbox = sandbox;
    this.#wake = wake;
  }

  /** Null when nothing listens on the port, or when the session sleeps without its processes. */
  async connect(port: number): Promise<Socket | null> {
    if (isAway(this.#records, this.#sandbox)) {
      this.#waking ??= this.#wake().finally(() => {
        this.#waking = null;
      });
      await this.#waking;
    }
    const connection = (await this.#sandbox.live?.ports.connect(port)) ?? null;
    if (connection === null) return null;
    this.#open.add(connection);
    connection.once("close", () => {
      this.#open.delete(connection);
      this.#onClosed();
    });
    if (!this.#records.settings.allowPublicAccess) connection.destroy(); // closed to others while this one was on its way
    return connection;
  }

  /** Whether somebody has a connection. */
  get isInUse(): boolean {
    return this.#open.size > 0;
  }

  /** Ends all that are open: the session is not to be reached any more. */
  close(): void {
    for (const connection of this.#open) connection.destroy();
  }
}

/** Whether a session's processes are in a snapshot, or stand still for a moment: waking brings them back. */
export function isAway({ snapshot }: SessionRecords, { live, state }: Tenancy): boolean {
  return live === null ? snapshot !== null : live.channel.isLost || state.kind === "frozen";
}
