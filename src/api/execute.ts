/** One-shot runs. */
import { z } from "zod";
import { oneShotResult } from "./answers.ts";
import {
  environment,
  fewFiles,
  hasFileAsFolder,
  internetAccess,
  limits,
  stdin,
  workspacePath,
} from "./fields.ts";
import { operation } from "./operation.ts";

const executeBody = z.object({
  code: z.string().describe("The program"),
  language: z.string().describe("The name of a language, or one of its other names"),
  check: z.boolean().optional().describe("TypeScript: refuse a program with type errors"),
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
    .optional()
    .describe("Texts by path, to be there before it runs"),
  stdin: stdin.optional(),
  outputs: z
    .array(
      z
        .string()
        .min(1)
        .max(100)
        .refine(
          (pattern) => pattern.split("/").every((part) => !["", ".", ".."].includes(part)),
          "it is relative to the workspace, without empty, '.' or '..' parts",
        ),
    )
    .max(10)
    .optional()
    .describe("Patterns of files that the answer is to have, as `*.png` or `out/**/*.csv`"),
  env: environment.optional(),
  envs: environment.optional(),
});

export const execute = operation({
  id: "execute",
  method: "POST",
  path: "/api/execute",
  tag: "Runs",
  summary: "Runs one program in a sandbox of its own, which is destroyed afterwards",
  scope: "run",
  body: executeBody,
  answers: { 200: oneShotResult },
  errors: [
    "unknown_language",
    "sandbox_failed",
    "no_slot",
    "disk_full",
    "idempotency_mismatch",
    "answer_removed",
    "run_cancelled",
  ],
  once: true,
  example: {
    body: { language: "python", code: "open('answer.txt', 'w').write('42')", outputs: ["*.txt"] },
  },
});
