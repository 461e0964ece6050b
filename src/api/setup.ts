/** How the installation of a session's packages goes. */
import { z } from "zod";
import { setupFields, success } from "./answers.ts";
import { environment } from "./fields.ts";
import { OF_A_SESSION, operation } from "./operation.ts";

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
/** What is to be installed before a session's first run. */
export const setup = z
  .strictObject({
    pip: z.union([setupItems, z.strictObject({ requirements: setupText })]).optional(),
    npm: z.union([setupItems, z.strictObject({ packageJson: setupText })]).optional(),
    go: z.union([setupItems, z.strictObject({ goMod: setupText })]).optional(),
    commands: z.array(setupText.min(1)).max(MAX_SETUP_ITEMS).optional(),
    envs: environment.optional().describe("For the commands only"),
  })
  .describe("Packages and commands to install before the first run");

function isPlainText(text: string): boolean {
  return text.isWellFormed() && !text.includes("\0");
}

const progress = {
  ...setupFields,
  progress: z.array(z.string()).readonly().describe("Its newest lines of output"),
};

export const getSetup = operation({
  id: "getSetup",
  method: "GET",
  path: "/api/sessions/{id}/setup",
  tag: "Packages and network",
  summary: "How the installation of packages goes",
  scope: "read",
  answers: { 200: z.strictObject(progress) },
  errors: [...OF_A_SESSION, "no_setup"],
});

export const cancelSetup = operation({
  id: "cancelSetup",
  method: "POST",
  path: "/api/sessions/{id}/setup/cancel",
  tag: "Packages and network",
  summary: "Ends the installation of packages",
  scope: "run",
  answers: { 200: z.strictObject({ success, cancelled: z.boolean(), ...progress }) },
  errors: [...OF_A_SESSION, "no_setup"],
});
