/** Settings: environment variables, read once, checked. A script compares docs/settings.md with this list. */
import { existsSync } from "node:fs";
import { availableParallelism, homedir, totalmem } from "node:os";
import { join, resolve } from "node:path";
import { z } from "zod";
import { problemOf, valueAt } from "./protocol/issues.ts";
import { LANGUAGES, type Language } from "./protocol/languages.ts";

const MIB = 1 << 20;
const integer = (minimum: number, maximum: number) => z.coerce.number().int().min(minimum).max(maximum);
const flag = z.enum(["true", "false", "1", "0"]).transform((value) => value === "true" || value === "1");

const indexUrl = z.url({ protocol: /^https?$/ });

const environment = z.object({
  ERA_HOST: z.string().min(1).default("127.0.0.1"),
  ERA_PORT: integer(0, 65_535).optional(),
  PORT: integer(0, 65_535).optional(),
  ERA_HOME: z.string().min(1).optional(),
  ERA_DATA_DIR: z.string().min(1).optional(),
  ERA_API_KEY: z.string().min(8).optional(),
  ERA_POOL: z.string().default("python=2"),
  ERA_PRELOAD: z.string().default("auto"),
  ERA_MEMORY_MIB: integer(64, 1 << 20).default(512),
  ERA_CPUS: z.coerce.number().min(0.1).max(1024).default(1),
  ERA_PIDS: integer(16, 32_768).default(128),
  ERA_OPEN_FILES: integer(64, 1 << 20).default(1024),
  ERA_TMP_MIB: integer(1, 65_536).default(64),
  ERA_DISK_MIB: integer(16, 1 << 24).default(1024),
  ERA_MAX_DISK_MIB: integer(16, 1 << 24).default(10_240),
  ERA_STATE_MIB: integer(16, 1 << 24).default(1024),
  ERA_DISK_FILES: integer(1_000, 100_000_000).default(200_000),
  ERA_OUTPUT_KIB: integer(1, 16_384).default(1024),
  ERA_BODY_MIB: integer(1, 64).default(10),
  ERA_QUEUE: integer(1, 100_000).default(64),
  ERA_MAX_LIVE: integer(1, 100_000).optional(),
  ERA_KEEP_RUNS: integer(1, 100_000).default(200),
  ERA_RECORDS_MIB: integer(1, 1 << 20).default(64),
  ERA_KEEP_VERSIONS: integer(1, 100).default(20),
  ERA_IDLE_SECONDS: z.coerce.number().min(0.1).max(31_536_000).default(300),
  ERA_EXPIRE_SECONDS: z.coerce.number().min(0).max(3_153_600_000).default(0),
  ERA_SLOT_WAIT_SECONDS: z.coerce.number().min(0).max(3600).default(10),
  ERA_ACTIVITY: z.string().default("programs,streams"),
  ERA_ORPHAN_SECONDS: z.coerce.number().min(0).max(86_400).default(60),
  ERA_AUTO_CREATE: flag.default(true),
  ERA_PROXY_DOMAIN: z.string().optional(),
  ERA_CORS_ORIGINS: z.string().default(""),
  ERA_UID_BASE: integer(65_536, 4_200_000_000).default(1_900_000_000),
  ERA_IMAGE_PACKAGES: z.string().default(""),
  ERA_DEBIAN_MIRROR: z.string().optional(),
  ERA_PIP_INDEX_URL: indexUrl.optional(),
  ERA_NPM_REGISTRY: indexUrl.optional(),
  ERA_GOPROXY: indexUrl.optional(),
  ERA_ALLOW_WEAK: z.string().default(""),
  ERA_CHECK_ANSWERS: z.string().min(1).optional(),
  ERA_LOG_LEVEL: z.enum(["debug", "info", "warn", "error", "silent"]).default("warn"),
});

export const SETTING_NAMES: readonly string[] = Object.keys(environment.shape);

/** Names that look like settings, and are none: mostly errors of typing. */
export const unknownSettings = (env: Readonly<Record<string, string | undefined>>): string[] =>
  Object.keys(env).filter((name) => /^ERA_(?!TEST_)/.test(name) && !(name in environment.shape));

export type PackageIndexes = { pip: string | undefined; npm: string | undefined; go: string | undefined };

/** Programs and threads that go on between runs, also such as listen on a port; connections from outside to those. */
type Activity = "programs" | "streams";

