/** Go as a language. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { SessionClient } from "../support/client.ts";
import { oneServer } from "../support/one-server.ts";
import { until } from "../support/server.ts";

const it = oneServer({ ERA_POOL: "python=0" });
const main = (imports: string, body: string) => `package main\nimport (${imports})\nfunc main() { ${body} }`;

test("go builds and runs whole programs, tells compile errors, and takes files from the workspace", async () => {
  const session = await it.client.create("go", { language: "go", memory_mib: 1024 });
  const wrong = await session.run("package main\nfunc main() { undefined_name() }");
  assert.deepEqual([wrong.exit_code, /undefined: undefined_name/.test(wrong.stderr)], [1, true]);
  const code = `package main\nimport ("fmt"; "os"; "net/http")\nfunc main() { b, _ := os.ReadFile("in.txt"); fmt.Print(string(b), http.StatusOK); os.Exit(4) }`;
  await fetch(`${it.server.url}${session.path}/files/in.txt`, { method: "PUT", body: "hi " });
  const answer = await session.run(code, { timeout: 60 });
  assert.deepEqual([answer.stdout, answer.exit_code], ["hi 200", 4]);
  await it.client.expect(200, "POST", `${session.path}/hibernate`);
  const endless = await session.run("package main\nfunc main() { for {} }", { timeout: 8 });
  assert.equal(endless.exit_code, 124);
  await fetch(`${it.server.url}${session.path}/files/go.mod`, {
    method: "PUT",
    body: "module example\n\ngo 1.24\n",
  });
  await fetch(`${it.server.url}${session.path}/files/lib/lib.go`, {
    method: "PUT",
    body: 'package lib\nfunc Name() string { return "lib" }\n',
  });
  await session.prints(
    "lib\n",
    `package main\nimport ("example/lib"; "fmt")\nfunc main() { fmt.Println(lib.Name()) }`,
    { timeout: 60 },
  );
});

const PROGRAMS: Readonly<Record<string, string>> = {
  "a trace of where it failed": main(`"fmt"`, `fmt.Println("a"); var x []int; fmt.Println(x[len(x)])`),
  "where it is": main(
    `"fmt"; "os"; "runtime"`,
    `_, file, line, _ := runtime.Caller(0); fmt.Println(file, line, runtime.GOROOT(), runtime.Version(), os.Args, os.Getenv("GODEBUG"))`,
  ),
  "much of the standard library": main(
    `_ "archive/zip"; _ "crypto/tls"; _ "database/sql"; _ "encoding/json"; _ "go/types"; _ "html/template"; _ "image/png"; _ "net/http/pprof"; _ "time/tzdata"; "fmt"; "os/user"`,
    "fmt.Println(user.Current())",
  ),
  "type parameters": main(
    `"fmt"; "maps"; "slices"`,
    "fmt.Println(slices.Sorted(maps.Keys(map[string]int{`b`: 1, `a`: 2}))); for i := range 2 { defer fmt.Println(i) }",
  ),
  "its own exit status": main(`"os"`, "os.Exit(3)"),
  "a file that is embedded": `package main\nimport ("fmt"; _ "embed")\n//go:embed note.txt\nvar note string\nfunc main() { fmt.Print(note) }`,
  "an order for the go command": `//go:debug panicnil=1\n${main("", "defer func() { println(recover() == nil) }(); panic(nil)")}`,
  "what the go command tells the program": main(
    `"fmt"; "runtime/debug"`,
    "info, _ := debug.ReadBuildInfo(); fmt.Println(info)",
  ),
  "a constraint": `//go:build windows\n\n${main(`"fmt"`, "fmt.Println(1)")}`,
  "a name of the runtime's": `package main\nimport _ "unsafe"\n//go:linkname nanotime runtime.nanotime\nfunc nanotime() int64\nfunc main() { println(nanotime() > 0) }`,
  "another line": `package main\nfunc main() {\n//line page.tmpl:10\npanic("x") }`,
  "an internal package": main(`"internal/abi"`, "_ = abi.FuncPCABI0"),
  "a package of the standard library's own": main(`"vendor/golang.org/x/net/idna"`, "_ = idna.Punycode"),
  "a package that is nowhere": main(`"example.org/nowhere"`, "_ = nowhere.X"),
  "a file beside it": main(`"./beside"`, "_ = beside.X"),
  "an import that is not used": main(`"fmt"`, ""),
  "a function without a body": "package main\nfunc f()\nfunc main() { f() }",
  "no main": "package main",
  "another package": "package other\nfunc main() {}",
  C: `package main\nimport "C"\nfunc main() {}`,
  "a NUL": `package main\nfunc main() { println("a\0") }`,
  "half a program": "package main\nfunc main() { x := }",
  nothing: "",
};

test("go programs are built without the go command, and none can tell", async () => {
  const plain = await it.client.create("go-plain", { language: "go", memory_mib: 1024 });
  const commanded = await it.client.create("go-command", { language: "go", memory_mib: 1024 });
  for (const session of [plain, commanded])
    await fetch(`${it.server.url}${session.path}/files/note.txt`, { method: "PUT", body: "noted\n" });
  for (const [what, code] of Object.entries(PROGRAMS)) {
    const answers = [];
    // A variable that may be the go command's has it called.
    for (const [session, env] of [
      [plain, {}],
      [commanded, { GO_ANYTHING: "1" }],
      [plain, {}],
    ] as const) {
      const { stdout, stderr, exit_code } = await session.run(code, { env, timeout: 60 });
      answers.push({ stdout, exit_code, stderr: stderr.replace(/0x[0-9a-f]+/g, "0x") });
    }
    assert.deepEqual(answers[0], answers[1], what);
    assert.deepEqual(answers[0], answers[2], `${what}, again`);
  }
});

/** Whether it ever was, in this session. */
const isCommandCalled = async ({ path }: SessionClient): Promise<boolean> => {
  const command = "test -e ~/.cache/go-build";
  return (await it.client.expect(200, "POST", `${path}/shell`, { command })).exit_code === 0;
};

