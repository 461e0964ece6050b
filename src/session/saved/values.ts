/**
 * One variable of a live session: programs that read it, give it a value, or delete it. Each is text of the session's
 * language; names are checked before, and values are JSON in a literal.
 */
import type { ValueForm } from "../../api/variables.ts";
import { AppError } from "../../protocol/errors.ts";
import type { Language } from "../../protocol/languages.ts";

type ValueRequest = { name: string; form: ValueForm; from: number | null; count: number | null };

/** A text as a literal of Python and of JavaScript. */
const literal = (text: string) =>
  JSON.stringify(text).replaceAll("\u2028", "\\u2028").replaceAll("\u2029", "\\u2029");

const JAVASCRIPT = new Set<Language>(["node", "typescript", "deno"]);
const PYTHON_WORDS = new Set(
  "False None True and as assert async await break class continue def del elif else except finally for from global if import in is lambda nonlocal not or pass raise return try while with yield".split(
    " ",
  ),
);

/** A program whose last value is what the value looks like: see Shell.value_of and valueOf(). */
export function readingProgram(language: Language, { name, form, from, count }: ValueRequest): string {
  refuseName(language, name);
  if (language === "python") {
    const part = `${from ?? 0}, ${count ?? "None"}`;
    return `get_ipython().show_value(${literal(name)}, ${literal(form)}, ${part})`;
  }
  if (!JAVASCRIPT.has(language)) throw unsupported("read", language);
  if (form !== "json" && form !== "text" && form !== "html" && form !== "svg" && form !== "png")
    throw new AppError(
      "no_such_form",
      `Cannot read '${name}' as ${form}: a value of ${language} does not offer it`,
    );
  const part = JSON.stringify({ form, from: from ?? 0, count });
  return `display.value(typeof ${name} === "undefined" ? undefined : ${name}, ${part})`;
}

/** A program that gives a variable a value of JSON. */
export function settingProgram(language: Language, name: string, value: unknown): string {
  refuseName(language, name);
  const json = JSON.stringify(value);
  if (language === "python") return `${name} = __import__("json").loads(${literal(json)})\n`;
  if (JAVASCRIPT.has(language)) return `var ${name} = JSON.parse(${literal(json)});\n`;
  if (language !== "bash") throw unsupported("set", language);
  if (typeof value === "object")
    throw new AppError("invalid_request", `Cannot set '${name}' in bash: its values are texts and numbers`);
  return `${name}='${String(value).replaceAll("'", `'\\''`)}'\n`;
}

export function deletingProgram(language: Language, name: string): string {
  refuseName(language, name);
  if (language === "python") return `del ${name}\n`;
  if (language === "bash") return `[ -v ${name} ] && unset -v ${name}\n`;
  throw unsupported("delete", language);
}

function refuseName(language: Language, name: string): void {
  const isName =
    language === "bash"
      ? /^[A-Za-z_][A-Za-z0-9_]*$/.test(name)
      : language !== "python" || !name.includes("$");
  if (isName && !(language === "python" && PYTHON_WORDS.has(name))) return;
  throw new AppError("invalid_request", `Cannot use '${name}' as a variable: it is no name in ${language}`);
}

const unsupported = (what: string, language: Language) =>
  new AppError(
    "invalid_request",
    `Cannot ${what} a variable of '${language}': its programs do it themselves`,
  );
