/**
 * The kernel of node, typescript and deno: executes one program after another in the session's global scope, as the
 * agent asks for them. usage: kernel.mjs LANGUAGE
 */
import fs from "node:fs";
import process from "node:process";
import { clearTimeout, setImmediate, setTimeout } from "node:timers";
import { displayFunction, Results } from "./display.mjs";
import { Environment } from "./environment.mjs";
import { describeError, Evaluator, ExitRequest } from "./evaluation.mjs";
import { Line } from "./line.mjs";
import { Modules } from "./modules.mjs";
import { endRun, freshInput, install, isOfCurrentRun, withinRun, write } from "./output.mjs";
import { Saver } from "./saving.mjs";
import { IMPORT, prepare, stripTypes } from "./syntax.mjs";
import { TypeChecker } from "./type-check.mjs";
import { Variables } from "./variables.mjs";

/** What a handler for SIGTERM may take: less than the agent waits before it kills. */
const SIGTERM_MS = 300;
const UNDEFINED_NAME = /^(\S+) is not defined$/;
const now = performance.now.bind(performance);
/** After a fault of this program, which would answer nothing any more: the agent starts another one, and says so. */
const giveWay = process.kill.bind(process, process.pid, "SIGKILL");
/** A save is told with the next answer, or alone when none comes; at once when the next run may have waited for it. */
const REPORT_AFTER_MS = 20;
const LONG_SAVE_MS = 5;
const isDeno = globalThis.Deno !== undefined;
/** Read, and never run: a little of most that programs are made of. */
const SAMPLE = `import fs from "node:fs"; import { a as b } from "./a.js"; export const exported = 1;
const one = 1, { two, ...rest } = { two: [2, "two", ...[]], [one]: \`\${one}\` }; let x = -1.5e3; var y; x = y ??= /r/u;
function f(p = 1, ...q) { return p && q?.[0] !== null ? this : new.target; } async (z) => { await z; };
class C extends Object { static #s = 1; get g() { return super.g; } method() { yield_: for (const k in this) break yield_; } }
for (let i = 0; i < 3; i++) { if (i) continue; else try { throw new Error("e"); } catch (e) { console.log(e.message, typeof e); } }
for (const v of [1]) switch (v) { case 1: do x++; while (x < 0); default: y = (1, 2); } x`;

class Kernel {
  #line = new Line((header, payload) => this.#onFrame(header, payload));
  #evaluator = new Evaluator();
  /** Before it is looked at what a program finds. */
  #results = installDisplay(new Results((result) => this.#tellDisplayed(result)));
  #variables = new Variables();
  #modules = new Modules();
  #saver = new Saver({ evaluator: this.#evaluator, variables: this.#variables, modules: this.#modules });
  #hasTypes;
  #types = new TypeChecker();
  #environment = new Environment();
  #turn = Promise.resolve();
  /** The run in progress: {id, ended} where `ended` settles it, once. */
  #run = null;
  /** How many values were displayed, and who waits for one of them to be on its way. */
  #shown = 0;
  #awaitsShown = new Map();
  /** The report of the last save, until the agent is told: {saved, timer}. */
  #report = null;
  /** While handlers of an error that nobody has caught are called: nothing may be thrown there. */
  #isHandling = false;
  #noticed = new Int32Array(new SharedArrayBuffer(4));

  constructor(language) {
    this.#hasTypes = language !== "node";
  }

  async start() {
    this.#prepareProcess();
    this.#modules.install(IMPORT);
    const restored = await this.#saver.restore();
    /** @type {PromiseWithResolvers<void>} */
    const { promise, resolve } = Promise.withResolvers();
    this.#turn = promise; // a request that comes at once is not counted among what is the kernel's own
    this.#line.listen();
    this.#line.send({ type: "ready", restored });
    if (!isDeno) await this.#startWatchdog();
    this.#saver.settle();
    resolve();
  }

  /** What a first program would wait for is compiled when it is first called: an empty one takes the way of each. */
  async #warmUp() {
    try {
      prepare(this.#hasTypes ? stripTypes(`${SAMPLE} as number`) : SAMPLE, new Map());
      this.#begin({ env: {} });
      this.#conclude(
        await withinRun(this.#run, () => this.#execute("0", "warm-up", { whole: false, check: false })),
      );
      await this.#evaluator.release();
    } catch {
      // what is wrong is found, and told, by a run
    } finally {
      this.#endRun();
    }
  }

