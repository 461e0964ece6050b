/** Bodies and queries that clients send. Unknown fields are ignored; a known one of the wrong type is refused. */
import { z } from "zod";

const MAX_ENV_CHARS = 64 << 10;
const MAX_TIMEOUT_S = 24 * 3600;
const MAX_DATA_CHARS = 1 << 20;

const sized = <T extends z.ZodType>(schema: T, name: string) =>
  schema.refine((value) => JSON.stringify(value).length <= MAX_DATA_CHARS, `${name} may have 1 MiB of JSON`);
const jsonObject = (name: string) => sized(z.record(z.string(), z.unknown()), name);

/** Seconds; zero counts as absent. */
const timeout = z.number().min(0).max(MAX_TIMEOUT_S);
const environment = z
  .record(
    z.string().regex(/^[^=\0]+$/, "a name must not be empty or contain '=' or NUL"),
    z.string().regex(/^[^\0]*$/, "a value must not contain NUL"),
  )
  .refine((env) => JSON.stringify(env).length <= MAX_ENV_CHARS, "all variables together may have 64 KiB");

/** A relative path inside the workspace, with `/` between its parts. */
const workspacePath = z
  .string()
  .min(1)
  .max(1024)
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

const limits = {
  timeout: timeout.optional(),
  timeout_ms: z
    .number()
    .min(0)
    .max(MAX_TIMEOUT_S * 1000)
    .optional(),
};

export const sessionId = z.string().regex(/^[A-Za-z0-9_:-]{1,128}$/);

export const executeBody = z.object({
  code: z.string(),
  language: z.string(),
  ...limits,
  files: z.record(workspacePath, z.string()).optional(),
  env: environment.optional(),
  envs: environment.optional(),
});

export const createBody = z.object({
  language: z.string(),
  session_id: z.string().optional(),
  id: z.string().optional(),
  persistent: z.boolean().optional(),
  metadata: jsonObject("metadata").optional(),
  data: jsonObject("data").optional(),
  allowInternetAccess: z.boolean().optional(),
  allowPublicAccess: z.boolean().optional(),
  default_timeout: timeout.nullish(),
  memory_mib: z.int().min(64).nullish(),
  cpu_count: z.number().min(0.1).nullish(),
  setup: z.undefined({ error: "packages cannot be installed by this version" }).optional(),
});

export const patchBody = z.object({
  default_timeout: z.number().positive().max(MAX_TIMEOUT_S).optional(),
  allowInternetAccess: z.boolean().optional(),
  allowPublicAccess: z.boolean().optional(),
  metadata: jsonObject("metadata").optional(),
});

export const runBody = z.object({
  code: z.string().optional(),
  language: z.string().optional(),
  ...limits,
  env: environment.optional(),
  envs: environment.optional(),
  update_data: jsonObject("update_data").optional(),
});
export type RunBody = z.infer<typeof runBody>;

export const pageQuery = z.object({
  limit: z.coerce.number().int().min(1).max(1000).optional(),
  cursor: z
    .string()
    .regex(/^\d{1,15}$/)
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
