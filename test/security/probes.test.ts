/** Acts that must be refused inside. Controls: the same programs see what is allowed, and the host can do the acts. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { after, describe, test } from "node:test";
import { oneServer } from "../support/one-server.ts";
import {
  attempt,
  DENIED_CALLS,
  FILES,
  NAMESPACES,
  NETWORK,
  PRIVILEGES,
  PROCESSES,
  type Probe,
  SHARED_BY_HOST,
} from "./probes.ts";

const it = oneServer({ ERA_POOL: "python=2" });
const GROUPS: Record<string, Probe[]> = {
  "system calls": DENIED_CALLS,
  namespaces: NAMESPACES,
  files: FILES,
  processes: PROCESSES,
  privileges: PRIVILEGES,
  network: NETWORK,
  "shared by the host": SHARED_BY_HOST,
};

for (const [group, probes] of Object.entries(GROUPS)) {
  describe(`refused inside: ${group}`, () => {
    for (const { title, code, expected } of probes) {
      test(title, async () => {
        const answer = await it.client.session("prober").run(code);
        assert.match(answer.stdout, expected, answer.stderr);
      });
    }
  });
}

describe("controls: allowed inside", () => {
  const allowed: [string, string][] = [
    ["a plain system call", "syscall(39) > 0 or syscall(172) > 0"],
    ["a file of its own", `open("/workspace/mine", "w").write("x")`],
    ["a file in /tmp", `open("/tmp/mine", "w").write("x")`],
    ["a TCP socket on its own loopback", `socket.create_server(("127.0.0.1", 0)).getsockname()[1] > 0`],
    ["a child process", `__import__("subprocess").run(["true"]).returncode`],
    [
      "a signal to its own child",
      `(lambda p: (p.kill(), p.wait())[1])(__import__("subprocess").Popen(["sleep", "9"]))`,
    ],
    ["its own memory", `open("/proc/self/mem", "rb") is not None`],
    ["a FIFO", `os.mkfifo("/workspace/fifo")`],
    ["a pseudo-terminal", "os.openpty()"],
    ["a thread", `__import__("threading").Thread(target=print).start()`],
  ];
  for (const [title, expression] of allowed) {
    test(title, async () => {
      assert.match((await it.client.session("prober").run(attempt(expression))).stdout, /ALLOWED/);
    });
  }
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

describe("the host's loopback", () => {
  const listener = createServer((socket) => socket.end("host")).listen(0, "127.0.0.1");
  after(() => listener.close());

  test("a server on it is reached from the host, and not from inside", async () => {
    const { port } = listener.address() as { port: number };
    const code = attempt(`socket.create_connection(("127.0.0.1", ${port}), 2).recv(9)`);
    assert.match((await it.client.session("prober").run(code)).stdout, /^REFUSED ECONNREFUSED/);
    const [outside] = await once(connect(port, "127.0.0.1"), "data");
    assert.equal(String(outside), "host");
  });

  test("an abstract socket of the host is not reached from inside", async () => {
    const abstract = createServer((socket) => socket.end("host")).listen("\0era-probe");
    const code = attempt(`(lambda s: s.connect("\\0era-probe"))(socket.socket(socket.AF_UNIX))`);
    assert.match((await it.client.session("prober").run(code)).stdout, /^REFUSED ECONNREFUSED/);
    abstract.close();
  });
});

describe("sessions against each other", () => {
  test("neither files, nor processes, nor sockets of another session are seen", async () => {
    const victim = await it.client.create("victim");
    await victim.run(`import socket, subprocess
open("secret", "w").write("treasure")
open("/tmp/secret", "w").write("treasure")
open("/dev/shm/secret", "w").write("treasure")
listener = socket.create_server(("127.0.0.1", 7777))
abstract = socket.socket(socket.AF_UNIX)
abstract.bind("\\0victim")
subprocess.Popen(["sleep", "1234"])`);
    await victim.prints(
      "True\n",
      `import os; print(all(os.path.exists(p) for p in ("secret", "/tmp/secret", "/dev/shm/secret")))`,
    );
    const intruder = await it.client.create("intruder");
    const answer = await intruder.run(
      `import os, socket, subprocess
found = [p for p in ("secret", "/tmp/secret", "/dev/shm/secret") if os.path.exists(p)]
found += [r for r in subprocess.run("grep -rl treasure / --include=secret 2>/dev/null", shell=True, capture_output=True, text=True).stdout.split()]
found += ["sleep"] if subprocess.run(["pgrep", "-f", "sleep 1234"], capture_output=True).returncode == 0 else []
for address, family in ((("127.0.0.1", 7777), socket.AF_INET), ("\\0victim", socket.AF_UNIX)):
    try:
        socket.socket(family).connect(address)
        found.append(address)
    except OSError:
        pass
print(found)`,
      { timeout: 60 },
    );
    assert.equal(answer.stdout, "[]\n");
  });
});

/** Programs of each language that have the probes tried by a process which they start, and print what it prints. */
const STARTERS: Readonly<Record<string, string>> = {
  node: `console.log(require("node:child_process").execFileSync("python3", ["runner.py"], { encoding: "utf8" }))`,
  typescript: `import { execFileSync } from "node:child_process";\nconst said: string = execFileSync("python3", ["runner.py"], { encoding: "utf8" });\nconsole.log(said);`,
  deno: `console.log(new TextDecoder().decode(new Deno.Command("python3", { args: ["runner.py"] }).outputSync().stdout))`,
  go: `package main\nimport ("os"; "os/exec")\nfunc main() { c := exec.Command("python3", "runner.py"); c.Stdout = os.Stdout; if err := c.Run(); err != nil { panic(err) } }`,
  bash: "python3 runner.py",
};
const RUNNER = `import json, subprocess, sys
said = {}
for title, code in json.load(open("probes.json")).items():
    said[title] = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20).stdout
print(json.dumps(said))`;

describe("refused inside, in every language", () => {
  const probes = Object.values(GROUPS).flat();
  const files = {
    "runner.py": RUNNER,
    "probes.json": JSON.stringify(Object.fromEntries(probes.map(({ title, code }) => [title, code]))),
  };
  for (const [language, code] of Object.entries(STARTERS)) {
    test(language, async () => {
      const session = await it.client.create(`prober-${language}`, { language });
      for (const [path, body] of Object.entries(files))
        await fetch(`${it.server.url}${session.path}/files/${path}`, { method: "PUT", body });
      const answer = await session.run(code, { timeout: 120 });
      const said = JSON.parse(answer.stdout);
      for (const { title, expected } of probes)
        assert.match(said[title], expected, `${title}: ${answer.stderr}`);
    });
  }
});
