/**
 * The examples of the languages guide, and those of other guides that are not about Python: L, E3, D2, D3, D11, M1, X.
 */
import assert from "node:assert/strict";
import type { Client, SessionClient } from "../support/client.ts";
import { BREAKS_ONLY, conformance, ONCE } from "./rounds.ts";

async function oneShot(client: Client, language: string, expected: string, code: string): Promise<void> {
  const answer = await client.execute(code, { language });
  assert.deepEqual(
    { stdout: answer.stdout, stderr: answer.stderr, exit_code: answer.exit_code },
    { stdout: expected, stderr: "", exit_code: 0 },
    `${language}: ${answer.stderr}`,
  );
}

const put = (session: SessionClient, path: string, content: string) =>
  fetch(`${session.client.url}${session.path}/files/${path}`, { method: "PUT", body: content });

conformance(
  "languages, one-shot",
  {
    "L1, L2: python": async (client) => {
      await oneShot(client, "python", "Hello from Python!\n4\n", `print("Hello from Python!")\nprint(2 + 2)`);
      await oneShot(
        client,
        "py",
        "Pi: 3.141592653589793\nSqrt(16): 4.0\n",
        `import math\nprint(f"Pi: {math.pi}")\nprint(f"Sqrt(16): {math.sqrt(16)}")`,
      );
    },
    "L5: node": async (client) => {
      await oneShot(
        client,
        "node",
        "Hello from Node.js!\n3.141592653589793\n",
        `console.log("Hello from Node.js!");\nconsole.log(Math.PI);`,
      );
      await oneShot(
        client,
        "js",
        "Sqrt(16): 4\ntrue\n",
        `const r = Math.random();\nconsole.log(\`Sqrt(16): \${Math.sqrt(16)}\`);\nconsole.log(r >= 0 && r < 1);`,
      );
      await oneShot(
        client,
        "javascript",
        `{\n  "name": "Alice",\n  "age": 30\n}\n`,
        `console.log(JSON.stringify({ name: "Alice", age: 30 }, null, 2));`,
      );
    },
    "L7: typescript": async (client) => {
      await oneShot(
        client,
        "typescript",
        "Hello from TypeScript!\n4\n",
        `const message: string = "Hello from TypeScript!";\nconsole.log(message);\nconst sum = (a: number, b: number): number => a + b;\nconsole.log(sum(2, 2));`,
      );
      await oneShot(
        client,
        "ts",
        "Pi/4: 0.7853981633974483\n",
        `const quarter: number = Math.PI / 4;\nconsole.log(\`Pi/4: \${quarter}\`);`,
      );
      await oneShot(
        client,
        "typescript",
        "User: Alice, Age: 30\n",
        `interface User { name: string; age: number }\nconst user: User = { name: "Alice", age: 30 };\nconsole.log(\`User: \${user.name}, Age: \${user.age}\`);`,
      );
    },
    "L9: go": async (client) => {
      const main = (imports: string, body: string) =>
        `package main\nimport (${imports})\nfunc main() {\n${body}\n}`;
      await oneShot(client, "go", "Hello from Go!\n", main(`"fmt"`, `fmt.Println("Hello from Go!")`));
      await oneShot(
        client,
        "golang",
        "Pi: 3.141592653589793\nSqrt(16): 4\n",
        main(`"fmt"; "math"`, `fmt.Println("Pi:", math.Pi)\nfmt.Println("Sqrt(16):", math.Sqrt(16))`),
      );
      await oneShot(
        client,
        "go",
        "User: Alice, Age: 30\n",
        `package main\nimport "fmt"\ntype User struct { Name string; Age int }\nfunc main() { u := User{"Alice", 30}; fmt.Printf("User: %s, Age: %d\\n", u.Name, u.Age) }`,
      );
    },
    "L11: deno": async (client) => {
      const version = await client.execute(
        `console.log("Hello from Deno!");\nconsole.log(Deno.version.deno);`,
        {
          language: "deno",
        },
      );
      const [hello, number = ""] = version.stdout.split("\n");
      const [major = 0, minor = 0] = number.split(".").map(Number);
      assert.ok(hello === "Hello from Deno!" && (major > 1 || minor >= 40), version.stdout + version.stderr);
      await oneShot(
        client,
        "deno",
        "Hello from Deno TypeScript! The answer is 42\n",
        `const answer: number = 42;\nconst greet = (name: string): string => \`Hello from \${name}! The answer is \${answer}\`;\nconsole.log(greet("Deno TypeScript"));`,
      );
      await oneShot(
        client,
        "deno",
        `4\n{"a":1}\n`,
        `console.log(Math.sqrt(16));\nconsole.log(JSON.stringify({ a: 1 }));`,
      );
      await oneShot(
        client,
        "deno",
        "true\n",
        `const text = await Deno.readTextFile("/etc/hosts");\nconsole.log(text.includes("localhost"));`,
      );
    },
    "L13: quick reference": async (client) => {
      await oneShot(client, "python", "Hello World\n", `print("Hello World")`);
      for (const language of ["node", "typescript", "deno"])
        await oneShot(client, language, "Hello World\n", `console.log("Hello World")`);
    },
    "L14: nothing but a comment": async (client) => {
      await oneShot(client, "python", "", "# nothing");
      for (const language of ["node", "typescript", "deno"])
        await oneShot(client, language, "", "// nothing");
    },
    "N9: quicksort": async (client) => {
      await oneShot(
        client,
        "node",
        "[\n  1, 1,  2, 3,\n  6, 8, 10\n]\n",
        `function quicksort(a) { if (a.length <= 1) return a; const [p, ...r] = a; return [...quicksort(r.filter(x => x < p)), p, ...quicksort(r.filter(x => x >= p))]; }\nconsole.log(quicksort([3, 6, 8, 10, 1, 2, 1]));`,
      );
    },
    "R16: a failing program": async (client) => {
      for (const language of ["node", "typescript", "deno"]) {
        const thrown = await client.execute(`throw new Error("no")`, { language });
        assert.deepEqual([thrown.exit_code, thrown.error.message], [1, "no"]);
        assert.match(thrown.stderr, /Error: no/);
        assert.equal((await client.execute("let = = 1", { language })).exit_code, 1);
        assert.equal((await client.execute("process.exit(7)", { language })).exit_code, 7);
        assert.equal((await client.execute("Promise.reject(new Error('late'))", { language })).exit_code, 1);
      }
    },
  },
  ONCE,
);

