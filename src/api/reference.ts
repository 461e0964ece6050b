/** The OpenAPI document as a page to read: one file without a script, a font or an image from elsewhere. */
type Json = Record<string, unknown>;

const STYLE = `
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent); --soft: color-mix(in srgb, currentColor 6%, transparent); }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0; display: grid; grid-template-columns: 17rem minmax(0, 1fr); }
nav { position: sticky; top: 0; height: 100vh; overflow: auto; padding: 1rem; box-sizing: border-box; border-right: 1px solid var(--line); }
nav a { display: block; color: inherit; text-decoration: none; padding: .1rem 0; font-size: .9rem; }
nav a:hover, nav a:focus { text-decoration: underline; }
nav h2 { font-size: .8rem; text-transform: uppercase; letter-spacing: .06em; margin: 1.2rem 0 .2rem; }
main { padding: 1rem 2rem 6rem; max-width: 62rem; }
section { border-top: 1px solid var(--line); padding: 1rem 0; }
h3 { margin: 0; font-size: 1.1rem; }
code, pre { font: .86rem/1.45 ui-monospace, monospace; }
pre { background: var(--soft); padding: .7rem; overflow: auto; border-radius: 4px; }
table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; vertical-align: top; padding: .25rem .6rem .25rem 0; border-bottom: 1px solid var(--line); }
summary { cursor: pointer; }
@media (max-width: 50rem) { body { display: block; } nav { position: static; height: auto; border: 0; } main { padding: 1rem; } }`;

/** Makes the page; `document` is what openApiDocument() gives. */
export function referencePage(document: Json): string {
  const operations = operationsIn(document);
  const tags = (document.tags as { name: string }[]).map(({ name }) => name);
  const { title, version, description } = document.info as Record<string, string>;
  const menu = tags.map(
    (tag) =>
      `<h2>${text(tag)}</h2>${operations
        .filter((each) => each.tag === tag)
        .map(link)
        .join("")}`,
  );
  const body = tags.map((tag) => {
    const sections = operations.filter((each) => each.tag === tag).map((each) => section(each, document));
    return `<h2>${text(tag)}</h2>${sections.join("")}`;
  });
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${text(title)} API</title><style>${STYLE}</style></head><body>
<nav aria-label="Operations"><strong>${text(title)} ${text(version)}</strong>${menu.join("")}</nav>
<main><h1>${text(title)} API</h1><p>${prose(description)}</p>
<p>The same as a document for programs: <a href="openapi.json">openapi.json</a>.</p>${body.join("")}
<h2>Shapes</h2>${Object.entries(schemasIn(document))
    .map(([name, schema]) => shape(name, schema))
    .join("")}</main></body></html>`;
}

type Shown = { method: string; path: string; tag: string; operation: Json };

const schemasIn = (document: Json) => (document.components as { schemas: Record<string, Json> }).schemas;

function operationsIn(document: Json): Shown[] {
  return Object.entries(document.paths as Record<string, Json>).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => {
      const found = operation as Json;
      return {
        method: method.toUpperCase(),
        path,
        tag: String((found.tags as string[])[0]),
        operation: found,
      };
    }),
  );
}

const link = ({ operation, path, method }: Shown) =>
  `<a href="#${text(operation.operationId)}">${method} ${text(path.replace("/api/sessions/{id}", "…"))}</a>`;

function section({ method, path, operation }: Shown, document: Json): string {
  const { operationId, summary, description, parameters = [], requestBody, responses } = operation;
  return `<section id="${text(operationId)}"><h3><code>${method} ${text(path)}</code></h3><p>${prose(summary)}.
${description === undefined ? "" : prose(description)}</p>
${parameterTable(parameters as Json[])}${requestBody === undefined ? "" : bodyTable(requestBody as Json, document)}
${answerTable(responses as Record<string, Json>)}</section>`;
}

function parameterTable(parameters: readonly Json[]): string {
  if (parameters.length === 0) return "";
  const rows = parameters.map(({ name, in: place, schema, description }) =>
    row([`<code>${text(name)}</code>`, text(place), kind(schema as Json), prose(description ?? "")]),
  );
  return `<table><tr><th>Parameter<th>In<th>Type<th></tr>${rows.join("")}</table>`;
}

function bodyTable({ content }: Json, document: Json): string {
  const [[type, { schema, example }]] = Object.entries(content as Record<string, Json>) as [[string, Json]];
  if (type !== "application/json") return `<p>The body is <code>${text(type)}</code>, as it is.</p>`;
  const shown = example === undefined ? "" : `<pre>${text(JSON.stringify(example))}</pre>`;
  return `${fieldTable(resolve(schema as Json, document))}${shown}`;
}

function fieldTable({ properties = {}, required = [] }: Json): string {
  const rows = Object.entries(properties as Record<string, Json>).map(([name, schema]) =>
    row([
      `<code>${text(name)}</code>${(required as string[]).includes(name) ? "" : " <small>optional</small>"}`,
      kind(schema),
      prose(schema.description ?? ""),
    ]),
  );
  return rows.length === 0 ? "" : `<table><tr><th>Field<th>Type<th></tr>${rows.join("")}</table>`;
}

function answerTable(responses: Record<string, Json>): string {
  const rows = Object.entries(responses).map(([status, { description, content }]) => {
    const [type = "", media] = Object.entries((content ?? {}) as Record<string, Json>)[0] ?? [];
    const what =
      type === "application/json" ? kind((media?.schema ?? {}) as Json) : `<code>${text(type)}</code>`;
    return row([`<code>${text(status)}</code>`, what, prose(description ?? "")]);
  });
  return `<details><summary>Answers</summary><table>${rows.join("")}</table></details>`;
}

const shape = (name: string, schema: Json) =>
  `<section id="shape-${text(name)}"><h3>${text(name)}</h3>${fieldTable(schema) || `<p>${kind(schema)}</p>`}</section>`;

function resolve(schema: Json, document: Json): Json {
  const name = /([^/]+)$/.exec(String(schema.$ref ?? ""))?.[1];
  return name === undefined ? schema : (schemasIn(document)[name] ?? schema);
}

/** A schema in a few words. */
function kind(schema: Json): string {
  const { $ref, enum: values, const: value, anyOf, items, type, minimum, maximum } = schema;
  if (typeof $ref === "string") {
    const name = text($ref.split("/").at(-1));
    return `<a href="#shape-${name}">${name}</a>`;
  }
  if (Array.isArray(values))
    return values.map((each) => `<code>${text(JSON.stringify(each))}</code>`).join(" ");
  if (value !== undefined) return `<code>${text(JSON.stringify(value))}</code>`;
  if (Array.isArray(anyOf)) return anyOf.map((each) => kind(each as Json)).join(" or ");
  if (type === "array") return `list of ${kind((items ?? {}) as Json)}`;
  const bounds = [
    typeof minimum === "number" && minimum > Number.MIN_SAFE_INTEGER ? `from ${minimum}` : "",
    typeof maximum === "number" && maximum < Number.MAX_SAFE_INTEGER ? `to ${maximum}` : "",
  ].filter(Boolean);
  return text([type ?? "any JSON", ...bounds].join(" "));
}

const row = (cells: readonly string[]) => `<tr>${cells.map((cell) => `<td>${cell}`).join("")}</tr>`;

const ENTITIES: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
const text = (value: unknown) => String(value).replace(/[&<>"]/g, (found) => ENTITIES[found] ?? found);
/** Text with code in backticks. */
const prose = (value: unknown) => text(value).replace(/`([^`]+)`/g, "<code>$1</code>");
