/**
 * Everything that differs from one language to the next, but for what its kernel does: a language is a row here, and a
 * kernel in guest/.
 */
import { AppError } from "./errors.ts";

type LanguageEntry = {
  aliases: readonly string[];
  /** Arguments of guest/agent/main.py, for a sandbox of so much memory. */
  kernel: (memoryMib: number) => readonly string[];
  /** Its engine takes the size of its heap when it starts: a warm sandbox has another. */
  isSizedAtStart: boolean;
  /** Processes of the kernel's own, besides itself, in a sandbox in which nothing of the program runs. */
  helpers: number;
  /** Whether `check` can ask for its types. */
  hasTypes: boolean;
  /** Whether its programs can be given input while they run; all can be given a text before. */
  isInteractive: boolean;
};

const JAVASCRIPT = "/opt/era/javascript/kernel.mjs";
/** The heap's share of a sandbox's memory; the rest is for what an engine keeps outside of its heap. */
const HEAP_SHARE = 0.7;
const heapOption = (memoryMib: number) =>
  `--max-old-space-size=${Math.max(32, Math.floor(memoryMib * HEAP_SHARE))}`;

const node = (language: string) => (memoryMib: number) => {
  const options = ["--disable-warning=ExperimentalWarning", "--experimental-transform-types"];
  return ["program", "/usr/local/bin/node", ...options, heapOption(memoryMib), JAVASCRIPT, language];
};

const deno = (memoryMib: number) => {
  const options = ["--quiet", "--allow-all", "--no-lock", "--no-config"];
  const heap = `--v8-flags=${heapOption(memoryMib)}`;
  return ["program", "/usr/local/bin/deno", "run", ...options, heap, JAVASCRIPT, "deno"];
};

const TABLE = {
  python: {
    aliases: ["py", "python3"],
    kernel: () => ["python"],
    isSizedAtStart: false,
    helpers: 0,
    hasTypes: false,
    isInteractive: true,
  },
  node: {
    aliases: ["js", "javascript", "nodejs"],
    kernel: node("node"),
    isSizedAtStart: true,
    helpers: 0,
    hasTypes: false,
    isInteractive: false,
  },
  typescript: {
    aliases: ["ts"],
    kernel: node("typescript"),
    isSizedAtStart: true,
    helpers: 0,
    hasTypes: true,
    isInteractive: false,
  },
  deno: { aliases: [], kernel: deno, isSizedAtStart: true, helpers: 0, hasTypes: true, isInteractive: false },
  go: {
    aliases: ["golang"],
    kernel: () => ["plain", "/opt/era/go", "standard_build", "kernel"],
    isSizedAtStart: false,
    helpers: 0,
    hasTypes: false,
    isInteractive: true,
  },
  bash: {
    aliases: ["sh", "shell"],
    kernel: () => ["plain", "/opt/era/bash", "bash_text", "kernel"],
    isSizedAtStart: false,
    helpers: 1, // the shell that holds the variables
    hasTypes: false,
    isInteractive: true,
  },
} as const satisfies Record<string, LanguageEntry>;

export type Language = keyof typeof TABLE;

/** Languages that this version has a kernel for. */
export const LANGUAGES = Object.keys(TABLE) as readonly Language[];

export const languageEntry = (language: Language): LanguageEntry => TABLE[language];

const SUFFIXES: Readonly<Record<string, Language>> = {
  py: "python",
  js: "node",
  mjs: "node",
  cjs: "node",
  ts: "typescript",
  mts: "typescript",
  go: "go",
  sh: "bash",
  bash: "bash",
};

/** The language of a program, by its file's name; null when that says nothing. */
export function languageOfFile(name: string): Language | null {
  return SUFFIXES[/\.(\w+)$/.exec(name)?.[1]?.toLowerCase() ?? ""] ?? null;
}

/** The canonical name of a language, whatever its case or alias. Rejects with `unknown_language`. */
export function parseLanguage(name: string): Language {
  const lower = name.toLowerCase();
  const found = LANGUAGES.find(
    (language) => language === lower || languageEntry(language).aliases.includes(lower),
  );
  if (found !== undefined) return found;
  throw new AppError(
    "unknown_language",
    `Cannot run ${JSON.stringify(name.slice(0, 40))}: not a language of this server`,
    { hint: `Use one of: ${LANGUAGES.join(", ")}` },
  );
}