export type Config = {
  host: string;
  port: number;
  home: string;
  dataDir: string;
  apiKey: string | undefined;
  pool: ReadonlyMap<Language, number>;
  /** Modules that warm sandboxes of Python import; null for those that programs import most. */
  preload: readonly string[] | null;
  limits: {
    memoryBytes: number;
    cpus: number;
    pids: number;
    openFiles: number;
    tmpBytes: number;
    /** Saved variables, all kept versions together; a session whose memory is larger may save as much as that. */
    stateBytes: number;
    diskBytes: number;
    diskFiles: number;
  };
  /** What one session may ask for at most. */
  maxMemoryMib: number;
  maxDiskMib: number;
  maxCpus: number;
  outputBytes: number;
  bodyBytes: number;
  queueLength: number;
  maxLive: number;
  /** How long a request may wait for a slot. */
  slotWaitMs: number;
  keepRuns: number;
  /** Records of one session's runs, all together. */
  recordBytes: number;
  keepVersions: number;
  /** Idle time after which a session hibernates. */
  idleMs: number;
  /** Time without use after which a session is deleted that does not say so itself; null for never. */
  expireMs: number | null;
  /** What keeps a session awake besides its runs. */
  activity: ReadonlySet<Activity>;
  /** How long a sandbox waits for a server after its own has died. */
  orphanMs: number;
  autoCreate: boolean;
  /** Below which ports of sessions have names of their own: a host, perhaps with a scheme and a port. */
  proxyDomain: string | undefined;
  /** Origins of pages that may use the API from a browser, or "*". */
  corsOrigins: readonly string[];
  uidBase: number;
  imagePackages: readonly string[];
  debianMirror: string | undefined;
  /** Where packages of each kind come from, when not from where their tools take them. */
  indexes: PackageIndexes;
  /** Facilities that may be missing although they weaken isolation, by the names that `doctor` prints. */
  allowWeak: ReadonlySet<string>;
  /** For tests: a file to which is appended how many answers were compared with the API's declarations. */
  checkAnswers: string | undefined;
  logLevel: "debug" | "info" | "warn" | "error" | "silent";
};

/** A setting is wrong. The message names it and what it may be. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
}

export function parseConfig(env: Readonly<Record<string, string | undefined>>): Config {
  const given = Object.fromEntries(
    Object.entries(env).filter(([name, value]) => name in environment.shape && value !== ""),
  );
  const parsed = environment.safeParse(given);
  if (!parsed.success) throw new ConfigError(describeIssues(parsed.error, given));
  const settings = parsed.data;
  if (!isLoopback(settings.ERA_HOST) && settings.ERA_API_KEY === undefined) {
    throw new ConfigError(
      `Cannot listen on '${settings.ERA_HOST}': an address that others reach needs ERA_API_KEY`,
    );
  }
  const home = resolve(settings.ERA_HOME ?? defaultHome());
  return {
    host: settings.ERA_HOST,
    port: settings.ERA_PORT ?? settings.PORT ?? 8787,
    home,
    dataDir: resolve(settings.ERA_DATA_DIR ?? join(home, "data")),
    apiKey: settings.ERA_API_KEY,
    pool: parsePool(settings.ERA_POOL),
    preload: parsePreload(settings.ERA_PRELOAD),
    limits: {
      memoryBytes: settings.ERA_MEMORY_MIB * MIB,
      cpus: settings.ERA_CPUS,
      pids: settings.ERA_PIDS,
      openFiles: settings.ERA_OPEN_FILES,
      tmpBytes: settings.ERA_TMP_MIB * MIB,
      stateBytes: settings.ERA_STATE_MIB * MIB,
      diskBytes: settings.ERA_DISK_MIB * MIB,
      diskFiles: settings.ERA_DISK_FILES,
    },
    maxMemoryMib: Math.max(settings.ERA_MEMORY_MIB, Math.floor(totalmem() / 2 / MIB)),
    maxDiskMib: Math.max(settings.ERA_DISK_MIB, settings.ERA_MAX_DISK_MIB),
    maxCpus: Math.max(settings.ERA_CPUS, availableParallelism()),
    outputBytes: settings.ERA_OUTPUT_KIB * 1024,
    bodyBytes: settings.ERA_BODY_MIB * MIB,
    queueLength: settings.ERA_QUEUE,
    maxLive: settings.ERA_MAX_LIVE ?? defaultMaxLive(),
    slotWaitMs: settings.ERA_SLOT_WAIT_SECONDS * 1000,
    keepRuns: settings.ERA_KEEP_RUNS,
    recordBytes: settings.ERA_RECORDS_MIB * MIB,
    keepVersions: settings.ERA_KEEP_VERSIONS,
    idleMs: settings.ERA_IDLE_SECONDS * 1000,
    expireMs: settings.ERA_EXPIRE_SECONDS === 0 ? null : settings.ERA_EXPIRE_SECONDS * 1000,
    activity: parseActivity(settings.ERA_ACTIVITY),
    orphanMs: settings.ERA_ORPHAN_SECONDS * 1000,
    autoCreate: settings.ERA_AUTO_CREATE,
    proxyDomain: parseDomain(settings.ERA_PROXY_DOMAIN),
    corsOrigins: parseOrigins(settings.ERA_CORS_ORIGINS),
    uidBase: settings.ERA_UID_BASE,
    imagePackages: words(settings.ERA_IMAGE_PACKAGES).sort(),
    debianMirror: settings.ERA_DEBIAN_MIRROR,
    indexes: { pip: settings.ERA_PIP_INDEX_URL, npm: settings.ERA_NPM_REGISTRY, go: settings.ERA_GOPROXY },
    allowWeak: new Set(words(settings.ERA_ALLOW_WEAK)),
    checkAnswers: settings.ERA_CHECK_ANSWERS,
    logLevel: settings.ERA_LOG_LEVEL,
  };
}

function describeIssues(error: z.ZodError, given: unknown): string {
  return error.issues
    .map((issue) => `Cannot use ${issue.path.join(".")}: ${problemOf(issue, valueAt(given, issue.path))}`)
    .join("\n");
}

/** Whether an address or name, also in brackets, is this machine's own. */
export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || host === "[::1]" || /^127(\.\d{1,3}){3}$/.test(host);
}

