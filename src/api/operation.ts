/**
 * One operation of the API, but for its work: routes, the checks of requests, the OpenAPI document, the reference page
 * and the tests are made of this declaration.
 */
import type { z } from "zod";
import type { ErrorCode } from "../protocol/errors.ts";

/** What a key must be allowed to do: look, run and change, or administer. `none` asks for no key. */
type Scope = "none" | "read" | "run" | "admin";

/** A body that is no JSON: its media type, and what it is, in one sentence. */
type Content = { type: string; description: string; schema?: z.ZodType };
export type Answer = z.ZodType | Content;

export type Operation = {
  /** In camelCase, unique: also the name of the method of a client. */
  id: string;
  method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** With parameters as in `/api/sessions/{id}`; see params.ts. `{path}` takes the rest, with its slashes. */
  path: string;
  /** A heading of the reference. */
  tag:
    | "Runs"
    | "Sessions"
    | "State"
    | "Files"
    | "Stored code"
    | "Processes"
    | "Packages and network"
    | "Keys"
    | "Server";
  /** One sentence without a full stop. */
  summary: string;
  description?: string;
  scope: Scope;
  query?: z.ZodObject;
  body?: z.ZodObject | Content;
  /** By status, the ordinary one first. An answer without a body is null. */
  answers: Readonly<Record<number, Answer | null>>;
  /** Refusals besides those that any request can get. */
  errors: readonly ErrorCode[];
  /** It takes an `Idempotency-Key`. */
  once?: true;
  /** What a refusal of its query or body says besides: how it is written, or its sentence once more as `message`. */
  onInvalid?: { usage: string } | "message";
  /** A request that works on the example session, and is run by a test. */
  example?: {
    params?: Record<string, string | number>;
    query?: Record<string, string | number>;
    body?: unknown;
  };
};

/** Keeps the literal types of a declaration. */
export const operation = <const O extends Operation>(declared: O): O => declared;

export const isSchema = (answer: Answer | z.ZodObject): answer is z.ZodType => "safeParse" in answer;

/** Refusals that any operation can get. */
export const COMMON_ERRORS: readonly ErrorCode[] = [
  "invalid_json",
  "invalid_request",
  "unauthorized",
  "forbidden_origin",
  "scope_missing",
  "key_limit",
  "key_forbids",
  "body_too_large",
  "internal",
  "host_exhausted",
  "host_disk_full",
  "store_unavailable",
  "session_elsewhere",
  "shutting_down",
];

/** Refusals of whatever needs a session that is there. */
export const OF_A_SESSION: readonly ErrorCode[] = [
  "invalid_session_id",
  "session_not_found",
  "session_deleted",
];

/** Refusals of whatever may start a sandbox, or wake a session. */
export const OF_A_SANDBOX: readonly ErrorCode[] = [
  ...OF_A_SESSION,
  "sandbox_failed",
  "no_slot",
  "disk_full",
  "save_failed",
  "memory_too_small",
];
