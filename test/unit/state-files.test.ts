/**
 * The files of saved state have two implementations, in Python and in JavaScript: both read, refuse and keep the same.
 * What is read may have been written by a guest, with the right digests.
 */
import assert from "node:assert/strict";
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { after, describe, test } from "node:test";
import { fileURLToPath } from "node:url";

type Answer = { damaged?: string; run?: string; must_flush?: boolean; numbers?: number[] };

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const RUNNERS = {
  python: ["python3", `${ROOT}test/support/state_files_runner.py`],
  javascript: [process.execPath, `${ROOT}test/support/state-files-runner.mjs`],
};
const VECTORS = JSON.parse(readFileSync(`${ROOT}test/fixtures/state-files/headers.json`, "utf8")) as {
  base: Record<string, unknown>;
  sound: Record<string, object>;
  damaged: Record<string, object>;
  missing: string[];
};
const DATA = Buffer.from("hello");
const sha256 = (data: Buffer | string) => createHash("sha256").update(data).digest();

/** An implementation at work on a folder of its own. */
class Runner implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), "era-state-"));
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #answers: AsyncIterator<string>;

  constructor([program = "", ...args]: string[]) {
    this.#child = spawn(program, [...args, this.folder, `${ROOT}guest`], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    this.#answers = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
    this.#child.stdin.on("error", () => undefined); // told by its next answer
  }

  async do(request: object): Promise<Answer> {
    this.#child.stdin.write(`${JSON.stringify(request)}\n`);
    const { value, done } = await this.#answers.next();
    if (done) throw new Error(`it ended: ${JSON.stringify(request).slice(0, 1_000)}`);
    return JSON.parse(value) as Answer;
  }

  put(version: number, content: Buffer): void {
    rmSync(join(this.folder, `versions/${version}`), { recursive: true, force: true });
    writeFileSync(join(this.folder, `versions/${version}`), content);
  }

  putValue([name, , size]: Place): void {
    writeFileSync(join(this.folder, name), Buffer.alloc(size));
  }

  /** As the agent does, when the run is answered. */
  commit(version: number): void {
    renameSync(join(this.folder, `.version-${version}`), join(this.folder, `versions/${version}`));
  }

  files(): string[] {
    return ["versions", "values"].flatMap((part) =>
      readdirSync(join(this.folder, part)).map((name) => `${part}/${name}`),
    );
  }

  [Symbol.dispose](): void {
    this.#child.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

function fileOf(header: object, change: { magic?: string; digest?: Buffer; size?: number } = {}): Buffer {
  const place = ["versions/7", 0, DATA.length, sha256(DATA).toString("hex")];
  const text = Buffer.from(JSON.stringify(header).replaceAll('"INLINE"', JSON.stringify(place)));
  const prefix = Buffer.alloc(12);
  prefix.write(change.magic ?? "ERASTATE", "latin1");
  prefix.writeUInt32BE(change.size ?? text.length, 8);
  return Buffer.concat([prefix, change.digest ?? sha256(text), text, DATA]);
}

for (const [name, argv] of Object.entries(RUNNERS)) {
  const runner = new Runner(argv);
  after(() => runner[Symbol.dispose]());
  const reads = async (content: Buffer) => {
    await runner.do({ do: "numbers" }); // its folders are there
    runner.put(7, content);
    return runner.do({ do: "read", version: 7 });
  };

  describe(`state files in ${name}`, () => {
    for (const [what, change] of Object.entries(VECTORS.sound))
      test(`reads ${what}`, async () => {
        assert.deepEqual(await reads(fileOf({ ...VECTORS.base, ...change })), { run: "run_1" });
      });

    for (const [what, change] of Object.entries(VECTORS.damaged))
      test(`refuses ${what}`, async () => {
        assert.equal(typeof (await reads(fileOf({ ...VECTORS.base, ...change }))).damaged, "string");
      });

    for (const key of VECTORS.missing)
      test(`refuses a header without its ${key}`, async () => {
        const { [key]: _gone, ...rest } = VECTORS.base;
        assert.equal(typeof (await reads(fileOf(rest))).damaged, "string");
      });

    test("refuses what is no such file, cut short at any byte, or changed at any byte", async () => {
      const whole = fileOf(VECTORS.base);
      const broken = [
        ...[fileOf(VECTORS.base, { magic: "ERASTATF" }), fileOf(VECTORS.base, { size: 0xffffffff })],
        ...[fileOf(VECTORS.base, { digest: Buffer.alloc(32) }), fileOf([]), fileOf({})],
        ...Array.from({ length: whole.length }, (_, at) => whole.subarray(0, at)),
        ...Array.from({ length: whole.length }, (_, at) => {
          const changed = Buffer.from(whole);
          changed[at] = (changed[at] ?? 0) ^ 1;
          return changed;
        }),
      ];
      for (const content of broken) assert.equal(typeof (await reads(content)).damaged, "string");
    });

    test("refuses a folder, and a header nested without end, in a version's place", async () => {
      rmSync(join(runner.folder, "versions/7"), { force: true });
      mkdirSync(join(runner.folder, "versions/7"));
      assert.equal(typeof (await runner.do({ do: "read", version: 7 })).damaged, "string");
      const deep = `${"[".repeat(200_000)}${"]".repeat(200_000)}`;
      const text = JSON.stringify({ ...VECTORS.base, more: "DEEP" }).replace('"DEEP"', deep);
      const prefix = Buffer.alloc(12);
      prefix.write("ERASTATE", "latin1");
      prefix.writeUInt32BE(text.length, 8);
      assert.equal(
        typeof (await reads(Buffer.concat([prefix, sha256(text), Buffer.from(text)]))).damaged,
        "string",
      );
    });
  });
}

type Step = { header: Header; staged: boolean; durable: boolean; keep: Keep; size: number };
type Keep = { versions: number; bytes: number };
type Place = [file: string, offset: number, size: number, digest: string];
type Header = { version: number; written: number; groups: { at: Place }[]; extras: null; sources: object };

/** Numbers from a seed, the same on each day. */
function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return Math.floor((state / 2_147_483_648) * below);
  };
}