test("a go program of the standard library alone does not wait for the go command", async () => {
  const session = await it.client.create("go-alone", { language: "go" });
  const { stdout } = await session.run(main(`"fmt"; "net/http"`, "fmt.Println(http.StatusOK)"));
  assert.deepEqual([stdout, await isCommandCalled(session)], ["200\n", false]);
});

test("an interrupted go build is not begun again", async () => {
  const session = await it.client.create("go-interrupted", { language: "go" });
  const constants = Array.from(
    { length: 60_000 },
    (_, at) => `func f${at}(x int) int { return x*${at} + len("${at}") }`,
  );
  const running = session.run(`package main\n${constants.join("\n")}\nfunc main() { println("ran") }`, {
    timeout: 60,
  });
  await until("it is built", async () => (await session.get()).status === "running");
  await it.client.expect(200, "POST", `${session.path}/interrupt`);
  const { outcome, stderr } = await running;
  assert.deepEqual([outcome, stderr, await isCommandCalled(session)], ["interrupted", "", false]);
  const { stderr: next } = await session.run('package main\nfunc main() { println("next") }');
  assert.equal(next, "next\n");
});

test("a built go program is run again only as it was, and what stands in a build's way is told", async () => {
  const session = await it.client.create("go-again", { language: "go" });
  const shell = (command: string) => it.client.expect(200, "POST", `${session.path}/shell`, { command });
  const code = main(`"fmt"`, `fmt.Println("whole")`);
  for (const harm of [
    "true",
    ": >/tmp/era-go/program",
    "chmod -x /tmp/era-go/program",
    "rm -r /tmp/era-go",
  ]) {
    await session.prints("whole\n", code);
    await shell(harm);
  }
  await session.prints("whole\n", code);
  await session.prints(
    "",
    main(`"os"`, `os.Remove(os.Args[0]); os.WriteFile(os.Args[0], []byte("#!/bin/sh\\necho fake\\n"), 0755)`),
  );
  await session.prints("whole\n", code);
  await shell("rm -r /tmp/era-go; touch /tmp/era-go");
  const refused = await session.run(code);
  assert.deepEqual([refused.exit_code, /^go: .*era-go/.test(refused.stderr)], [1, true]);
  await shell("rm /tmp/era-go");
  await session.prints("whole\n", code);
});
