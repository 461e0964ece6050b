/** A JavaScript kernel without a server, a sandbox or an image: the test is its agent, and speaks frames with it. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";

type Frame = { header: Record<string, unknown>; payload: Buffer };
type RunOptions = { save?: "none" | "async" | "sync"; env?: Record<string, string> };

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const KEEP = { versions: 20, bytes: 1 << 30 };

export class KernelRunner implements AsyncDisposable {
  readonly folder: string;
  #child: ChildProcess | null = null;
  #received = Buffer.alloc(0);
  #output = "";
  #version = 0;

  constructor() {
    this.folder = mkdtempSync(join(tmpdir(), "era-kernel-"));
    for (const part of ["workspace", "state"]) mkdirSync(join(this.folder, part));
  }

  /** Resolves with what the new kernel has found saved. */
  async start(): Promise<Record<string, unknown> | null> {
    const argv = [
      "--import",
      `${ROOT}test/support/redirect-kernel.mjs`,
      `${ROOT}guest/javascript/kernel.mjs`,
      "node",
    ];
    const env = { ...process.env, ERA_TEST_FOLDER: this.folder };
    this.#child = spawn(process.execPath, argv, {
      env,
      stdio: ["ignore", "pipe", "pipe", "pipe", "pipe", "pipe"],
    });
    this.#received = Buffer.alloc(0);
    const answers = this.#child.stdio[4] as Readable;
    answers.on("data", (chunk: Buffer) => {
      this.#received = Buffer.concat([this.#received, chunk]);
    });
    for (const stream of [this.#child.stdout, this.#child.stderr])
      stream?.on("data", (chunk: Buffer) => {
        this.#output += chunk;
      });
    const { header } = await this.hears("ready");
    return header.restored as Record<string, unknown> | null;
  }

  /** Runs a program; resolves with its end, its output so far, and its results. */
  async run(code: string, { save = "sync", env = {} }: RunOptions = {}) {
    this.#version += 1;
    const name = `<run ${this.#version}>`;
    const header = { type: "run", run: name, name, env, reap: [], version: this.#version, save };
    this.say({ ...header, keep: KEEP, whole: false, check: false }, Buffer.from(code));
    const end = await this.hears("done");
    if (save === "sync") this.#commit();
    const output = this.#output;
    this.#output = "";
    const results =
      end.payload.length === 0 ? [] : (JSON.parse(end.payload.toString()) as { text: string }[]);
    return { end: end.header, output, results };
  }

  say(header: object, payload = Buffer.alloc(0)): void {
    const text = Buffer.from(JSON.stringify(header));
    const lengths = Buffer.alloc(8);
    lengths.writeUInt32BE(text.length, 0);
    lengths.writeUInt32BE(payload.length, 4);
    (this.#child?.stdio[3] as Writable).write(Buffer.concat([lengths, text, payload]));
  }

  /** The next frame of a kind; those before it are passed over. */
  async hears(type: string): Promise<Frame> {
    for (;;) {
      const frame = this.#take();
      if (frame?.header.type === type) return frame;
      if (frame !== null) continue;
      const child = this.#child;
      if (child === null) throw new Error("no kernel was started");
      const gone = once(child, "exit").then(() =>
        Promise.reject(new Error(`the kernel ended: ${this.#output}`)),
      );
      await Promise.race([once(child.stdio[4] as Readable, "data"), gone]);
    }
  }

  #take(): Frame | null {
    if (this.#received.length < 8) return null;
    const end = 8 + this.#received.readUInt32BE(0);
    const size = end + this.#received.readUInt32BE(4);
    if (this.#received.length < size) return null;
    const header = JSON.parse(this.#received.toString("utf8", 8, end)) as Record<string, unknown>;
    const payload = this.#received.subarray(end, size);
    this.#received = this.#received.subarray(size);
    return { header, payload };
  }

  /** As the agent does when it has answered: the version counts from now on. */
  #commit(): void {
    const state = join(this.folder, "state");
    renameSync(join(state, `.version-${this.#version}`), join(state, `versions/${this.#version}`));
  }

  /** Ends the kernel as a crash would. */
  async kill(): Promise<void> {
    const child = this.#child;
    this.#child = null;
    if (child === null || child.exitCode !== null) return;
    child.kill("SIGKILL");
    await once(child, "exit");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
