/**
 * What programs in JavaScript may do to the language and to their kernel, and what their session holds all the same.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { SessionClient } from "../support/client.ts";
import { oneServer } from "../support/one-server.ts";

const it = oneServer({ ERA_POOL: "python=0" });
const hibernate = (session: SessionClient) => it.client.expect(200, "POST", `${session.path}/hibernate`);
const shows = async (session: SessionClient, code: string) => (await session.run(code)).results[0]?.text;
const put = (session: SessionClient, path: string, body: string) =>
  fetch(`${it.server.url}${session.path}/files/${path}`, { method: "PUT", body });
let next = 0;
const create = (language: string, fields: object = {}) =>
  it.client.create(`js-${next++}`, { language, imaging: "never", ...fields });

const NAMES =
  `value Array ArrayBuffer Atomics BigInt Boolean DataView Date Error Function Int32Array JSON Map Math Number Object Promise
  Proxy ReferenceError Reflect RegExp Set SharedArrayBuffer String Symbol SyntaxError TypeError Uint8Array URL WeakMap
  WeakRef`.split(/\s+/);

for (const language of ["node", "deno"]) {
  const shown = (text: string) => (language === "node" ? `'${text}'` : `"${text}"`);

  test(`${language}: a variable may have the name of anything that is built in`, async () => {
    const session = await create(language);
    await session.prints("", NAMES.map((name, at) => `let ${name} = ${at};`).join(" "));
    const sum = (NAMES.length * (NAMES.length - 1)) / 2;
    const all = `(${NAMES.join(" + ")}) + "!"`;
    for (let time = 0; time < 2; time++) {
      assert.equal(await shows(session, all), shown(`${sum}!`));
      await hibernate(session);
    }
    assert.deepEqual((await session.run("let later = 1")).state.not_kept, []);
    await session.prints("", 'let large = "x".repeat(50_000);');
    await hibernate(session);
    assert.equal(await shows(session, "large.length"), "50000");
    if (language === "node") {
      const endless = await session.run("while (true) {}", { timeout: 0.5 });
      assert.deepEqual([endless.exit_code, endless.state.rolled_back], [124, null]);
    }
  });

  test(`${language}: built-ins that a program has replaced do not stand in the way of a save`, async () => {
    const session = await create(language, { durability: "sync" });
    await session.prints("", "var fs = require('fs'); let x = 1, list = [{ a: 1 }], map = new Map([[1, 2]])");
    for (const code of [
      "Array.prototype.map = () => []; Map.prototype.get = () => undefined; x = 2",
      "Object.entries = () => []; JSON.stringify = () => ''; Array.prototype.toJSON = () => 0; x = 3",
      "fs.renameSync = () => {}; fs.writeSync = () => 1e9; Buffer.concat = () => null; x = 4",
      "String.prototype.toJSON = () => 1; Set.prototype.has = () => true; x = 5; list[0].a = 5",
    ])
      assert.equal((await session.run(code)).state.rolled_back, null, code);
    assert.equal(
      await shows(session, "`${[1].map(String).length} ${fs.writeSync(9, '')}`"),
      shown("0 1000000000"),
    );
    const { state } = await session.run("x = 6");
    assert.deepEqual(
      state.not_kept.map(({ name }: { name: string }) => name),
      ["Array.prototype.toJSON", "String.prototype.toJSON"],
    );
    await hibernate(session);
    await session.prints("6 5 2\n", "console.log(x, list[0].a, map.get(1))");
  });

  test(`${language}: what a program changes in the modules of its workspace is kept`, async () => {
    const session = await create(language);
    await put(
      session,
      "store.cjs",
      "exports.items = []; exports.settings = { n: 1 }; exports.size = () => 7",
    );
    await put(session, "c.json", '{ "a": 1 }');
    await session.prints(
      "",
      `import imported from "./c.json" with { type: "json" };
const required = require("./c.json"); required.b = 3;
const { items, settings, size } = require("./store.cjs"); items.push(1, 2); settings.n = 5; const mine = { items }`,
    );
    await hibernate(session);
    const check = "JSON.stringify([imported.a, required.b, items, settings, mine.items === items, size()])";
    await session.prints('[1,3,[1,2],{"n":5},true,7]\n', `console.log(${check})`);
  });

  test(`${language}: what its workspace's modules hold is imported again, and named where that is not what it was`, async () => {
    const session = await create(language);
    await put(
      session,
      "app.cjs",
      "const twice = (x) => 2 * x; class App { total = 0; push(x) { this.total += twice(x) } }; const app = new App(); module.exports = { app, add: (x) => app.push(x) }",
    );
    await put(session, "state.mjs", "export let n = 0; export function inc() { n++ }");
    await session.prints(
      "2\n",
      `import * as state from "./state.mjs"; const { app, add } = require("./app.cjs"); add(1); console.log(app.total)`,
    );
    await hibernate(session);
    const told = await session.run("console.log(app.total, state.n)");
    assert.deepEqual(
      [told.stdout, told.stderr, told.state.not_kept.map(({ name }: { name: string }) => name)],
      ["0 0\n", "", language === "deno" ? ["app"] : ["app", "./app.cjs"]],
    );
    await session.prints("1\n", "state.inc(); console.log(state.n)");
  });

  test(`${language}: keys that are computed from other variables`, async () => {
    const session = await create(language);
    await session.prints(
      "",
      "const K = 'foo', S = Symbol('s'); class A { [K]() { return 1 } static [S] = 3 }" +
        "; const o = { [K]() { return 2 } }; const a = new A()",
    );
    await hibernate(session);
    await session.prints("1 2 3\n", "console.log(a[K](), o[K](), A[S])");
  });

  test(`${language}: private static fields that a class changes are named, others stay`, async () => {
    const session = await create(language);
    await session.prints(
      "",
      "class Counts { static #n = 0; static next() { return ++Counts.#n; } }; class Has { static #most = -5; static most() { return Has.#most; } }",
    );
    await session.prints("1\n", "console.log(Counts.next())");
    await hibernate(session);
    const { stdout, state } = await session.run("console.log(Has.most(), Counts.next())");
    assert.deepEqual(
      [stdout, state.not_kept.map(({ name }: { name: string }) => name)],
      ["-5 1\n", ["Counts"]],
    );
  });

  test(`${language}: nothing of a program is heard after its exit`, async () => {
    const session = await create(language);
    const caught = await session.run(
      `try { process.exit(2) } catch {} console.log("after"); setTimeout(() => console.log("late"), 5)`,
    );
    assert.deepEqual([caught.exit_code, caught.stdout, caught.stderr], [2, "", ""]);
    const main = await session.run(
      `async function main() { console.log("work"); process.exit(3) } main().catch((error) => console.error("caught", error))`,
    );
    assert.deepEqual([main.exit_code, main.stdout, main.stderr], [3, "work\n", ""]);
    const handled = await session.run(
      `process.on("exit", (code) => console.log("bye", code)); process.exit(4)`,
    );
    assert.deepEqual([handled.exit_code, handled.stdout], [4, "bye 4\n"]);
    const failing = await session.run(
      `process.on("exit", () => { throw new Error("in a handler") }); process.exit(5)`,
    );
    assert.deepEqual([failing.exit_code, /Error: in a handler/.test(failing.stderr)], [5, true]);
    for (const [handler, exit_code, stderr] of [
      ["process.exit(6)", 6, ""],
      ["process.exit()", 7, ""],
      ["process.exitCode = 8", 8, ""],
      [
        "throw Object.defineProperty(new Error(), 'stack', { get() { throw 1 } })",
        7,
        "Uncaught an error that cannot be shown\n",
      ],
    ] as const) {
      const last = await session.run(
        `process.removeAllListeners("exit"); process.on("exit", () => { ${handler} }); try { process.exit(7) } catch {}`,
      );
      assert.deepEqual([last.exit_code, last.stderr], [exit_code, stderr], handler);
    }
    await session.prints("on\n", "process.removeAllListeners('exit'); console.log('on')");
  });

  if (language !== "node")
    test(`${language}: a constant enumeration is there in later runs`, async () => {
      const session = await create(language);
      await session.prints("2\n", "const enum E { A = 1, B }\nconsole.log(E.B)");
      await session.prints("1 B\n", "console.log(E.A, E[2])");
    });

  if (language === "deno")
    test("deno: its own exit status", async () => {
      const session = await create(language);
      for (const [code, status] of [
        ["Deno.exitCode = 5", 5],
        ["1", 0],
        ["Deno.exitCode = 6; Deno.exit()", 6],
      ] as const)
        assert.equal((await session.run(code)).exit_code, status, code);
    });

  test(`${language}: names that were declared before, in every place of a program`, async () => {
    const session = await create(language);
    await session.prints("", "let a = 1, b = 2");
    await session.prints(
      "2 1 3\n",
      "if (true) { var { a } = { a: 2 } } var b, c = 3; console.log(a, b - 1, c)",
    );
    await session.prints(
      "0,1, 2\n",
      "let out = ''; for (var a = 0; a < 2; a++) out += a + ','; console.log(out, a)",
    );
    assert.equal(await shows(session, '"hello"'), shown("hello"));
    assert.equal(await shows(session, '"use strict"'), undefined);
    await session.prints(
      "true file:///workspace/run.mjs\n",
      "console.log(import.meta.main, import.meta.url)",
    );
  });
}

test("a program's own handlers of errors deal with them", async () => {
  const session = await create("node");
  await session.prints(
    "seen one\nseen two\n",
    `process.on("uncaughtException", (error) => console.log("seen", error.message));
process.on("unhandledRejection", (error) => console.log("seen", error.message));
setTimeout(() => { throw new Error("one") }, 1); await new Promise((resolve) => setTimeout(resolve, 20));
Promise.reject(new Error("two")); await new Promise((resolve) => setTimeout(resolve, 20))`,
  );
});

test("an exit in a handler of errors is the program's end, not its kernel's", async () => {
  for (const language of ["node", "deno"]) {
    const session = await create(language);
    const code = `let keep = 2; process.on("uncaughtException", (error) => { console.log(error.message); process.exit(9) });
setTimeout(() => { throw new Error("b") }, 5); await new Promise((resolve) => setTimeout(resolve, 50))`;
    const { exit_code, stdout, state } = await session.run(code);
    assert.deepEqual([exit_code, stdout, state.rolled_back], [9, "b\n", null], language);
    await session.prints("2\n", "console.log(keep)");
  }
});

test("a syntax error tells its place, and a program that was not read is no part of later checks", async () => {
  const node = await create("node");
  assert.match(
    (await node.run("let ok = 1;\nlet bad = foo(;")).stderr,
    /SyntaxError: .*\n {4}at <run-1>:2:15/,
  );
  const session = await create("typescript");
  assert.match(
    (await session.run("let ok = 1;\nlet bad = foo(;")).stderr,
    /SyntaxError: .*\n.*line 2:\nlet bad = foo\(;/,
  );
  await session.run("function broken( {");
  await session.run('let wrong: number = "a"', { check: true });
  assert.equal((await session.run("let a: number = 1; a", { check: true })).exit_code, 0);
});

test("pipes in the place of state files hold up neither a save nor the agent", async () => {
  for (const language of ["node", "python"]) {
    const session = await create(language, { durability: "sync" });
    await session.run("x = 1");
    await it.client.expect(200, "POST", `${session.path}/shell`, {
      command: "mkfifo /run/era-state/.version-{2..9} /run/era-state/.staged-1-{1..40} 2>/dev/null; true",
    });
    const startedAt = performance.now();
    for (let time = 0; time < 12; time++) await session.run("x = 2");
    assert.ok(performance.now() - startedAt < 20_000);
    assert.equal((await session.run("x")).results[0].text, "2");
  }
});

test("what goes on unseen between runs is saved, and leaves the next run's environment alone", async () => {
  for (const language of ["node", "deno"]) {
    const session = await it.client.create(`unseen-${language}`, { language });
    const set = 'box.n = 1; process.env.LEFT = "1"; delete process.env.HOME';
    await session.prints(
      "",
      `const process = require("node:process"); const { setTimeout: later } = require("node:timers");
      const box = { n: 0 }; later(() => { ${set}; }, 50).unref(); undefined`,
    );
    await sleep(200);
    await session.prints("1 undefined true\n", "console.log(box.n, process.env.LEFT, 'HOME' in process.env)");
    await session.prints("ran\n", "process.env.LEFT = '2'; delete process.env.HOME; console.log('ran')");
    await session.prints("undefined true\n", "console.log(process.env.LEFT, 'HOME' in process.env)");
  }
});

test("looking at what a module holds runs nothing of it", async () => {
  const session = await it.client.create("getters", { language: "node", imaging: "never" });
  await it.client.expect(
    200,
    "PUT",
    `${session.path}/files/g.mjs`,
    "let n = 0; const state = { get x() { n += 1; return n; } }; export const get = () => n;",
  );
  await session.prints("0\n", "import { get } from './g.mjs'; console.log(get())");
  await session.prints("0\n", "console.log(get())");
  const { state } = await it.client.expect(200, "POST", `${session.path}/hibernate`);
  assert.deepEqual(state.not_kept, []);
});

test("what a module holds itself is named once it has changed, and goes on in a snapshot", async () => {
  for (const [imaging, again] of [
    ["never", "1\n"],
    ["auto", "3\n"],
  ] as const) {
    const session = await it.client.create(`module-state-${imaging}`, { language: "node", imaging });
    const files = {
      "count.mjs":
        "let n = 0; const seen = new Map(); export const next = () => { seen.set(++n, n); return n; }; export const double = (x) => 2 * x;",
      "pure.cjs": "const table = { a: 1 }; module.exports = { look: (name) => table[name] };",
      "list.cjs":
        "const items = []; class List { add(x) { items.push(x); return items.length; } } module.exports = { List };",
    };
    for (const [name, content] of Object.entries(files))
      await it.client.expect(200, "PUT", `${session.path}/files/${name}`, content);
    const named = async () => {
      const { state } = await it.client.expect(200, "POST", `${session.path}/hibernate`);
      return state.not_kept.map(({ name, type }: Record<string, string>) => `${type} ${name}`);
    };
    await session.prints(
      "4 1\n",
      "import { next, double } from './count.mjs'; const { look } = require('./pure.cjs'); console.log(double(2), look('a'))",
    );
    assert.deepEqual(await named(), []);
    await session.prints("1\n2\n", "console.log(next()); console.log(next())");
    assert.deepEqual(await named(), ["module ./count.mjs"]);
    await session.prints(again, "console.log(next())");
    await session.prints(
      "1\n",
      "const { List } = require('./list.cjs'); const list = new List(); console.log(list.add(1))",
    );
    const last = await named();
    assert.deepEqual(last, ["module ./count.mjs", "module ./list.cjs"]);
  }
});

test("typescript: a module is found by the name that it will have when it is compiled", async () => {
  const session = await create("typescript");
  const modules: [string, string][] = [
    ["a.ts", 'import { b } from "./lib/b.js";\nexport const a: number = b + 1;'],
    ["lib/b.ts", "export const b: number = 1;"],
    ["c.mts", "export const c: number = 3;"],
  ];
  for (const [name, text] of modules) await put(session, name, text);
  await session.prints(
    "2 3\n",
    'import { a } from "./a.js"; import { c } from "./c.mjs"; console.log(a, c);',
  );
  await session.fails(
    /ERR_MODULE_NOT_FOUND.*missing\.js|Cannot find module.*missing\.js/s,
    'import "./missing.js";',
  );
});
