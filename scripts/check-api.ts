/**
 * The OpenAPI document, made from the table of operations and linted; a warning fails it too.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { openApiDocument } from "../src/api/openapi.ts";
import { OPERATIONS } from "../src/api/table.ts";

const ROOT = fileURLToPath(new URL("../", import.meta.url));
const RULES = `
extends: [recommended]
rules:
  info-license-url: off
  # The server's own address is what a client knows already; /health and this document cannot be refused.
  no-empty-servers: off
  operation-4xx-response: error
`;

const folder = mkdtempSync(join(tmpdir(), "era-api-"));
try {
  writeFileSync(join(folder, "openapi.json"), JSON.stringify(openApiDocument("0.0.0"), null, 1));
  writeFileSync(join(folder, "redocly.yaml"), RULES);
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [
      `${ROOT}node_modules/.bin/redocly`,
      "lint",
      "--config",
      "redocly.yaml",
      "--format",
      "json",
      "openapi.json",
    ],
    {
      cwd: folder,
      encoding: "utf8",
      env: { ...process.env, REDOCLY_TELEMETRY: "off", REDOCLY_SUPPRESS_UPDATE_NOTICE: "true" },
    },
  );
  const { problems } = JSON.parse(stdout) as {
    problems: { message: string; location: { pointer?: string }[] }[];
  };
  for (const { message, location } of problems) console.error(`${location[0]?.pointer ?? ""}: ${message}`);
  if (status !== 0) console.error(stderr);
  console.log(`${OPERATIONS.length} operations, ${problems.length} problems`);
  process.exitCode = status !== 0 || problems.length > 0 ? 1 : 0;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