  #prepareProcess() {
    install((run, stream, bytes) => this.#line.send({ type: "late", run: run.id, stream }, bytes));
    const exit = (code) => {
      if (isOfCurrentRun()) {
        if (code !== undefined) process.exitCode = code;
        if (!this.#run.isExiting) this.#exit();
      }
      if (!this.#isHandling) throw new ExitRequest(exitStatus()); // there it would end the process
    };
    process.exit = /** @type {any} */ (exit);
    if (isDeno) Deno.exit = exit;
    process.on("SIGINT", () => this.#onInterrupt());
    for (const event of ["uncaughtException", "unhandledRejection"])
      process.on(event, (error) => {
        this.#isHandling = true;
        setImmediate(() => {
          this.#isHandling = false;
        });
        // A handler of the program's own deals with it.
        if (process.listenerCount(event) === 1 || ExitRequest.is(error)) this.#onLeftOver(error);
      });
    process.on("beforeExit", () => this.#onDrained());
    process.chdir("/workspace");
  }

  /** The run is over, whatever of the program still goes on: it may catch what is thrown, but says nothing any more. */
  #exit() {
    const run = this.#run;
    run.isExiting = true;
    try {
      process.emit("exit", exitStatus());
    } catch (error) {
      if (!ExitRequest.is(error)) write("stderr", describeError(error).traceback);
    } finally {
      run.exit = new ExitRequest(exitStatus()); // a handler may have changed it
      run.ended({ thrown: run.exit });
    }
  }

  async #startWatchdog() {
    const { Worker } = await import("node:worker_threads");
    const worker = new Worker(new URL("./watchdog.mjs", import.meta.url), {
      workerData: this.#noticed.buffer,
      execArgv: [],
      stdin: false,
    });
    worker.on("message", () => Atomics.add(this.#noticed, 0, 1));
    worker.unref();
    worker.on("error", () => undefined); // without it the agent replaces a kernel that does not give way
  }

  #onFrame(header, payload) {
    if (header.type === "shown") {
      this.#awaitsShown.get(header.number)?.();
      this.#awaitsShown.delete(header.number);
      return;
    }
    if (header.whole) this.#line.hold(false); // its process would end when nothing of it is left to happen
    this.#turn = this.#turn.then(() => this.#answer(header, payload)).catch(giveWay);
  }

  #answer(header, payload) {
    if (header.type === "save") return this.#saveAll(header);
    if (header.type === "restore") return this.#restoreLate();
    if (header.type === "reseed") return reseed();
    if (header.type === "warm") return this.#warmUp();
    return this.#serve(header, payload.toString());
  }

  /** A session has moved in before anything has run here. */
  async #restoreLate() {
    this.#line.send({ type: "ready", restored: await this.#saver.restore() });
    this.#saver.settle();
  }

  async #serve(header, code) {
    this.#begin(header);
    const name = header.name.replaceAll(" ", "-");
    const ended = await withinRun(this.#run, () => this.#execute(code, name, header));
    const report = this.#conclude(ended);
    const { isParsed } = this.#run;
    this.#endRun();
    this.#line.hold(true);
    const result = { outcome: report.outcome, exit_code: report.exit_code, error: report.error };
    const note = () => {
      this.#saver.note(code);
      if (this.#hasTypes && (isParsed || report.outcome === "ok")) this.#types.note(code);
    };
    const save = { version: header.version, run: header.run, result, keep: header.keep, all: false };
    let saved = this.#takeReport();
    if (header.save === "sync") {
      note();
      saved = await this.#saver.save({ ...save, durable: true, stage: true });
    }
    const done = { type: "done", run: header.run, ...result, saved, left_out: report.left_out };
    this.#line.send(done, report.results);
    if (header.save !== "sync") note();
    await this.#evaluator.release();
    if (header.save === "async") await this.#saveBehind(save);
  }

  #endRun() {
    endRun();
    this.#run = null;
  }

  /** After the answer. */
  async #saveBehind(save) {
    const startedAt = now();
    const saved = await this.#saver.save({ ...save, durable: false, stage: false });
    if (now() - startedAt > LONG_SAVE_MS) return this.#line.send(saved);
    const timer = setTimeout(() => this.#line.send(this.#takeReport()), REPORT_AFTER_MS).unref();
    this.#report = { saved, timer };
  }

  #takeReport() {
    if (this.#report === null) return null;
    const { saved, timer } = this.#report;
    clearTimeout(timer);
    this.#report = null;
    return saved;
  }

  async #saveAll({ version, keep }) {
    this.#takeReport(); // what comes now tells more
    const report = await this.#saver.save({ version, keep, durable: true, stage: false, all: true });
    this.#line.send({ ...report, complete: true });
  }

