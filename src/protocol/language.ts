import { AppError } from "./errors.ts";

const ALIASES: Readonly<Record<string, string>> = {
  py: "python",
  python3: "python",
  js: "node",
  javascript: "node",
  nodejs: "node",
  ts: "typescript",
  golang: "go",
  sh: "bash",
  shell: "bash",
};

/** Languages that this version has a kernel for. */
export const LANGUAGES = ["python", "node", "typescript", "deno", "go", "bash"] as const;
export type Language = (typeof LANGUAGES)[number];

/** The canonical name of a language, whatever its case or alias. */
export function parseLanguage(name: string): Language {
  const lower = name.toLowerCase();
  const canonical = ALIASES[lower] ?? lower;
  const found = LANGUAGES.find((language) => language === canonical);
  if (found === undefined) {
    throw new AppError(
      "unknown_language",
      `Cannot run ${JSON.stringify(name.slice(0, 40))}: not a language of this server`,
      {
        hint: `Use one of: ${LANGUAGES.join(", ")}`,
      },
    );
  }
  return found;
}
