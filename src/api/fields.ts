/** Fields that several bodies and queries have. Their refinements are also said in words, for the documents. */
import { z } from "zod";
import { isShallow, MAX_JSON_DEPTH } from "../lib/json-depth.ts";
import { isHostPattern, MAX_ALLOWED_HOSTS } from "../protocol/egress.ts";

const MAX_ENV_CHARS = 64 << 10;
const MAX_ENV_NAMES = 1_000;
export const MAX_TIMEOUT_S = 24 * 3600;
const MAX_DATA_CHARS = 1 << 20;

const sized = <T extends z.ZodType>(schema: T, name: string) =>
  schema
    .refine((value) => isShallow(value), {
      error: `${name} may be nested ${MAX_JSON_DEPTH} deep`,
      abort: true,
    })
    .refine((value) => JSON.stringify(value).length <= MAX_DATA_CHARS, `${name} may have 1 MiB of JSON`);
/** With each of its names: a record of Zod's would leave out `__proto__`, and say nothing. */
const isObject = (value: unknown) => typeof value === "object" && value !== null && !Array.isArray(value);
export const jsonObject = (name: string) =>
  sized(z.custom<Record<string, unknown>>(isObject, `${name} must be an object`), name).meta({
    type: "object",
    description: "An object; at most 1 MiB of JSON",
  });

/** In requests that make a session when the id is unknown. */
export const languageOfNew = z
  .string()
  .optional()
  .describe("Of the session that an unknown id makes; python when absent");
export const timeout = z.number().min(0).max(MAX_TIMEOUT_S).describe("Seconds; 0 counts as absent");
export const environment = z
  .unknown()
  .transform((value, context): Record<string, string> => {
    const problem = describeEnvironment(value);
    if (problem === null) return value as Record<string, string>;
    context.addIssue({ code: "custom", message: problem });
    return z.NEVER;
  })
  .meta({
    type: "object",
    additionalProperties: { type: "string" },
    description: "Names and texts of environment variables; at most 64 KiB",
  });

/** Why a value is no environment, or null: stops at the first fault, since a client chooses how many there are. */
function describeEnvironment(value: unknown): string | null {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    return "it must be an object of names and texts";
  let size = 0;
  const entries = Object.entries(value);
  if (entries.length > MAX_ENV_NAMES) return `it may have ${MAX_ENV_NAMES} names`;
  for (const [name, text] of entries) {
    if (name === "" || /[=\0]/.test(name)) return "a name must not be empty or contain '=' or NUL";
    if (typeof text !== "string") return "each value must be a text";
    if (text.includes("\0")) return "a value must not contain NUL";
    if (!name.isWellFormed() || !text.isWellFormed()) return "names and values must be well-formed Unicode";
    size += name.length + text.length;
  }
  return size > MAX_ENV_CHARS ? "all variables together may have 64 KiB" : null;
}

/** A relative path inside the workspace, with `/` between its parts. */
export const workspacePath = z
  .string()
  .min(1)
  .max(1024)
  .refine((path) => path.isWellFormed(), "a path must be well-formed Unicode")
  .refine((path) => !path.includes("\0") && !path.startsWith("/"), "a path must be relative")
  .refine(
    (path) => path.split("/").every((part) => !["", ".", ".."].includes(part)),
    "a path must not have empty, '.' or '..' parts",
  )
  .refine(
    (path) => path.split("/").every((part) => Buffer.byteLength(part) <= 255),
    "a name may have 255 bytes",
  )
  .refine((path) => path !== ".session_data.json", ".session_data.json is the server's");

const MAX_FILES = 10_000;
/** Looked at before the names are: a client chooses how many there are. */
export const fewFiles = z
  .unknown()
  .refine(
    (files) => typeof files !== "object" || files === null || Object.keys(files).length <= MAX_FILES,
    `there may be ${MAX_FILES} files`,
  );

/** In the order of their parts a folder comes right before what is in it; no path has a NUL. */
export function hasFileAsFolder(paths: string[]): boolean {
  const inOrder = paths.map((path) => `${path.replaceAll("/", "\0")}\0`).sort();
  return inOrder.some((path, at) => inOrder[at + 1]?.startsWith(path));
}

export const limits = {
  timeout: timeout.optional(),
  timeout_ms: z
    .number()
    .min(0)
    .max(MAX_TIMEOUT_S * 1000)
    .describe("The same in milliseconds")
    .optional(),
};

export const internetAccess = z.union([
  z.boolean(),
  z.strictObject({
    allow: z
      .array(
        z
          .string()
          .refine(isHostPattern, "each item is a host, as in 'example.org', '*.example.org', 'host:8443'"),
      )
      .max(MAX_ALLOWED_HOSTS),
  }),
]);
export const durability = z.enum(["none", "async", "sync"]);
export const imaging = z.enum(["auto", "always", "never"]);
export const versionNumber = z.int().min(1).max(Number.MAX_SAFE_INTEGER);

/** Larger ones are files. */
export const stdin = z
  .string()
  .max(2 << 20)
  .describe("What it reads from its standard input");

export const portNumber = z.int().min(1).max(65_535);

/** Null: as the server has it. */
export const resources = {
  memory_mib: z.int().min(64).nullish().describe("Memory limit in MiB; null: the server's"),
  cpu_count: z.number().min(0.1).nullish().describe("Processors; null: the server's"),
  disk_mib: z.int().min(1).nullish().describe("Files of the session in MiB; null: the server's"),
};

/** Idle seconds. */
export const expiresAfter = z
  .number()
  .min(0)
  .max(3_153_600_000)
  .nullish()
  .describe("Seconds without use after which it is deleted; 0: never, null: as the server has it");

export const pageQuery = z.object({
  limit: z.coerce.number().int().min(1).max(1000).optional().describe("Rows at most"),
  cursor: z
    .string()
    .regex(/^\d{1,15}$/, "it is not a cursor that this server gave")
    .optional()
    .describe("`next_cursor` of the page before"),
});

/** Milliseconds from either field; null when neither says anything. */
export function timeoutMsOf(body: {
  timeout?: number | undefined;
  timeout_ms?: number | undefined;
}): number | null {
  const ms = body.timeout !== undefined && body.timeout > 0 ? body.timeout * 1000 : (body.timeout_ms ?? 0);
  return ms > 0 ? ms : null;
}