  #begin(header) {
    this.#run = {
      id: header.run,
      exit: undefined,
      isExiting: false,
      isParsed: false,
      ended: () => undefined,
      drained: undefined,
    };
    process.exitCode = undefined;
    if (isDeno) Deno.exitCode = 0;
    freshInput();
    this.#environment.reset(header.env);
    try {
      process.cwd();
    } catch {
      process.chdir("/workspace"); // the program removed the folder it was in
    }
    this.#modules.refresh();
  }

  /** Resolves with {value} or {thrown}: by the program's end, an interrupt, or a failure in what it started. */
  #execute(code, name, { whole, check }) {
    const { promise, resolve } = Promise.withResolvers();
    this.#run.ended = resolve;
    // The inspector fails when the watchdog has ended what it evaluates.
    const failed = (error) =>
      resolve({ thrown: error?.code === "ERR_INSPECTOR_COMMAND" ? interruption() : error });
    const checked = check ? this.#types.check(code, name, this.#variables.kinds.keys()) : Promise.resolve();
    checked.then(() => this.#evaluate(code, name, whole)).then(resolve, failed);
    return promise;
  }

  async #evaluate(code, name, whole) {
    const run = this.#run;
    const script = this.#hasTypes ? stripTypes(code) : code;
    const { code: prepared, endsInValue, isParsed } = prepare(script, this.#variables.kinds);
    run.isParsed = isParsed;
    const answer = await this.#evaluator.evaluate(prepared, name);
    if ("thrown" in answer) return answer;
    // `main()` at the end of a program: its run lasts until that is done, as its process would.
    const value = typeof answer.value?.then === "function" ? await answer.value : answer.value;
    await new Promise((resolve) => setImmediate(resolve)); // rejections that nobody handles are told by then
    if (whole) {
      await this.#drain();
      /** @type {NodeJS.EventEmitter} */ (process).emit("exit", process.exitCode ?? 0);
    }
    if (endsInValue && value !== undefined) await this.#results.add(value);
    return { value };
  }

  /** Resolves when the agent has it: all that is printed from then on comes after it. */
  #tellDisplayed(result) {
    if (this.#run === null || !isOfCurrentRun()) return Promise.resolve();
    this.#shown += 1;
    const number = this.#shown;
    this.#line.send({ type: "display", run: this.#run.id, number }, result);
    return new Promise((resolve) => this.#awaitsShown.set(number, resolve));
  }

  /** For a program that runs alone: waits until nothing of it is left to happen. */
  #drain() {
    return new Promise((resolve) => {
      this.#run.drained = resolve;
    });
  }

  #onDrained() {
    if (this.#run === null) return;
    this.#line.hold(true);
    if (this.#run.drained !== undefined) this.#run.drained();
    else this.#run.ended({ thrown: new Error("the program waits for something that will never happen") });
  }

  /** Polite first: a program with a handler for SIGTERM may save its progress. */
  #onInterrupt() {
    const end = () => this.#run?.ended({ thrown: interruption() });
    if (process.listenerCount("SIGTERM") === 0 || this.#run === null) return end();
    process.emit("SIGTERM", "SIGTERM");
    setTimeout(end, SIGTERM_MS);
  }

  #onLeftOver(error) {
    if (isOfCurrentRun()) this.#run.ended({ thrown: error });
    else if (!ExitRequest.is(error)) write("stderr", describeError(error).traceback);
  }

  #conclude(ended) {
    const shown = this.#results.take();
    const exit = this.#run.exit ?? (ExitRequest.is(ended.thrown) ? ended.thrown : undefined);
    if (exit !== undefined) return { outcome: "exited", exit_code: exit.code, error: null, ...shown };
    if ("thrown" in ended) {
      const error = this.#explained(describeError(ended.thrown));
      write("stderr", error.traceback);
      return { outcome: "raised", exit_code: 1, error, ...shown };
    }
    const code = exitStatus();
    if (code !== 0) return { outcome: "exited", exit_code: code, error: null, ...shown };
    return { outcome: "ok", exit_code: 0, error: null, ...shown };
  }

  /** An error about a name that could not be kept says why it is gone. */
  #explained(error) {
    const item =
      error.name === "ReferenceError"
        ? this.#saver.lost.get(UNDEFINED_NAME.exec(error.message)?.[1])
        : undefined;
    if (item === undefined) return error;
    const note = `'${item.name}' held a ${item.type} that could not be kept: ${item.reason}`;
    return { ...error, traceback: `${error.traceback}${note}\n` };
  }
}

/**
 * This process is a copy of another one: engines do not let their generator be seeded, so it gives way to the host's.
 */
function reseed() {
  const words = new Uint32Array(2);
  Math.random = () => {
    globalThis.crypto.getRandomValues(words);
    return (words[0] * 2 ** 21 + (words[1] >>> 11)) / 2 ** 53;
  };
}

/** A function that programs find, and may put another in the place of. */
function installDisplay(results) {
  const value = displayFunction(results);
  Object.defineProperty(globalThis, "display", { value, configurable: true, writable: true });
  return results;
}

/** What a program has set to end with: Deno has its own place for it. */
function exitStatus() {
  return Number(process.exitCode ?? (isDeno ? Deno.exitCode : 0)) & 0xff;
}

function interruption() {
  const error = new Error("the program was interrupted");
  error.name = "Interrupted";
  error.stack = `${error.name}: ${error.message}`;
  return error;
}

fs.writeFileSync("/proc/self/oom_score_adj", "900");
await new Kernel(process.argv[2]).start();
