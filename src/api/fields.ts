/** Bodies and queries that clients send. Unknown fields are ignored; a known one of the wrong type is refused. */
import { z } from "zod";
import { isShallow, MAX_JSON_DEPTH } from "../lib/json-depth.ts";
import { isHostPattern, MAX_ALLOWED_HOSTS } from "./egress.ts";

const MAX_ENV_CHARS = 64 << 10;
const MAX_ENV_NAMES = 1_000;
const MAX_TIMEOUT_S = 24 * 3600;
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
const jsonObject = (name: string) =>
  sized(z.custom<Record<string, unknown>>(isObject, `${name} must be an object`), name);

/** Seconds; zero counts as absent. */
const timeout = z.number().min(0).max(MAX_TIMEOUT_S);
const environment = z.unknown().transform((value, context): Record<string, string> => {
  const problem = describeEnvironment(value);
  if (problem === null) return value as Record<string, string>;
  context.addIssue({ code: "custom", message: problem });
  return z.NEVER;
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
const fewFiles = z
  .unknown()
  .refine(
    (files) => typeof files !== "object" || files === null || Object.keys(files).length <= MAX_FILES,
    `there may be ${MAX_FILES} files`,
  );

/** In the order of their parts a folder comes right before what is in it; no path has a NUL. */
function hasFileAsFolder(paths: string[]): boolean {
  const inOrder = paths.map((path) => `${path.replaceAll("/", "\0")}\0`).sort();
  return inOrder.some((path, at) => inOrder[at + 1]?.startsWith(path));
}

const limits = {
  timeout: timeout.optional(),
  timeout_ms: z
    .number()
    .min(0)
    .max(MAX_TIMEOUT_S * 1000)
    .optional(),
};

const internetAccess = z.union([
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
const durability = z.enum(["none", "async", "sync"]);
const imaging = z.enum(["auto", "always", "never"]);
const versionNumber = z.int().min(1).max(Number.MAX_SAFE_INTEGER);

export const sessionId = z.string().regex(/^[A-Za-z0-9_:-]{1,128}$/);

export const executeBody = z.object({
  code: z.string(),
  language: z.string(),
  check: z.boolean().optional(),
  ...limits,
  allowInternetAccess: internetAccess.optional(),
  files: fewFiles
    .pipe(
      z
        .record(workspacePath, z.string())
        .refine(
          (files) => !hasFileAsFolder(Object.keys(files)),
          "a path is a file and also the folder of another",
        ),
    )
    .optional(),
  env: environment.optional(),
  envs: environment.optional(),
});

const MAX_SETUP_ITEMS = 200;
const MAX_SETUP_CHARS = 64 << 10;
const setupText = z
  .string()
  .max(MAX_SETUP_CHARS)
  .refine(isPlainText, "it must be well-formed text without NUL");
const setupItem = z
  .string()
  .min(1)
  .max(1_000)
  .refine(isPlainText, "it must be well-formed text without NUL")
  .refine((text) => !/^\s*-|[\r\n]/.test(text), "it must be one line, and no option");
const setupItems = z.array(setupItem).min(1).max(MAX_SETUP_ITEMS);
const setup = z.strictObject({
  pip: z.union([setupItems, z.strictObject({ requirements: setupText })]).optional(),
  npm: z.union([setupItems, z.strictObject({ packageJson: setupText })]).optional(),
  go: z.union([setupItems, z.strictObject({ goMod: setupText })]).optional(),
  commands: z.array(setupText.min(1)).max(MAX_SETUP_ITEMS).optional(),
  envs: environment.optional(),
});

function isPlainText(text: string): boolean {
  return text.isWellFormed() && !text.includes("\0");
}

/** Null: as the server has it. */
const resources = {
  memory_mib: z.int().min(64).nullish(),
  cpu_count: z.number().min(0.1).nullish(),
  disk_mib: z.int().min(1).nullish(),
};

export const createBody = z.object({
  language: z.string(),
  session_id: z.string().optional(),
  id: z.string().optional(),
  persistent: z.boolean().optional(),
  metadata: jsonObject("metadata").optional(),
  data: jsonObject("data").optional(),
  allowInternetAccess: internetAccess.optional(),
  allowPublicAccess: z.boolean().optional(),
  default_timeout: timeout.nullish(),
  ...resources,
  durability: durability.optional(),
  imaging: imaging.optional(),
  setup: setup.optional(),
});

export const patchBody = z.object({
  default_timeout: z.number().positive().max(MAX_TIMEOUT_S).optional(),
  ...resources,
  allowInternetAccess: internetAccess.optional(),
  allowPublicAccess: z.boolean().optional(),
  metadata: jsonObject("metadata").optional(),
  durability: durability.optional(),
  imaging: imaging.optional(),
});

const MAX_STORED_CHARS = 1 << 20;

export const codeBody = z.object({
  code: z.string().min(1).max(MAX_STORED_CHARS),
  description: z.string().max(4096).optional(),
});

export const moveBody = z.object({ from: workspacePath, to: workspacePath });

export const fileQuery = z.object({
  /** Part of a path, in any case. */
  search: z.string().max(1024).optional(),
  limit: z.coerce.number().int().min(1).max(100_000).optional(),
});

export const portNumber = z.int().min(1).max(65_535);
export const hostQuery = z.object({ port: z.coerce.number().pipe(portNumber) });

export const rollbackBody = z.object({ version: versionNumber });

export const duplicateBody = z.object({
  new_id: z.string().optional(),
  id: z.string().optional(),
  data: jsonObject("data").optional(),
  version: versionNumber.optional(),
  ...resources,
});

export const runBody = z.object({
  code: z.string().optional(),
  language: z.string().optional(),
  check: z.boolean().optional(),
  ...limits,
  env: environment.optional(),
  envs: environment.optional(),
  update_data: jsonObject("update_data").optional(),
  durability: durability.optional(),
  wait_setup: z.boolean().optional(),
});

/** With `cancel_on_disconnect` the run ends when its reader hangs up. */
export const streamBody = runBody.extend({ cancel_on_disconnect: z.boolean().optional() });

export const shellBody = z.object({
  command: z.string().min(1),
  ...limits,
  env: environment.optional(),
  envs: environment.optional(),
  durability: durability.optional(),
  wait_setup: z.boolean().optional(),
});
export type RunBody = z.infer<typeof runBody>;

export const pageQuery = z.object({
  limit: z.coerce.number().int().min(1).max(1000).optional(),
  cursor: z
    .string()
    .regex(/^\d{1,15}$/, "it is not a cursor that this server gave")
    .optional(),
});

/** Milliseconds from either field; null when neither says anything. */
export function timeoutMsOf(body: {
  timeout?: number | undefined;
  timeout_ms?: number | undefined;
}): number | null {
  const ms = body.timeout !== undefined && body.timeout > 0 ? body.timeout * 1000 : (body.timeout_ms ?? 0);
  return ms > 0 ? ms : null;
}
