/** Sessions, their files and variables, and runs, as resources. */
import {
  type ReadResourceResult,
  ResourceNotFoundError,
  ResourceTemplate,
  type ServerContext,
} from "@modelcontextprotocol/server";
import { filePath, runPath, sessionPath } from "../api/addresses.ts";
import { type Api, accepted, isRefused } from "./api.ts";
import { listSessions } from "./session-tools.ts";
import type { Tools } from "./tool.ts";

const MAX_LISTED = 200;
const MAX_READ_BYTES = 4 << 20;
const JSON_TYPE = "application/json";

type Variables = Record<string, string | string[]>;

/** What stands in a resource's address is decoded once. */
const part = (variables: Variables, name: string) => decodeURIComponent(String(variables[name] ?? ""));

/** Templates, what they are, and which request reads one. */
const TEMPLATES: readonly [string, string, (variables: Variables) => string][] = [
  [
    "session://{id}/files",
    "The files of a session's workspace",
    (found) => sessionPath(part(found, "id"), "/files?limit=1000"),
  ],
  [
    "session://{id}/files/{+path}",
    "One file of a session's workspace",
    (found) => filePath(part(found, "id"), part(found, "path")),
  ],
  [
    "session://{id}/variables",
    "Variables of a session, with type, size and a preview",
    (found) => sessionPath(part(found, "id"), "/variables"),
  ],
  ["run://{run}", "The record of a run, with its whole output", (found) => runPath(part(found, "run"))],
];

export function addResources({ server, apiOf }: Tools): void {
  const list = async (context: ServerContext) => {
    const { sessions } = await listSessions(apiOf(context), MAX_LISTED);
    return { resources: sessions.flatMap(({ id, language }) => resourcesOf(id, language)) };
  };
  server.registerResource(
    "session",
    new ResourceTemplate("session://{id}", { list }),
    { description: "A session: settings, limits, use, files", mimeType: JSON_TYPE },
    (uri, variables, context) => read(apiOf(context), uri, () => sessionPath(part(variables, "id"))),
  );
  for (const [template, description, pathOf] of TEMPLATES)
    server.registerResource(
      template,
      new ResourceTemplate(template, { list: undefined }),
      { description },
      (uri, variables, context) => read(apiOf(context), uri, () => pathOf(variables)),
    );
}

function resourcesOf(id: string, language: string) {
  const uri = `session://${encodeURIComponent(id)}`;
  return [
    { uri, name: `Session ${id}`, description: `A ${language} session`, mimeType: JSON_TYPE },
    {
      uri: `${uri}/files`,
      name: `Files of ${id}`,
      description: `Files of the session ${id}`,
      mimeType: JSON_TYPE,
    },
  ];
}

async function read(api: Api, uri: URL, pathOf: () => string): Promise<ReadResourceResult> {
  const { response, path } = await open(api, uri, pathOf);
  const mimeType = response.headers.get("content-type")?.split(";")[0] ?? "application/octet-stream";
  if (Number(response.headers.get("content-length")) > MAX_READ_BYTES) {
    await response.body?.cancel();
    throw new Error(`It is too large to be read whole: GET ${path} takes a 'Range'`);
  }
  const bytes = Buffer.from(await response.arrayBuffer());
  const isText = /^text\/|json|xml|javascript/.test(mimeType);
  return {
    contents: [
      isText
        ? { uri: uri.href, mimeType, text: bytes.toString() }
        : { uri: uri.href, mimeType, blob: bytes.toString("base64") },
    ],
  };
}

async function open(api: Api, uri: URL, pathOf: () => string) {
  try {
    const path = pathOf();
    return { path, response: await accepted(api, { method: "GET", path }) };
  } catch (error) {
    const isRefusal = isRefused(error) || error instanceof URIError;
    throw isRefusal ? new ResourceNotFoundError(uri.href, error.message) : error;
  }
}
