/** The table of docs/api.md, made from the table of operations. */

import { snakeCase } from "../src/api/openapi.ts";
import { isSchema, type Operation } from "../src/api/operation.ts";
import { OPERATIONS } from "../src/api/table.ts";

const BEGIN = "<!-- operations -->";
const END = "<!-- end of operations -->";

export function withOperations(document: string): string {
  const [before = "", rest = ""] = document.split(BEGIN);
  const after = rest.slice(rest.indexOf(END) + END.length);
  const rows = OPERATIONS.map((each) => `| \`${each.method} ${each.path}\` | ${sentence(each)} |`);
  return `${before}${BEGIN}\n| request | what it does |\n| --- | --- |\n${rows.join("\n")}\n${END}${after}`;
}

function sentence({ summary, query, body }: Operation): string {
  const asked = [
    ...Object.keys(query?.shape ?? {}),
    ...(body === undefined || !isSchema(body) ? [] : fieldsOf(body)),
  ];
  return asked.length === 0 ? summary : `${summary}: ${asked.map((name) => `\`${name}\``).join(", ")}`;
}

const fieldsOf = (body: { shape?: object } | object): string[] =>
  "shape" in body && body.shape !== undefined ? Object.keys(body.shape).map(snakeCase) : [];
