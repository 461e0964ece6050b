/** Acts that must be refused, by guests and by clients, each with controls; and that it is told when one is not. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { describe, test } from "node:test";
import { attack, PROBES } from "../../src/attack/attack.ts";
import { attempt } from "../../src/attack/probe.ts";
import { type Finding, tryProbes } from "../../src/attack/try-probes.ts";
import { report } from "../../src/cli/attack.ts";
import { Client } from "../support/client.ts";
import { oneServer } from "../support/one-server.ts";

const KEY = "attack-key";
const MAX_DELAY_MS = 100;
const it = oneServer({ ERA_POOL: "python=2", ERA_API_KEY: KEY });
const target = () => ({ url: it.server.url, headers: { authorization: `Bearer ${KEY}` } });

test("all that is tried is as it should be, and holds up nobody", async (t) => {
  let [tried, controls] = [0, 0];
  for await (const { group, title, held, said } of attack(target())) {
    await t.test(`${group}: ${title}`, () => assert.ok(held, said));
    tried += 1;
    if (group.startsWith("controls")) controls += 1;
  }
  assert.ok(tried - controls >= 500 && controls >= 40, `${tried} tried, ${controls} of them controls`);
  const health = await (await fetch(`${it.server.url}/health`)).json();
  const { longest_delay_ms } = (health as { event_loop: { longest_delay_ms: number } }).event_loop;
  assert.ok(longest_delay_ms <= MAX_DELAY_MS, `the event loop was held up for ${longest_delay_ms} ms`);
});

test("an act that is not refused, and one that fails where it must work, are told, with status 1", async () => {
  const probes = [
    { title: "leaky", code: attempt("1"), expected: /^REFUSED/ },
    { title: "broken", code: "1/0", expected: /^ALLOWED/ },
    { title: "fine", code: attempt("none()"), expected: /^REFUSED/ },
  ];
  const findings: Finding[] = [];
  async function* kept() {
    for await (const finding of tryProbes(target(), [{ name: "some", probes }], "told")) {
      findings.push(finding);
      yield finding;
    }
  }
  assert.equal(await report(kept(), new AbortController().signal), 1);
  assert.deepEqual(
    findings.map(({ title, held }) => [title, held]),
    [
      ["leaky", false],
      ["broken", false],
      ["fine", true],
    ],
  );
  assert.match(findings[0]?.said ?? "", /ALLOWED 1/);
  assert.match(findings[1]?.said ?? "", /ZeroDivisionError/);
});

describe("controls: possible on the host", () => {
  const possible: [string, string[]][] = [
    ["a user namespace can be made", ["unshare", "--user", "true"]],
    [
      "a file system can be mounted in a namespace",
      ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"],
    ],
    ["/etc/shadow can be read", ["head", "-c", "1", "/etc/shadow"]],
    ["/sys has content", ["test", "-e", "/sys/kernel"]],
  ];
  for (const [title, [file = "", ...args]] of possible) {
    test(title, () => assert.equal(spawnSync(file, args).status, 0));
  }
});

/** Programs of each language that have the probes tried by a process which they start, and print what it prints. */
const STARTERS: Readonly<Record<string, string>> = {
  node: `console.log(require("node:child_process").execFileSync("python3", ["runner.py"], { encoding: "utf8" }))`,
  typescript: `import { execFileSync } from "node:child_process";\nconst said: string = execFileSync("python3", ["runner.py"], { encoding: "utf8" });\nconsole.log(said);`,
  deno: `console.log(new TextDecoder().decode(new Deno.Command("python3", { args: ["runner.py"] }).outputSync().stdout))`,
  go: `package main\nimport ("os"; "os/exec")\nfunc main() { c := exec.Command("python3", "runner.py"); c.Stdout = os.Stdout; if err := c.Run(); err != nil { panic(err) } }`,
  bash: "python3 runner.py",
};
/** Each in a process of its own, so that none changes what comes after it. */
const RUNNER = `import json, os, sys
said = {}
for title, code in json.load(open("probes.json")).items():
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.dup2(writer, 1)
        sys.stdout = open(1, "w", closefd=False)
        try: exec(compile(code, title, "exec"), {"__name__": "__main__"})
        finally:
            sys.stdout.flush()
            os._exit(0)
    os.close(writer)
    with open(reader) as file: said[title] = file.read()
    os.wait()
json.dump(said, sys.stdout)`;

describe("refused inside, in every language", () => {
  const probes = PROBES.flatMap((group) => group.probes).filter(({ language }) => language === undefined);
  const files = {
    "runner.py": RUNNER,
    "probes.json": JSON.stringify(Object.fromEntries(probes.map(({ title, code }) => [title, code]))),
  };
  for (const [language, code] of Object.entries(STARTERS)) {
    test(language, async () => {
      const session = await new Client(it.server.url, target().headers).create(`prober-${language}`, {
        language,
      });
      for (const [path, body] of Object.entries(files))
        await fetch(`${it.server.url}${session.path}/files/${path}`, {
          method: "PUT",
          body,
          headers: target().headers,
        });
      const answer = await session.run(code, { timeout: 120 });
      const said = JSON.parse(answer.stdout);
      for (const { title, expected } of probes)
        assert.match(said[title] ?? "", expected, `${title}: ${answer.stderr}`);
    });
  }
});