/** Saves as a kernel makes them: what was not touched stays where it lies, large values have files of their own. */
function* savesOf(seed: number): Generator<Step & { value: Place | null }> {
  const any = numbers(seed);
  const keep = { versions: 1 + any(6), bytes: 20_000 + any(60_000) };
  let groups: { at: Place }[] = [];
  for (let version = 1; version <= 40; version++) {
    const size = any(8_000);
    const carried = groups.filter(() => any(3) > 0);
    const value: Place | null = any(3) === 0 ? [`values/v${any(6)}`, 0, 0, "d"] : null;
    if (value !== null) value[2] = 1_000 * (1 + Number(value[0].slice(-1)));
    const own: Place = [`versions/${version}`, 0, size, "d"];
    groups = [...carried, { at: own }, ...(value === null ? [] : [{ at: value }])];
    const header: Header = { version, written: size + (value?.[2] ?? 0), groups, extras: null, sources: {} };
    yield { header, staged: any(4) === 0, durable: any(3) === 0, keep, size, value };
  }
}

/** Answers the files that each has then, which are the same. */
async function saveInBoth(both: Runner[], { value, ...step }: Step & { value: Place | null }, what: string) {
  for (const runner of both) if (value !== null) runner.putValue(value);
  const [answer, other] = await Promise.all(both.map((runner) => runner.do({ do: "save", ...step })));
  assert.deepEqual(answer, other, what);
  for (const runner of both) if (step.staged) runner.commit(step.header.version);
  const [files = [], others] = both.map((runner) => runner.files().sort());
  assert.deepEqual(files, others, what);
  return { files, mustFlush: answer?.must_flush === true };
}

test("both implementations keep the same files, and what a version needs is there as long as it is kept", async () => {
  for (let seed = 1; seed <= 12; seed++) {
    using python = new Runner(RUNNERS.python);
    using javascript = new Runner(RUNNERS.javascript);
    const both = [python, javascript];
    for (const runner of both) await runner.do({ do: "numbers" });
    let durable = 0;
    for (const step of savesOf(seed)) {
      const what = `seed ${seed}, version ${step.header.version}`;
      const { files, mustFlush } = await saveInBoth(both, step, what);
      const needed = [...step.header.groups.map(({ at }) => at[0]), `versions/${step.header.version}`];
      const missing = needed.filter((name) => !files.includes(name));
      assert.deepEqual(missing, [], `${what}: the newest version is whole`);
      if (step.durable || mustFlush) durable = step.header.version;
      if (durable > 0) assert.ok(files.includes(`versions/${durable}`), `${what}: ${durable} is on disk`);
    }
  }
});
