/**
 * Every refusal that a client can get: code, status, whether the same request may succeed later, and the next step.
 * docs/errors.md lists the same codes; a test compares the two.
 */

import { shortageIn } from "../lib/shortage.ts";

type Entry = { status: number; retryable: boolean; hint?: string };

export const ERROR_CATALOGUE = {
  invalid_json: { status: 400, retryable: false, hint: "Send one JSON object in UTF-8" },
  invalid_request: { status: 400, retryable: false },
  invalid_session_id: {
    status: 400,
    retryable: false,
    hint: "Use 1 to 128 letters, digits, '-', '_' or ':'",
  },
  unknown_language: { status: 400, retryable: false },
  no_code: {
    status: 400,
    retryable: false,
    hint: "Send the program in the field 'code', or store one with PUT /api/sessions/{id}/code",
  },
  unauthorized: { status: 401, retryable: false, hint: "Send the header 'Authorization: Bearer <key>'" },
  forbidden_origin: {
    status: 403,
    retryable: false,
    hint: "Set ERA_API_KEY and send it, to let web pages of other origins in",
  },
  scope_missing: { status: 403, retryable: false, hint: "Use a key with a wider scope" },
  key_forbids: { status: 403, retryable: false, hint: "Ask whoever made the key" },
  key_limit: { status: 429, retryable: true },
  key_not_found: { status: 404, retryable: false, hint: "GET /api/keys lists them" },
  not_public: {
    status: 403,
    retryable: false,
    hint: 'PATCH the session with {"allowPublicAccess": true}',
  },
  no_stored_code: { status: 404, retryable: false, hint: "Store it with PUT /api/sessions/{id}/code" },
  session_not_found: { status: 404, retryable: false, hint: "Create it with POST /api/sessions" },
  run_not_found: { status: 404, retryable: false },
  process_not_found: {
    status: 404,
    retryable: false,
    hint: "GET /api/sessions/{id}/processes lists those that there are; they end when the session sleeps",
  },
  process_ended: { status: 409, retryable: false },
  process_failed: { status: 422, retryable: false },
  no_terminal: { status: 409, retryable: false, hint: 'Start it with "terminal": true' },
  too_many_processes: { status: 429, retryable: false, hint: "End one: DELETE …/processes/{process_id}" },
  too_many_readers: { status: 429, retryable: true },
  session_asleep: {
    status: 409,
    retryable: true,
    hint: "Ask again: that wakes it, where its processes are kept",
  },
  input_full: { status: 429, retryable: true, hint: "Wait until it reads what it was given before" },
  file_not_found: {
    status: 404,
    retryable: false,
    hint: "GET /api/sessions/{id}/files lists those that there are",
  },
  route_not_found: { status: 404, retryable: false, hint: "GET /reference shows what there is" },
  method_not_allowed: { status: 405, retryable: false },
  session_exists: { status: 409, retryable: false, hint: "Choose another id, or delete the session first" },
  variable_not_found: {
    status: 404,
    retryable: false,
    hint: "GET /api/sessions/{id}/variables lists those that there are",
  },
  no_such_form: {
    status: 406,
    retryable: false,
    hint: "Ask for another 'form', or for a part with 'from' and 'count'",
  },
  nothing_to_undo: {
    status: 409,
    retryable: false,
    hint: "GET /api/sessions/{id}/versions lists how far it goes back",
  },
  nothing_to_redo: { status: 409, retryable: false, hint: "It takes back an undo, until the next run" },
  version_not_kept: {
    status: 404,
    retryable: false,
    hint: "GET /api/sessions/{id}/versions lists those that are kept",
  },
  run_lost: {
    status: 409,
    retryable: false,
    hint: "Variables are as before that run, files may hold a part of its work: look, then send it with a new key",
  },
  not_interactive: {
    status: 409,
    retryable: false,
    hint: 'Begin the run with "interactive": true; give all of its input before with "stdin"',
  },
  run_cancelled: { status: 409, retryable: true },
  setup_in_progress: {
    status: 409,
    retryable: true,
    hint: 'GET /api/sessions/{id}/setup tells how far it is; without "wait_setup": false a run waits for it',
  },
  no_setup: { status: 404, retryable: false, hint: "Create a session with the field 'setup'" },
  idempotency_mismatch: { status: 409, retryable: false, hint: "Use a new key for a different request" },
  path_conflict: {
    status: 409,
    retryable: false,
    hint: "Move or delete what is in the way, or choose another path",
  },
  answer_removed: {
    status: 410,
    retryable: false,
    hint: "It had its effect: look at the session, and send what is still to be done with a new key",
  },
  session_deleted: { status: 410, retryable: false },
  body_too_large: { status: 413, retryable: false },
  invalid_range: { status: 416, retryable: false },
  memory_in_use: {
    status: 409,
    retryable: true,
    hint: "Delete variables or end programs of the session first, or choose a larger 'memory_mib'",
  },
  memory_too_small: {
    status: 507,
    retryable: false,
    hint: "PATCH the session with a larger 'memory_mib'; it sleeps, and is whole",
  },
  queue_full: { status: 429, retryable: true, hint: "Wait for runs of this session to end" },
  internal: { status: 500, retryable: false, hint: "The request id finds the cause in the server's log" },
  sandbox_failed: { status: 503, retryable: true },
  proxy_failed: { status: 502, retryable: true, hint: "Does the program still run, and answer HTTP?" },
  disk_full: { status: 507, retryable: false, hint: "Free disk of the session, or raise ERA_DISK_MIB" },
  save_failed: { status: 507, retryable: true, hint: "Free disk or memory of the session" },
  no_slot: {
    status: 503,
    retryable: true,
    hint: "Delete sessions that are no longer needed, or raise ERA_MAX_LIVE",
  },
  host_exhausted: {
    status: 503,
    retryable: true,
    hint: "The host is short of descriptors, processes or memory: wait, or raise the limits of the server",
  },
  host_disk_full: {
    status: 507,
    retryable: true,
    hint: "Delete sessions or files, or give the server's data folder more disk",
  },
  store_unavailable: { status: 503, retryable: true, hint: "The database cannot be reached: wait" },
  session_elsewhere: { status: 503, retryable: true, hint: "Another server has taken the session over" },
  shutting_down: { status: 503, retryable: true },
} as const satisfies Record<string, Entry>;