function words(text: string): string[] {
  return text.split(/[\s,]+/).filter((word) => word !== "");
}

function defaultHome(): string {
  if (process.getuid?.() === 0) return "/var/lib/era";
  const data = process.env.XDG_DATA_HOME;
  return join(data !== undefined && existsSync(data) ? data : join(homedir(), ".local/share"), "era");
}

function parseActivity(text: string): Set<Activity> {
  const found = words(text).filter((word) => word !== "none");
  if (found.every((word) => word === "programs" || word === "streams")) return new Set(found);
  throw new ConfigError(
    `Cannot use ERA_ACTIVITY '${text}': it lists 'programs' and 'streams', or says 'none'`,
  );
}

/** An idle session takes about 12 MiB, a busy one up to its limit: 64 MiB each is a fair mean to plan with. */
function defaultMaxLive(): number {
  return Math.max(4, Math.floor((totalmem() * 0.8) / (64 * MIB)));
}

const MAX_PRELOADED = 32;

function parsePreload(text: string): readonly string[] | null {
  const names = words(text);
  if (names.length === 1 && names[0] === "auto") return null;
  if (names.length === 1 && names[0] === "none") return [];
  if (names.length <= MAX_PRELOADED && names.every((name) => /^[A-Za-z_][\w.]*$/.test(name))) return names;
  throw new ConfigError(
    `Cannot use ERA_PRELOAD '${text}': it lists modules of Python, or says 'auto' or 'none'`,
  );
}

function parsePool(text: string): Map<Language, number> {
  const pool = new Map<Language, number>();
  for (const word of words(text)) {
    const [name, count] = word.split("=");
    const language = LANGUAGES.find((known) => known === name);
    const size = Number(count);
    if (language === undefined || !Number.isInteger(size) || size < 0 || size > 1000) {
      throw new ConfigError(`Cannot use ERA_POOL '${text}': each item is LANGUAGE=COUNT, e.g. python=4`);
    }
    pool.set(language, size);
  }
  return pool;
}

function parseDomain(text: string | undefined): string | undefined {
  if (text === undefined || /^(https?:\/\/)?([a-z0-9-]+\.)*[a-z0-9-]+(:\d{1,5})?$/.test(text)) return text;
  throw new ConfigError(
    `Cannot use ERA_PROXY_DOMAIN '${text}': it is a name, such as apps.example.com, perhaps with https:// and a port`,
  );
}

function parseOrigins(text: string): readonly string[] {
  const origins = words(text);
  for (const origin of origins)
    if (origin !== "*" && (!URL.canParse(origin) || new URL(origin).origin !== origin))
      throw new ConfigError(
        `Cannot use ERA_CORS_ORIGINS '${origin}': it lists origins, such as https://app.example.com, or says '*'`,
      );
  return origins;
}
