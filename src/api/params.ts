/** Parameters in paths, by name: the same name means the same thing in each operation. */
import { z } from "zod";
import { portNumber, workspacePath } from "./fields.ts";

/** As languages have them: letters, digits, underscores; `$` is JavaScript's. */
const name = z.string().regex(/^[\p{L}_$][\p{L}\p{N}_$]{0,199}$/u, "it is no name of a variable");

export const PARAMS = {
  id: z
    .string()
    .regex(/^[A-Za-z0-9_:-]{1,128}$/)
    .describe("A session's id"),
  run_id: z.string().min(1).max(80).describe("A run's id"),
  process_id: z.string().min(1).max(64).describe("A process's id"),
  key_id: z.string().min(1).max(80).describe("A key's id"),
  path: workspacePath.describe("A relative path inside the workspace; it may have slashes"),
  port: z.coerce.number().pipe(portNumber).describe("A port inside of the sandbox"),
  name: name.describe("A variable's name"),
} as const satisfies Record<string, z.ZodType>;

type ParamName = keyof typeof PARAMS;

/** The names of the parameters in a path. */
type NamesIn<P extends string> = P extends `${string}{${infer Name}}${infer Rest}`
  ? Name | NamesIn<Rest>
  : never;
export type ParamsOf<P extends string> = {
  [Name in NamesIn<P> & ParamName]: z.infer<(typeof PARAMS)[Name]>;
};

const IN_PATH = /\{(\w+)\}/g;

export const paramNames = (path: string): ParamName[] =>
  [...path.matchAll(IN_PATH)].map(([, found]) => found as ParamName);
