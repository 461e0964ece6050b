/** What one sandbox may see and use. Pure data: the facilities beside this file turn it into a launch plan. */

import type { PackageIndexes } from "../config.ts";

export type Limits = {
  memoryBytes: number;
  cpus: number;
  pids: number;
  openFiles: number;
  /** Size of each of /tmp and /dev/shm; both also count as memory. */
  tmpBytes: number;
  /** The largest single file; the whole session's disk is bounded by session/disk-quota. */
  fileBytes: number;
  /** The most that any session may be given of it, or a file of saved variables may take. */
  mostFileBytes: number;
};

/** Host folders of one session. All are written by the guest but `run`, which holds the agent's socket. */
export type SessionFolders = { workspace: string; home: string; state: string; run: string };

export type SandboxPolicy = {
  rootfs: string;
  /** The guest programs, compiled; mounted at /opt/era. */
  guestDir: string;
  /** Places for what is mounted in /dev and /run. */
  skeleton: string;
  folders: SessionFolders;
  /** The host's bundle of certificate authorities, when it has one. */
  caBundle: string | null;
  limits: Limits;
  env: Readonly<Record<string, string>>;
  /** Program and arguments of the first process. */
  command: readonly string[];
};

/** Where the agent takes connections to the internet: see guest/agent/egress.py. */
const PROXY = "http://127.0.0.1:3128";
const LOCAL = "localhost,127.0.0.1,::1,era";

export const CA_PATH = "/etc/ssl/certs/ca-certificates.crt";

/** The whole environment of a guest, but for what a run adds. `hashSeed` is a number of 32 bits. */
export function guestEnvironment(
  cpus: number,
  indexes: PackageIndexes,
  hashSeed: number,
): Record<string, string> {
  return {
    ...environmentOf(cpus),
    // What a program made of hash() must find its way after sleep: its own tables, filters, orders of sets.
    PYTHONHASHSEED: String(hashSeed),
    ...proxyEnvironment(),
    ...packageEnvironment(indexes),
  };
}

/** There always: a session that may not use it yet may be allowed to at any time. */
function proxyEnvironment(): Record<string, string> {
  const names = ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"];
  return {
    ...Object.fromEntries(names.map((name) => [name, PROXY])),
    no_proxy: LOCAL,
    NO_PROXY: LOCAL,
    NODE_USE_ENV_PROXY: "1",
  };
}

/** Tools put what they install into the home, where it belongs to the session. */
function packageEnvironment({ pip, npm, go }: PackageIndexes): Record<string, string> {
  return {
    PIP_USER: "1",
    PIP_BREAK_SYSTEM_PACKAGES: "1",
    PIP_ROOT_USER_ACTION: "ignore",
    PIP_DISABLE_PIP_VERSION_CHECK: "1",
    PIP_NO_CACHE_DIR: "1",
    PIP_PROGRESS_BAR: "off",
    PIP_NO_INPUT: "1",
    NPM_CONFIG_PREFIX: "/root/.local",
    NPM_CONFIG_UPDATE_NOTIFIER: "false",
    NPM_CONFIG_FUND: "false",
    NPM_CONFIG_AUDIT: "false",
    ...(pip === undefined ? {} : { PIP_INDEX_URL: pip, PIP_TRUSTED_HOST: new URL(pip).host }),
    ...(npm === undefined ? {} : { NPM_CONFIG_REGISTRY: npm }),
    ...(go === undefined ? {} : { GOPROXY: go, GOSUMDB: "off" }),
  };
}

function environmentOf(cpus: number): Record<string, string> {
  const threads = String(Math.max(1, Math.ceil(cpus)));
  return {
    PATH: "/root/.local/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    HOME: "/root",
    USER: "root",
    LANG: "C.UTF-8",
    TMPDIR: "/tmp",
    SSL_CERT_FILE: CA_PATH,
    REQUESTS_CA_BUNDLE: CA_PATH,
    CURL_CA_BUNDLE: CA_PATH,
    NODE_EXTRA_CA_CERTS: CA_PATH,
    GIT_SSL_CAINFO: CA_PATH,
    PIP_CERT: CA_PATH,
    PYTHONUNBUFFERED: "1",
    PYTHONDONTWRITEBYTECODE: "1",
    MPLBACKEND: "agg",
    // Answers are read by programs and pages: no colours, no lines that are drawn over and over.
    TERM: "dumb",
    NO_COLOR: "1",
    TQDM_MININTERVAL: "1",
    TQDM_NCOLS: "80",
    OMP_NUM_THREADS: threads,
    OPENBLAS_NUM_THREADS: threads,
  };
}
