/** A session's data: one JSON object, as it is stored and as the guest finds it in .session_data.json. */
import { isShallow } from "../../lib/json-depth.ts";
import { AppError } from "../../protocol/errors.ts";
import type { JsonObject } from "../../store/store.ts";

/** The size of the object as JSON; the agent reads no larger file (guest/agent/workspace.py). */
const MAX_DATA_CHARS = 2 << 20;
/** Indentation can multiply the size of deep data by its depth: only what is small is made to read well. */
const MAX_INDENTED_CHARS = 16 << 10;

function encodeData(data: JsonObject): string {
  const compact = JSON.stringify(data);
  return compact.length <= MAX_INDENTED_CHARS ? JSON.stringify(data, null, 2) : compact;
}

/** What a guest left in the file; null unless it is a JSON object of sane depth and size. */
export function parseData(content: Buffer): JsonObject | null {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(content));
  } catch {
    return null;
  }
  if (!isObject(value) || !isShallow(value)) return null;
  // Written out again it can be longer than it was: 1e20 becomes 21 digits.
  return JSON.stringify(value).length <= MAX_DATA_CHARS ? value : null;
}

/** Throws `invalid_request` when the data would grow too large with what a run adds to it. */
export function refuseTooMuchData(data: JsonObject, update: JsonObject | null): void {
  if (update === null) return;
  const size = JSON.stringify(data).length + JSON.stringify(update).length;
  if (size <= MAX_DATA_CHARS) return;
  throw new AppError(
    "invalid_request",
    `Cannot use 'update_data': with it the session's data may have over ${MAX_DATA_CHARS} characters`,
  );
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** What the agent was last told that .session_data.json must hold. */
export class ToldData {
  #told: JsonObject | null = null;

  /** The data as it must be told now; null when the agent knows it. What has not changed is the same object. */
  next(data: JsonObject): string | null {
    if (this.#told === data) return null;
    this.#told = data;
    return encodeData(data);
  }

  /** Another agent knows nothing. */
  forget(): void {
    this.#told = null;
  }
}
