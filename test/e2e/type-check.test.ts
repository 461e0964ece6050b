/** `"check": true`: a TypeScript program with type errors is told so, and does not run. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { oneServer } from "../support/one-server.ts";

const it = oneServer();
const check = { check: true };

test("a namespace, an enum and a class with fields are values as they are written last", async () => {
  const session = await it.client.create("transformed", { language: "typescript" });
  const last = async (code: string) => (await session.run(code)).results.at(-1)?.text;
  assert.equal(await last("namespace N { export const x = 3 }\nN.x"), "3");
  assert.equal(await last("enum E { a = 1, b }\nE.b"), "2");
  assert.equal(await last("class P { constructor(public x: number) {} }\nnew P(4).x"), "4");
  assert.equal(await last("N.x + E.b"), "5");
});

test("a type error is told with its place, and nothing of the program runs", async () => {
  const session = await it.client.create("wrong", { language: "typescript" });
  const answer = await session.run(`console.log("ran");\nconst count: number = "many";\nmissing();`, check);
  assert.equal(answer.exit_code, 1);
  assert.equal(answer.stdout, "");
  assert.equal(answer.error.name, "TypeCheckError");
  assert.match(
    answer.stderr,
    /<run-1>\(2,7\): error TS2322: Type 'string' is not assignable to type 'number'/,
  );
  assert.match(answer.stderr, /<run-1>\(3,1\): error TS2304: Cannot find name 'missing'/);
  await session.prints("ran\n", `console.log("ran")`, check);
});

test("what earlier runs have declared has its type, and may be declared again with another", async () => {
  const session = await it.client.create("typed", { language: "typescript" });
  await session.prints(
    "",
    `interface User { name: string }\nexport let user: User = { name: "Ann" };\nenum Kind { A = 3 }\nvar total = 1;`,
    check,
  );
  await session.prints("Ann 3 2\n", "console.log(user.name, Kind.A, total + 1)", check);
  await session.fails(/TS2339: Property 'age' does not exist on type 'User'/, "console.log(user.age)", check);
  await session.prints(
    "12\n",
    `interface User { age: number }\nlet user: User = { age: 12 };\nvar total = "text";\nconsole.log(user.age)`,
    check,
  );
  await session.prints("12 4\n", "console.log(user.age, total.length)", check);
  await session.run("user = 7 as any; let untold = 1", {});
  await it.client.expect(200, "POST", `${session.path}/hibernate`);
  await session.prints("7 1\n", "console.log(user, untold)", check);
});

test("imports of workspace files and of node are checked; await may stand at the top", async () => {
  const session = await it.client.create("imports", { language: "typescript" });
  await fetch(`${it.server.url}${session.path}/files/lib/add.ts`, {
    method: "PUT",
    body: "export const add = (a: number, b: number): number => a + b;\n",
  });
  await session.prints(
    "5\n",
    `import { add } from "./lib/add.ts";\nimport { readFile } from "node:fs/promises";\nconst text: string = await readFile("lib/add.ts", "utf8");\nconsole.log(add(2, 3));`,
    check,
  );
  await session.fails(
    /<run-2>\(2,5\): error TS2345/,
    `import { add } from "./lib/add.ts";\nadd("2", 3);`,
    check,
  );
  await session.fails(
    /<run-3>\(1,\d+\): error TS2305: Module '"\.\/lib\/add\.ts"' has no exported member 'nothing'/,
    `import { nothing } from "./lib/add.ts";`,
    check,
  );
  await session.prints("9\n", "console.log(add(4, 5))", check);
});

test("a program that runs alone is checked too; a language without types is refused", async () => {
  const wrong = await it.client.execute("const n: number = 'x'", { language: "typescript", ...check });
  assert.match(wrong.stderr, /TS2322/);
  const deno = await it.client.execute("const v: string = Deno.version.deno; console.log(typeof v)", {
    language: "deno",
    ...check,
  });
  assert.deepEqual([deno.stdout, deno.stderr], ["string\n", ""]);
  await it.client.expect(400, "POST", "/api/execute", { code: "1", language: "python", ...check });
});
