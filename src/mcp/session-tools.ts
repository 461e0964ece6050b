/** Tools for sessions, their variables and their history. */
import { z } from "zod";
import { sessionPath, variablePath } from "../api/addresses.ts";
import { type Language, parseLanguage } from "../protocol/languages.ts";
import { type Api, ask, RefusedError } from "./api.ts";
import { sessionId } from "./run-tools.ts";
import { cut } from "./text.ts";
import { type AnyTool, CHANGES, DELETES, LOOKS, say, tool } from "./tool.ts";

const MAX_LISTED = 100;

const session = z.looseObject({
  id: z.string(),
  language: z.string(),
  persistent: z.boolean(),
  created_at: z.string(),
  status: z.string(),
});
type Session = z.infer<typeof session>;
const state = z.looseObject({ version: z.number() });

const create = tool("era_create_session", {
  title: "Create a session",
  description:
    "Creates a session that remembers variables, imports, functions and files between runs. It lives until it is deleted, through restarts of the server.",
  input: z.strictObject({
    language: z.string().describe("python, node, typescript, go, deno or bash"),
    session_id: sessionId.optional().describe("A name of your own; else one is made"),
    persistent: z.boolean().optional(),
    allowInternetAccess: z
      .boolean()
      .optional()
      .describe("Whether it reaches the internet, also to install packages later; false when absent"),
    default_timeout: z.number().positive().optional().describe("Seconds for runs that ask for none"),
    memory_mib: z.number().int().optional(),
    cpu_count: z.number().optional(),
    packages: z
      .array(z.string())
      .max(100)
      .optional()
      .describe("To be installed first: of pip, npm or go modules"),
  }),
  output: z.object({ id: z.string(), language: z.string(), persistent: z.boolean() }),
  annotations: CHANGES,
  call: async ({ packages = [], ...body }, api) => {
    const setup = packages.length === 0 ? {} : { setup: { [installerOf(body.language)]: packages } };
    const made = await ask<Session>(api, {
      method: "POST",
      path: "/api/sessions",
      body: { persistent: true, ...body, ...setup },
    });
    const { id, language, persistent } = made;
    const lines = [`Session ID: ${id}`, `Language: ${language}`, `Persistent: ${persistent}`];
    return {
      content: say(`The session is there.\n\n${lines.join("\n")}`),
      structure: { id, language, persistent },
    };
  },
});

/** What installs packages of a language, by any of its names. */
function installerOf(name: string): string {
  const installer = INSTALLERS[parseLanguage(name)];
  if (installer === undefined)
    throw new RefusedError(`Cannot install 'packages' in a session of ${name}: 'era_shell' does it`);
  return installer;
}
const INSTALLERS: Readonly<Partial<Record<Language, string>>> = {
  python: "pip",
  node: "npm",
  typescript: "npm",
  deno: "npm",
  go: "go",
};

const list = tool("era_list_sessions", {
  title: "List sessions",
  description: `Lists the newest ${MAX_LISTED} sessions.`,
  input: z.strictObject({}),
  output: z.object({ sessions: z.array(session), has_more: z.boolean() }),
  annotations: LOOKS,
  call: async (_args, api) => {
    const { sessions, more } = await listSessions(api, MAX_LISTED);
    const lines = sessions.map(
      ({ id, language, persistent, created_at, status }) =>
        `- ${id}: ${language}, ${persistent ? "persistent" : "not persistent"}, created ${created_at}, ${status === "cold" ? "asleep" : status}`,
    );
    const rest = more ? `\n… and more: these are the newest ${MAX_LISTED}` : "";
    const text = lines.length === 0 ? "There are no active sessions" : `${lines.join("\n")}${rest}`;
    return { content: say(text), structure: { sessions, has_more: more } };
  },
});

const get = tool("era_get_session", {
  title: "Look at a session",
  description: "A session's settings, limits, use and files, as JSON.",
  input: z.strictObject({ session_id: sessionId }),
  output: session,
  annotations: LOOKS,
  call: async ({ session_id: id }, api) => {
    const found = await ask<Session & { files?: unknown[] }>(api, { method: "GET", path: sessionPath(id) });
    const files = found.files ?? [];
    const more = files.length - MAX_LISTED;
    const leftOut = more > 0 ? { files_left_out: more } : {};
    const shown = { ...found, files: files.slice(0, MAX_LISTED), ...leftOut };
    return { content: say(cut(JSON.stringify(shown, null, 2))), structure: shown };
  },
});

