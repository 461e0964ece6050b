/** Sessions, their files and variables, and runs, as resources. */
import {
  type ReadResourceResult,
  ResourceNotFoundError,
  ResourceTemplate,
  type ServerContext,
} from "@modelcontextprotocol/server";
import { type Api, accepted, RefusedError } from "./api.ts";
import { listSessions } from "./session-tools.ts";
import type { Tools } from "./tool.ts";

const MAX_LISTED = 200;
const MAX_READ_BYTES = 4 << 20;
const JSON_TYPE = "application/json";

type Variables = Record<string, string | string[]>;

/** What stands in a resource's address is decoded once, and encoded again for the API's. */
const part = (variables: Variables, name: string) =>
  encodeURIComponent(decodeURIComponent(String(variables[name] ?? "")));

const TEMPLATES = [
  ["session-variables", "session://{id}/variables", "Variables of a session, with type, size and a preview"],
  ["run", "run://{run}", "The record of a run, with its whole output"],
] as const;

export function addResources({ server, apiOf }: Tools): void {
  const list = async (context: ServerContext) => {
    const { sessions } = await listSessions(apiOf(context), MAX_LISTED);
    return { resources: sessions.flatMap(({ id, language }) => resourcesOf(id, language)) };
  };
  server.registerResource(
    "session",
    new ResourceTemplate("session://{id}", { list }),
    { description: "A session: settings, limits, use, files", mimeType: JSON_TYPE },
    (uri, variables, context) => read(apiOf(context), uri, `/api/sessions/${part(variables, "id")}`),
  );
  server.registerResource(
    "session-files",
    new ResourceTemplate("session://{id}/files", { list: undefined }),
    { description: "The files of a session's workspace", mimeType: JSON_TYPE },
    (uri, variables, context) =>
      read(apiOf(context), uri, `/api/sessions/${part(variables, "id")}/files?limit=1000`),
  );
  server.registerResource(
    "session-file",
    new ResourceTemplate("session://{id}/files/{+path}", { list: undefined }),
    { description: "One file of a session's workspace" },
    (uri, variables, context) => {
      const path = String(variables.path ?? "")
        .split("/")
        .map((name) => encodeURIComponent(decodeURIComponent(name)))
        .join("/");
      return read(apiOf(context), uri, `/api/sessions/${part(variables, "id")}/files/${path}`);
    },
  );
  for (const [name, template, description] of TEMPLATES)
    server.registerResource(
      name,
      new ResourceTemplate(template, { list: undefined }),
      { description, mimeType: JSON_TYPE },
      (uri, variables, context) => {
        const path =
          name === "run"
            ? `/api/runs/${part(variables, "run")}`
            : `/api/sessions/${part(variables, "id")}/variables`;
        return read(apiOf(context), uri, path);
      },
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

async function read(api: Api, uri: URL, path: string): Promise<ReadResourceResult> {
  const response = await accepted(api, { method: "GET", path }).catch((error: Error) => {
    throw error instanceof RefusedError ? new ResourceNotFoundError(uri.href, error.message) : error;
  });
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
