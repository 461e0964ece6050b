/**
 * Documents against the code: the table of settings, the codes of docs/errors.md, the tables that are
 * written from fixtures, and every path or link that a document names. Exits with 1 and a line for each difference.
 * usage: check-documents.ts [--write]     (--write brings the written tables up to date first)
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { SETTING_NAMES } from "../src/config.ts";
import { ERROR_CATALOGUE } from "../src/protocol/errors.ts";
import { withOperations } from "./api-table.ts";
import { withConformance } from "./conformance.ts";
import { withKindTables } from "./object-kinds.ts";
import { withWrongRequests } from "./wrong-requests.ts";

const ROOT = fileURLToPath(new URL("../", import.meta.url));
const DOCUMENTS = ["README.md", "CONTRIBUTING.md", ...markdownIn("docs"), ...markdownIn("docs/decisions")];
/** `src/x.ts`, `docs/y.md`, `guest/` and so on, in backticks; `*`, `{` and `<` mark patterns. */
const NAMED_PATH = /`((?:src|guest|test|docs|scripts|bench|images)\/[^`\s*{<]*)`/g;
const LINK = /\]\((?!https?:|#)([^)#\s]+)[^)]*\)/g;

function markdownIn(folder: string): string[] {
  return readdirSync(ROOT + folder)
    .filter((name) => name.endsWith(".md"))
    .map((name) => `${folder}/${name}`);
}

const read = (path: string) => readFileSync(ROOT + path, "utf8");
const firstColumn = (path: string, pattern: RegExp) =>
  new Set([...read(path).matchAll(pattern)].map(([, name = ""]) => name));
const faults: string[] = [];

function compare(what: string, documented: Set<string>, real: readonly string[]): void {
  for (const name of real) if (!documented.has(name)) faults.push(`${what}: ${name} is missing`);
  for (const name of documented) if (!real.includes(name)) faults.push(`${what}: ${name} does not exist`);
}

compare("docs/settings.md", firstColumn("docs/settings.md", /^\| `([A-Z_]+)` \|/gm), SETTING_NAMES);
compare(
  "docs/errors.md",
  firstColumn("docs/errors.md", /^\| `([a-z_]+)` \|/gm),
  Object.keys(ERROR_CATALOGUE),
);
/** Documents with tables that are made from tests, or from the table of operations. */
const WRITTEN = {
  "docs/api.md": withOperations,
  "docs/errors.md": withWrongRequests,
  "docs/persistence.md": withKindTables,
  "docs/conformance.md": withConformance,
};
for (const [path, written] of Object.entries(WRITTEN)) {
  if (process.argv.includes("--write")) writeFileSync(ROOT + path, written(read(path)));
  if (written(read(path)) !== read(path))
    faults.push(`${path}: its table differs from the tests: run scripts/check-documents.ts --write`);
}
for (const document of DOCUMENTS) {
  for (const [, path = ""] of read(document).matchAll(NAMED_PATH)) {
    if (!existsSync(ROOT + path)) faults.push(`${document} names ${path}, which does not exist`);
  }
  for (const [, path = ""] of read(document).matchAll(LINK)) {
    if (!existsSync(join(ROOT, dirname(document), path)))
      faults.push(`${document} links to ${path}, which does not exist`);
  }
}

for (const fault of faults) console.error(fault);
console.log(`${DOCUMENTS.length} documents, ${faults.length} faults`);
process.exitCode = faults.length === 0 ? 0 : 1;
