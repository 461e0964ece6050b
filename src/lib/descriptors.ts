/** How many file descriptors this process may have, and who may have how many of them. */
import { readFileSync } from "node:fs";

/** Node raises its limit to the most that it may have as it starts. */
export function descriptorLimit(): number {
  const limits = readFileSync("/proc/self/limits", "utf8");
  const [, soft = ""] = /^Max open files\s+(\S+)/m.exec(limits) ?? [];
  return soft === "unlimited" ? Number.MAX_SAFE_INTEGER : Number(soft);
}

export type DescriptorPlan = {
  /** Connections of clients. */
  clients: number;
  /** Connections of programs in sandboxes, of all sessions together. */
  guests: number;
  /** Sandboxes, with all that is held open for one. */
  sandboxes: number;
  /** User namespaces that are kept for later. */
  namespaces: number;
};

/**
 * A socket of its agent, two that it listens on, its standard error, its namespace, three files that tell what it uses,
 * and some for what is done with it.
 */
const PER_SANDBOX = 10;
/** One towards the program, one towards the internet or a client. */
const PER_GUEST_CONNECTION = 2;
const MOST = 65_536;

/** What is left, a fifth, is for the server's own work: files, programs that it starts, the database. */
export function planDescriptors(limit: number): DescriptorPlan {
  const shared = Math.min(limit, MOST);
  return {
    clients: Math.floor(shared * 0.3),
    guests: Math.floor((shared * 0.15) / PER_GUEST_CONNECTION),
    sandboxes: Math.max(1, Math.floor((shared * 0.3) / PER_SANDBOX)),
    namespaces: Math.floor(shared * 0.05),
  };
}

/** Places that are taken one by one, and given back. */
export class Places {
  #free: number;

  constructor(count: number) {
    this.#free = count;
  }

  /** False when there is none. */
  take(): boolean {
    if (this.#free <= 0) return false;
    this.#free -= 1;
    return true;
  }

  giveBack(): void {
    this.#free += 1;
  }
}
