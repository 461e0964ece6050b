/** A sandbox's way to the internet: a door in its folder, with the rule of whoever holds the sandbox. */
import type { EgressDoor } from "../egress/door.ts";
import type { EgressGateway } from "../egress/gateway.ts";
import type { EgressRecord, EgressRule } from "../protocol/egress.ts";
import { egressSocket } from "./folder.ts";
import type { AttachedService, Service } from "./services.ts";

export class EgressService {
  readonly #gateway: EgressGateway;
  readonly #onRecord: (record: EgressRecord) => void;
  #rule: EgressRule = false;
  #door: EgressDoor | null = null;

  /** `onRecord` hears of each destination that a program has asked for. */
  constructor(gateway: EgressGateway, onRecord: (record: EgressRecord) => void) {
    this.#gateway = gateway;
    this.#onRecord = onRecord;
  }

  /** What may be reached from now on, open connections included. */
  allow(rule: EgressRule): void {
    this.#rule = rule;
    if (this.#door !== null) this.#gateway.change(this.#door, rule);
  }

  readonly attach: Service = async (live): Promise<AttachedService> => {
    const open = async ({ folder }: typeof live) => {
      await close();
      this.#door = await this.#gateway.open(egressSocket(folder), this.#onRecord);
      this.#gateway.change(this.#door, this.#rule);
    };
    const close = async () => {
      const door = this.#door;
      this.#door = null;
      await door?.[Symbol.asyncDispose]();
    };
    await open(live);
    return { freeze: close, thaw: open, [Symbol.asyncDispose]: close };
  };
}
