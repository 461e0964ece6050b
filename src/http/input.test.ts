/** Wrong bodies, and what a client is told of them: the field, what it is, what it may be. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { execute } from "../api/execute.ts";
import { runCode } from "../api/runs.ts";
import { createSession, duplicateSession, updateSession } from "../api/sessions.ts";
import { AppError } from "../protocol/errors.ts";
import { parseBody } from "./input.ts";

const SCHEMAS = {
  createBody: createSession.body,
  patchBody: updateSession.body,
  runBody: runCode.body,
  executeBody: execute.body,
  duplicateBody: duplicateSession.body,
};
const CASES: [keyof typeof SCHEMAS, unknown, string, string?][] = [
  ["createBody", {}, "Cannot use 'language': it is missing: it must be a text"],
  ["createBody", { language: 7 }, "Cannot use 'language': it is 7: it must be a text"],
  [
    "createBody",
    { languge: "python" },
    "Cannot use 'languge': there is no such field",
    "Did you mean 'language'?",
  ],
  [
    "createBody",
    { language: "python", memory: 512 },
    "Cannot use 'memory': there is no such field",
    "The fields are language, session_id, id",
  ],
  [
    "createBody",
    { language: "python", memory_mib: 8 },
    "Cannot use 'memory_mib': 8 is too small: at least 64",
  ],
  [
    "createBody",
    { language: "python", allowInternetAccess: "yes" },
    `Cannot use 'allowInternetAccess': it is "yes": it must be true or false or an object`,
  ],
  [
    "createBody",
    { language: "python", allowInternetAccess: { alow: [] } },
    "Cannot use 'allowInternetAccess'",
  ],
  [
    "createBody",
    { language: "python", setup: { pip: "requests" } },
    `Cannot use 'setup.pip': it is "requests": it must be a list or an object`,
  ],
  [
    "createBody",
    { language: "python", setup: { pipp: [] } },
    "Cannot use 'setup': there is no field 'pipp' in it",
  ],
  [
    "createBody",
    { language: "python", durability: "always" },
    `Cannot use 'durability': it is "always": it must be "none" or "async" or "sync"`,
  ],
  [
    "createBody",
    { language: "python", allow_public_access: true, allowPublicAccess: true },
    "is given twice",
  ],
  ["patchBody", { defaultTimeout: -1 }, "Cannot use 'default_timeout': -1 is too small"],
  ["runBody", { code: ["x"] }, "Cannot use 'code': it is a list: it must be a text"],
  ["runBody", { code: "x", files: {} }, "Cannot use 'files': there is no such field"],
  ["runBody", { code: "x", timeout: "10" }, `Cannot use 'timeout': it is "10": it must be a number`],
  ["executeBody", { language: "python" }, "Cannot use 'code': it is missing: it must be a text"],
  ["executeBody", [], "Cannot use the body: it is a list: it must be an object"],
  ["executeBody", "x", `Cannot use the body: it is "x": it must be an object`],
  ["duplicateBody", { version: 1.5 }, "Cannot use 'version': it is 1.5: it must be a whole number"],
  ["runBody", { ["x".repeat(100_000)]: 1 }, "there is no such field"],
];

for (const [name, body, message, hint] of CASES)
  test(`${name} refuses ${JSON.stringify(body).slice(0, 80)} with the field and the remedy`, () => {
    assert.throws(
      () => parseBody(SCHEMAS[name], body),
      (error: unknown) => {
        assert.ok(error instanceof AppError);
        assert.ok(error.message.includes(message), error.message);
        assert.ok(error.message.length < 300, "however long what was sent is");
        if (hint !== undefined) assert.ok(error.options.hint?.startsWith(hint), error.options.hint);
        return true;
      },
    );
  });

test("each field may be written either way", () => {
  const snake = { language: "python", allow_internet_access: true, default_timeout: 5 };
  const camel = { language: "python", allowInternetAccess: true, defaultTimeout: 5 };
  assert.deepEqual(parseBody(SCHEMAS.createBody, snake), parseBody(SCHEMAS.createBody, camel));
  assert.deepEqual(parseBody(SCHEMAS.patchBody, {}), {});
  assert.deepEqual(parseBody(SCHEMAS.patchBody, undefined), {});
});
