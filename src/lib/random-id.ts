import { randomInt } from "node:crypto";

const BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz";

/** `length` random characters of 0-9 and a-z, from the system's secure generator. */
export function randomBase36(length: number): string {
  let text = "";
  for (let at = 0; at < length; at++) text += BASE36[randomInt(36)];
  return text;
}
