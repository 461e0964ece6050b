/** Exports and imports in progress: each has a folder, for as long as its client takes. */
import { Places } from "../../lib/descriptors.ts";
import { AppError } from "../../protocol/errors.ts";

const AT_ONCE = 16;

export class Moves {
  readonly #places = new Places(AT_ONCE);

  /** Whoever begins one calls what this answers at its end. Throws when there are too many. */
  take(): () => void {
    if (!this.#places.take())
      throw new AppError("host_exhausted", `Cannot begin: ${AT_ONCE} sessions are exported or imported now`, {
        hint: "Try again when one of them has ended",
      });
    let isTaken = true;
    return () => {
      if (isTaken) this.#places.giveBack();
      isTaken = false;
    };
  }
}