export async function listSessions(api: Api, limit: number): Promise<{ sessions: Session[]; more: boolean }> {
  const path = `/api/sessions?limit=${limit}`;
  const page = await ask<{ sessions: Session[]; next_cursor: string | null }>(api, { method: "GET", path });
  return { sessions: page.sessions, more: page.next_cursor !== null };
}

const update = tool("era_update_session", {
  title: "Change a session",
  description: "Changes settings of a session, at once: its time limit, access to the internet, limits.",
  input: z.strictObject({
    session_id: sessionId,
    default_timeout: z.number().positive().optional(),
    allowInternetAccess: z.boolean().optional(),
    allowPublicAccess: z.boolean().optional(),
    memory_mib: z.number().int().optional(),
    cpu_count: z.number().optional(),
  }),
  output: z.object({ id: z.string(), changed: z.array(z.string()) }),
  annotations: CHANGES,
  call: async ({ session_id: id, ...body }, api) => {
    await ask(api, { method: "PATCH", path: sessionPath(id), body });
    const fields = Object.entries(body).map(([name, value]) => `${name}: ${value}`);
    return {
      content: say([`The session ${id} was changed.`, ...fields].join("\n")),
      structure: { id, changed: Object.keys(body) },
    };
  },
});

const remove = tool("era_delete_session", {
  title: "Delete a session",
  description: "Deletes a session with its variables, files and records.",
  input: z.strictObject({ session_id: sessionId }),
  output: z.object({ id: z.string() }),
  annotations: DELETES,
  call: async ({ session_id: id }, api) => {
    await ask(api, { method: "DELETE", path: sessionPath(id) });
    return { content: say(`The session ${id} was deleted`), structure: { id } };
  },
});

const duplicate = tool("era_duplicate_session", {
  title: "Copy a session",
  description: "Makes a second session with the same variables and files, which goes its own way from there.",
  input: z.strictObject({ session_id: sessionId, new_session_id: sessionId.optional() }),
  output: z.object({ id: z.string() }),
  annotations: CHANGES,
  call: async ({ session_id: id, new_session_id: target }, api) => {
    const body = target === undefined ? {} : { new_id: target };
    const copy = await ask<{ id: string }>(api, {
      method: "POST",
      path: sessionPath(id, "/duplicate"),
      body,
    });
    return { content: say(`Session ID: ${copy.id}`), structure: { id: copy.id } };
  },
});

const variables = tool("era_variables", {
  title: "Look at variables",
  description:
    "Lists the variables of a session with type, size and a preview; with `name`, answers the value of one as JSON.",
  input: z.strictObject({
    session_id: sessionId,
    name: z.string().min(1).optional(),
    from: z.number().int().min(0).optional().describe("The first row or item of a part"),
    count: z.number().int().min(1).optional().describe("Rows or items of a part"),
  }),
  output: z.looseObject({}),
  annotations: LOOKS,
  call: async ({ session_id: id, name, ...part }, api) => {
    const asked = Object.entries(part).flatMap(([key, value]) =>
      value === undefined ? [] : [`${key}=${value}`],
    );
    const path =
      name === undefined ? sessionPath(id, "/variables") : `${variablePath(id, name)}?${asked.join("&")}`;
    const found = await ask<Record<string, unknown>>(api, { method: "GET", path });
    const text = JSON.stringify(found, null, 2);
    const shown = cut(text);
    const structure = shown === text ? found : { cut: true, hint: "'from' and 'count' take a part" };
    return { content: say(shown), structure };
  },
});

const history = (
  [
    [
      "undo",
      "Undo the last run",
      "Takes the variables of a session back to before its last run; files stay.",
    ],
    ["redo", "Redo", "Takes back the last undo, until the next run."],
  ] as const
).map(([name, title, description]) =>
  tool(`era_${name}`, {
    title,
    description,
    input: z.strictObject({ session_id: sessionId }),
    output: z.looseObject({ state }),
    annotations: CHANGES,
    call: async ({ session_id: id }, api) => {
      const done = await ask<{ state: z.infer<typeof state> }>(api, {
        method: "POST",
        path: sessionPath(id, `/${name}`),
      });
      return {
        content: say(`The variables of ${id} are those of version ${done.state.version}`),
        structure: done,
      };
    },
  }),
);

export const SESSION_TOOLS: readonly AnyTool[] = [
  create,
  list,
  get,
  update,
  remove,
  duplicate,
  variables,
  ...history,
];