conformance(
  "languages, sessions",
  {
    "L3, L4: python": async (client, name) => {
      const session = await client.create(name("python-workspace"));
      await session.prints(
        "Counter initialized: 0\n",
        `counter = 0\nprint(f"Counter initialized: {counter}")`,
      );
      await session.prints("Counter value: 1\n", `counter += 1\nprint(f"Counter value: {counter}")`);
      await session.delete();
    },
    "L6: node": async (client, name) => {
      const session = await client.create(name("node-workspace"), { language: "node" });
      await session.prints(
        "Counter initialized: 0\n",
        "let counter = 0;\nconsole.log(`Counter initialized: ${counter}`);",
      );
      await session.prints("Counter value: 1\n", "counter += 1;\nconsole.log(`Counter value: ${counter}`);");
      await session.prints("Counter value: 2\n", "counter += 1;\nconsole.log(`Counter value: ${counter}`);");
      await session.prints(
        "Counter initialized: 0\n",
        "const counter = 0;\nconsole.log(`Counter initialized: ${counter}`);",
      );
    },
    "L8: typescript": async (client, name) => {
      const session = await client.create(name("ts-workspace"), { language: "typescript" });
      await session.prints("0\n", "enum Step { One = 1 }\nlet counter: number = 0;\nconsole.log(counter);");
      await session.prints("1\n", "counter += Step.One;\nconsole.log(counter);");
    },
    "L10: go": async (client, name) => {
      const session = await client.create(name("go-files"), { language: "go" });
      const program = (imports: string, body: string) =>
        `package main\nimport (${imports})\nfunc main() {\n${body}\n}`;
      await session.prints(
        "File created!\n",
        program(
          `"fmt"; "os"`,
          `os.WriteFile("data.txt", []byte("Hello from Go!"), 0644)\nfmt.Println("File created!")`,
        ),
      );
      await session.prints(
        "File contents: Hello from Go!\n",
        program(`"fmt"; "os"`, `b, _ := os.ReadFile("data.txt")\nfmt.Println("File contents:", string(b))`),
      );
      await session.prints(
        "Running in Go session!\n",
        program(`"fmt"`, `fmt.Println("Running in Go session!")`),
      );
    },
    "bash: variables, functions and folder": async (client, name) => {
      const session = await client.create(name("bash-workspace"), { language: "bash" });
      await session.prints(
        "0\n",
        'counter=0\ngreet() { echo "Hello, $1"; }\nmkdir -p sub; cd sub\necho $counter',
      );
      await session.prints(
        "1 Hello, World\nsub\n",
        'counter=$((counter + 1))\necho "$counter $(greet World)"\nbasename $PWD',
      );
    },
    "L12: deno": async (client, name) => {
      const session = await client.create(name("deno-files"), { language: "deno" });
      await session.prints(
        "User: Alice, Age: 30\n",
        `interface User { name: string; age: number }\nconst user: User = { name: "Alice", age: 30 };\nconsole.log(\`User: \${user.name}, Age: \${user.age}\`);`,
      );
      await session.prints(
        "File created!\n",
        `Deno.writeTextFileSync("data.txt", "Hello from Deno!");\nconsole.log("File created!");`,
      );
      await session.prints(
        "File contents: Hello from Deno!\n",
        `const content = Deno.readTextFileSync("data.txt");\nconsole.log(\`File contents: \${content}\`);`,
      );
      await session.prints("Alice\n", "console.log(user.name)");
    },
    "E3: variables of one run": async (client, name) => {
      const programs = {
        node: "console.log(`API Key: ${process.env.API_KEY}`)",
        typescript: `const key: string = process.env.API_KEY || "none";\nconsole.log(\`API Key: \${key}\`)`,
        deno: `console.log(\`API Key: \${Deno.env.get("API_KEY")}\`)`,
        go: `package main\nimport ("fmt"; "os")\nfunc main() { k := os.Getenv("API_KEY"); if k == "" { k = "none" }; fmt.Println("API Key: " + k) }`,
        bash: 'echo "API Key: ${API_KEY:-none}"',
      };
      for (const [language, code] of Object.entries(programs)) {
        const session = await client.create(name(`e3-${language}`), { language });
        await session.prints("API Key: secret123\n", code, { env: { API_KEY: "secret123" } });
        const gone = await session.run(code);
        assert.match(gone.stdout, /API Key: (undefined|none)\n/);
      }
    },
    "D2, D3: data in node and typescript": async (client, name) => {
      const data = { counter: 0, users: ["alice", "bob"], config: { theme: "dark" } };
      const node = await client.create(name("d3-node"), { language: "node", data });
      const answer = await node.prints(
        "Counter incremented to: 1\n",
        `const fs = require("fs");\nconst data = JSON.parse(fs.readFileSync(".session_data.json", "utf8"));\ndata.counter += 1;\ndata.users.push("charlie");\nfs.writeFileSync(".session_data.json", JSON.stringify(data));\nconsole.log(\`Counter incremented to: \${data.counter}\`);`,
      );
      assert.deepEqual(answer.data, { ...data, counter: 1, users: ["alice", "bob", "charlie"] });
      const typed = await client.create(name("d2-ts"), { language: "typescript", data });
      await typed.prints(
        "Theme: dark\n",
        `import fs from "fs";\ninterface Data { config: { theme: string } }\nconst data: Data = JSON.parse(fs.readFileSync(".session_data.json", "utf8"));\nconsole.log(\`Theme: \${data.config.theme}\`);`,
      );
    },
    "D11: a state machine": async (client, name) => {
      const session = await client.create(name("d11"), { language: "node", data: { state: "idle" } });
      const code = `const fs = require("fs");
const data = JSON.parse(fs.readFileSync(".session_data.json"));
const moves = { idle: { start: "processing" }, processing: { complete: "completed", fail: "failed" }, completed: { reset: "idle" }, failed: { reset: "idle" } };
const next = moves[data.state]?.[process.env.EVENT];
if (!next) throw new Error("Cannot " + process.env.EVENT + " when " + data.state);
data.state = next; fs.writeFileSync(".session_data.json", JSON.stringify(data)); console.log("State: " + next);`;
      await session.prints("State: processing\n", code, { env: { EVENT: "start" } });
      const bad = await session.run(code, { env: { EVENT: "reset" } });
      assert.match(bad.stderr, /Cannot reset when processing/);
      await session.prints("State: completed\n", code, { env: { EVENT: "complete" } });
    },
    "M1: a project in node": async (client, name) => {
      const session = await client.create(name("my-utils-project"), { language: "node" });
      await put(
        session,
        "utils.js",
        "exports.double = (n) => n * 2; exports.greet = (name) => `Hello, ${name}!`;",
      );
      await put(
        session,
        "index.js",
        `const { double, greet } = require("./utils");\nconsole.log(double(5));\nconsole.log(greet("World"));`,
      );
      await session.prints("10\nHello, World!\n", `require("./index.js")`);
      await session.prints("10\nHello, World!\n", `require("./index.js")`);
      await put(
        session,
        "utils.js",
        "exports.double = (n) => n * 3; exports.greet = (name) => `Bye, ${name}!`;",
      );
      await session.prints("15\nBye, World!\n", `require("./index.js")`);
    },
    "M3, X2: a project in typescript": async (client, name) => {
      const session = await client.create(name("my-app"), { language: "typescript" });
      await put(session, "config/settings.ts", `export const settings: { name: string } = { name: "app" };`);
      await put(
        session,
        "src/utils/string.ts",
        "export const capitalize = (s: string): string => s[0]!.toUpperCase() + s.slice(1);\nexport enum Kind { A = 'kind-a' }",
      );
      await put(
        session,
        "src/index.ts",
        `import { settings } from "../config/settings";\nimport { capitalize, Kind } from "./utils/string.ts";\nconsole.log(capitalize(settings.name), Kind.A);\nexport const done = true;`,
      );
      await session.prints("App kind-a\n", `require("./src/index.ts")`);
      await session.prints(
        "Capitalize: Hello\n",
        `import { capitalize } from "./src/utils/string.ts";\nconsole.log(\`Capitalize: \${capitalize("hello")}\`);`,
      );
    },
    "X4: a project in deno": async (client, name) => {
      const session = await client.create(name("x4"), { language: "deno" });
      await put(
        session,
        "utils/helpers.ts",
        "export const greet = (n: string): string => `Hello, ${n}!`;\nexport const double = (n: number) => n * 2;",
      );
      await put(
        session,
        "main.ts",
        `import { double, greet } from "./utils/helpers.ts";\nconsole.log("Greet:", greet("Deno"));\nconsole.log("Double 5:", double(5));`,
      );
      await session.prints("Greet: Hello, Deno!\nDouble 5: 10\n", `import "./main.ts";`);
    },
    "X6: files and variables of the session": async (client, name) => {
      const session = await client.create(name("x6"), { language: "node" });
      await put(session, "data/config.json", `{"mode": "test"}`);
      await session.prints(
        `test ${name("x6")} node\n`,
        `const config = JSON.parse(require("fs").readFileSync("./data/config.json"));\nconsole.log(config.mode, process.env.ERA_SESSION_ID, process.env.ERA_LANGUAGE);`,
      );
    },
  },
  BREAKS_ONLY,
);
