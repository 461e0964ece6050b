/**
 * The server as a black box: started on a data folder of its own, ended, and looked after for what it leaves behind.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { removeTree } from "../../src/lib/remove-tree.ts";
import { Client } from "./client.ts";

/** Another program that serves, in the place of the real one: see waiting-store.ts. */
export const MAIN = process.env.ERA_TEST_MAIN ?? fileURLToPath(new URL("../../src/main.ts", import.meta.url));
const READY = /listens on (\S+)/;
/** Where servers say how many of their answers were compared with what the API declares. */
const CHECKED = process.env.ERA_CHECK_ANSWERS ?? "/dev/null";
const START_TIMEOUT_MS = 30_000;

/** A busy machine is no fault of the server. */
const HELD_UP = /^.*"msg":"the server was held up"}\n/gm;

/** Servers of this test file that run: a failing test must not leave one behind. */
const running = new Set<ChildProcess>();
process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

/** Pids in the groups right below one; a group may be removed while it is read. */
function processesBelow(cgroup: string): number[] {
  return readdirSync(cgroup).flatMap((name) => {
    try {
      return readFileSync(join(cgroup, name, "cgroup.procs"), "utf8")
        .split("\n")
        .filter(Boolean)
        .map(Number);
    } catch {
      return [];
    }
  });
}

export function makeDataDir(): string {
  const dir = mkdtempSync(join(tmpdir(), "era-test-"));
  chmodSync(dir, 0o711);
  return dir;
}

export class TestServer {
  readonly dataDir: string;
  readonly url: string;
  readonly client: Client;
  readonly process: ChildProcess;
  readonly #said: () => string;

  private constructor(dataDir: string, url: string, process: ChildProcess, said: () => string) {
    this.dataDir = dataDir;
    this.url = url;
    this.client = new Client(url);
    this.process = process;
    this.#said = said;
  }

  /** Starts a server; `env` overrides its settings, `under` is a command that becomes the one after it. */
  static async start(
    env: Record<string, string> = {},
    dataDir = makeDataDir(),
    under: readonly string[] = [],
  ): Promise<TestServer> {
    const command = [process.execPath, "--disable-warning=ExperimentalWarning", MAIN, "up"];
    return TestServer.startCommand([...under, ...command], env, dataDir);
  }

  /** The same by another command, which becomes the server. */
  static async startCommand(
    [file = "", ...args]: readonly string[],
    env: Record<string, string> = {},
    dataDir = makeDataDir(),
  ): Promise<TestServer> {
    const child = spawn(file, args, {
      env: {
        ...process.env,
        ERA_PORT: "0",
        ERA_DATA_DIR: dataDir,
        ERA_LOG_LEVEL: "warn",
        ERA_CHECK_ANSWERS: CHECKED,
        ...env,
      },
      stdio: ["ignore", "pipe", "pipe"],
    });
    running.add(child);
    child.once("exit", () => running.delete(child));
    let said = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      said += text;
    });
    const timer = setTimeout(() => child.kill("SIGKILL"), START_TIMEOUT_MS);
    for await (const line of createInterface({ input: child.stdout })) {
      const url = READY.exec(line)?.[1];
      if (url === undefined) continue;
      clearTimeout(timer);
      child.stdout.resume();
      return new TestServer(dataDir, url, child, () => said);
    }
    clearTimeout(timer);
    throw new Error(`the server did not start: ${said}`);
  }

  /** What it wrote to its log. */
  get log(): string {
    return this.#said();
  }

  /** Ends it in order: it must exit with 0 and leave no process, cgroup or spare folder. */
  async stop(): Promise<void> {
    this.process.kill("SIGTERM");
    const [code] = (await once(this.process, "exit")) as [number | null];
    assert.equal(code, 0, this.log);
    assert.equal(this.log.replaceAll(HELD_UP, ""), "", "the server logged warnings");
    await this.assertNothingRuns();
  }

  async kill(): Promise<void> {
    this.process.kill("SIGKILL");
    await once(this.process, "exit");
  }

  async assertNothingRuns(): Promise<void> {
    assert.deepEqual(this.processes(), [], "processes are left");
    assert.deepEqual(this.cgroups(), [], "cgroups are left");
    const mounts = readFileSync("/proc/self/mountinfo", "utf8");
    assert.ok(!mounts.includes(this.dataDir), "mounts are left");
  }

  /** Host pids of processes that were started on this data folder, or are in a sandbox of it. */
  processes(): number[] {
    const found = new Set(this.cgroups().flatMap(processesBelow));
    for (const name of readdirSync("/proc")) {
      if (!/^\d+$/.test(name)) continue;
      try {
        const command = readFileSync(`/proc/${name}/cmdline`, "utf8");
        if (command.includes(`${this.dataDir}/sessions`)) found.add(Number(name));
      } catch {
        // it ended in between
      }
    }
    return [...found];
  }

  cgroups(): string[] {
    const name = `era-${createHash("sha256").update(this.dataDir).digest("hex").slice(0, 10)}`;
    return ["memory", "cpu", "pids", "."]
      .map((tree) => join("/sys/fs/cgroup", tree, name))
      .filter((path) => existsSync(path));
  }

  /** Keys of the folders that exist. */
  folders(): string[] {
    return readdirSync(join(this.dataDir, "sessions"));
  }

  async removeData(): Promise<void> {
    await removeTree(this.dataDir);
  }
}

/** Waits until something holds, asking again every few milliseconds; fails after `timeoutMs`. */
export async function until(
  what: string,
  holds: () => boolean | Promise<boolean>,
  timeoutMs = 10_000,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await holds())) {
    if (performance.now() > deadline) assert.fail(`${what}: not within ${timeoutMs} ms`);
    await sleep(5);
  }
}
