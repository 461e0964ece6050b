/** The table of wrong requests in docs/errors.md, from the answers that test/e2e/wrong-requests.test.ts compares. */
import { readFileSync } from "node:fs";

type Wrong = {
  requests: { method: string; path: string; body?: unknown; status: number; answer: Answer }[];
  commands: { command: string[]; says: string }[];
  settings: { env: Record<string, string>; says: string }[];
};
type Answer = { error: string; hint?: string };

const FILE = new URL("../test/fixtures/wrong-requests.json", import.meta.url);
const BEGIN = "<!-- wrong requests -->";
const END = "<!-- end of wrong requests -->";
const MAX_BODY_CHARS = 100;

export function withWrongRequests(document: string): string {
  const [before = "", rest = ""] = document.split(BEGIN);
  const [, after] = rest.split(END);
  if (after === undefined) throw new Error(`Cannot find '${BEGIN}' and '${END}' in docs/errors.md`);
  const { requests, commands, settings } = JSON.parse(readFileSync(FILE, "utf8")) as Wrong;
  const rows = [
    ...requests.map(({ method, path, body, status, answer: { error, hint } }) =>
      row(
        `${method} ${path}${shown(body)}`,
        `${status}: ${hint === undefined ? error : `${error}. ${hint}`}`,
      ),
    ),
    ...commands.map(({ command, says }) => row(`era ${command.join(" ")}`, says)),
    ...settings.map(({ env, says }) =>
      row(`${Object.entries(env).map((entry) => entry.join("="))} era up`, says),
    ),
  ];
  return `${before}${BEGIN}\n| wrong | what is said |\n| --- | --- |\n${rows.join("\n")}\n${END}${after}`;
}

const shown = (body: unknown) =>
  body === undefined
    ? ""
    : ` ${(typeof body === "string" ? body : JSON.stringify(body)).slice(0, MAX_BODY_CHARS)}`;
const cell = (text: string) => text.replaceAll("|", "\\|").replaceAll(/\s*\n\s*/g, "; ");
const row = (what: string, says: string) => `| \`${cell(what)}\` | ${cell(says)} |`;
