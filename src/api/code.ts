/** A program that a session keeps, and runs when a request brings none. */
import { z } from "zod";
import { count, moment, success } from "./answers.ts";
import { OF_A_SESSION, operation } from "./operation.ts";

const MAX_STORED_CHARS = 1 << 20;

export const codeBody = z.object({
  code: z.string().min(1).max(MAX_STORED_CHARS),
  description: z.string().max(4096).optional(),
});

export const storeCode = operation({
  id: "storeCode",
  method: "PUT",
  path: "/api/sessions/{id}/code",
  tag: "Stored code",
  summary: "Stores a program, in the place of the one before",
  scope: "run",
  body: codeBody,
  answers: { 200: z.strictObject({ success, code_length: count, updated_at: moment }) },
  errors: OF_A_SESSION,
  example: { params: { id: "example" }, body: { code: "print('again')" } },
});

export const getCode = operation({
  id: "getCode",
  method: "GET",
  path: "/api/sessions/{id}/code",
  tag: "Stored code",
  summary: "The stored program",
  scope: "read",
  answers: {
    200: z.strictObject({
      code: z.string(),
      description: z.string(),
      updated_at: moment,
      code_length: count,
    }),
  },
  errors: [...OF_A_SESSION, "no_stored_code"],
  example: { params: { id: "example" } },
});

export const deleteCode = operation({
  id: "deleteCode",
  method: "DELETE",
  path: "/api/sessions/{id}/code",
  tag: "Stored code",
  summary: "Forgets the stored program",
  scope: "run",
  answers: { 200: z.strictObject({ success, id: z.string() }) },
  errors: OF_A_SESSION,
  example: { params: { id: "example" } },
});