export type ErrorCode = keyof typeof ERROR_CATALOGUE;

type AppErrorOptions = { details?: unknown; hint?: string; extra?: Record<string, unknown>; cause?: unknown };

/** What went wrong, and what to do, for a person. */
export const withHint = (message: string, hint: string | undefined): string =>
  hint === undefined ? message : `${message}. ${hint}`;

/** An expected refusal. `message` is one sentence for a person; programs branch on `code`. */
export class AppError extends Error {
  readonly code: ErrorCode;
  readonly options: AppErrorOptions;

  constructor(code: ErrorCode, message: string, options: AppErrorOptions = {}) {
    super(message, { cause: options.cause });
    this.name = "AppError";
    this.code = code;
    this.options = options;
  }

  get status(): number {
    return ERROR_CATALOGUE[this.code].status;
  }

  get retryable(): boolean {
    return ERROR_CATALOGUE[this.code].retryable;
  }

  /** What to do, for a person. */
  get hint(): string | undefined {
    const entry: Entry = ERROR_CATALOGUE[this.code];
    return this.options.hint ?? entry.hint;
  }

  toBody(): Record<string, unknown> {
    const { hint } = this;
    return {
      error: this.message,
      code: this.code,
      ...(hint === undefined ? {} : { hint }),
      ...(this.options.details === undefined ? {} : { details: this.options.details }),
      ...this.options.extra,
    };
  }
}

/** The refusal for what failed because the host is short of something; null when it failed for another reason. */
export function shortageError(action: string, cause: unknown): AppError | null {
  const short = shortageIn(cause);
  if (short === null) return null;
  return short === "disk"
    ? new AppError("host_disk_full", `Cannot ${action}: the disk of this host is full`, { cause })
    : new AppError("host_exhausted", `Cannot ${action}: this host is short of ${short}`, { cause });
}

export function sessionDeleted(id: string): AppError {
  return new AppError("session_deleted", `Cannot go on in session '${id}': it was deleted`);
}

/** What everything that would run code answers once the server has begun to stop. */
export function shuttingDown(): AppError {
  return new AppError("shutting_down", "Cannot run code: the server is stopping");
}

/** A state that the code rules out: always our own mistake. */
export class BugError extends Error {
  override readonly name = "BugError";
}
