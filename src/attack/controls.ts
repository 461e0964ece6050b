/** Acts that must work inside, by the same programs: what is refused is refused for what it is. */
import { byMachine, type Probe, type ProbeGroup, probe } from "./probe.ts";

const ALLOWED = /^ALLOWED/;
const allowed = (title: string, expression: string, setUp = ""): Probe =>
  probe(title, expression, ALLOWED, setUp);

const IN_PYTHON: Probe[] = [
  allowed("a plain system call", `syscall(${byMachine(39, 172)}) > 0 or none()`),
  allowed(
    "a process by clone",
    `(lambda pid: os._exit(0) if pid == 0 else os.waitpid(pid, 0))(syscall(${byMachine(56, 220)}, 17, 0, 0, 0, 0))`,
  ),
  allowed("a filter of its own", "libc.prctl(38, 1, 0, 0, 0) == 0 or none()"),
  allowed("a file of its own", `open("/workspace/mine", "w").write("x")`),
  allowed("a file of its own, read", `open("/etc/hostname").read() or True`),
  allowed("a file in /tmp", `open("/tmp/mine", "w").write("x")`),
  allowed("a file in its home", `open("/root/mine", "w").write("x")`),
  allowed("an attribute of a file", `os.setxattr("/workspace", "user.mine", b"x")`),
  allowed("its own memory", `open("/proc/self/mem", "rb") is not None`),
  allowed("its own settings, read", `open("/proc/sys/kernel/core_pattern").read() != ""`),
  allowed("its own environment", `open("/proc/self/environ", "rb") is not None`),
  allowed("a device that programs need", `os.open("/dev/urandom", os.O_RDONLY)`),
  allowed("a FIFO", `os.mkfifo("/workspace/fifo-" + os.urandom(4).hex())`),
  allowed("a child process", `subprocess.run(["true"], check=True).returncode == 0`),
  allowed(
    "a signal to its own child",
    `(lambda p: (p.kill(), p.wait())[1])(subprocess.Popen(["sleep", "9"]))`,
  ),
  allowed("less priority", "os.nice(1)"),
  allowed(
    "a lower limit",
    `__import__("resource").setrlimit(__import__("resource").RLIMIT_CORE, (0, 0)) is None`,
  ),
  allowed("a thread", `__import__("threading").Thread(target=int).start() is None`),
  allowed("a pseudo-terminal", "(lambda pair: [os.close(each) for each in pair])(os.openpty())"),
  allowed("a watch of files", "os.close(libc.inotify_init1(0)) is None"),
  allowed("a TCP socket on its own loopback", `socket.create_server(("127.0.0.1", 0)).getsockname()[1] > 0`),
  allowed("a UDP socket", "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).fileno() > 0"),
  allowed("a socket of IPv6", "socket.socket(socket.AF_INET6, socket.SOCK_STREAM).fileno() > 0"),
  allowed("a netlink socket for routes", "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).fileno() > 0"),
  allowed(
    "an abstract socket of its own",
    `socket.socket(socket.AF_UNIX).bind("\\0mine" + os.urandom(4).hex()) is None`,
  ),
  allowed(
    "a connection to itself",
    "itself()",
    `def itself():
    server = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(server.getsockname(), 2)
    server.accept()[0].sendall(b"x")
    return client.recv(1) == b"x"`,
  ),
  allowed(
    "the way out answers",
    "answers()",
    `def answers():
    way = socket.socket(socket.AF_UNIX); way.settimeout(5); way.connect("/run/era/egress.sock")
    way.sendall(b"GET http://example.org/ HTTP/1.1\\r\\nHost: example.org\\r\\n\\r\\n")
    return way.recv(4096).startswith(b"HTTP/1.1 403") or none()`,
  ),
];

const IN_OTHERS: Probe[] = [
  ...(["node", "typescript"] as const).map(
    (language): Probe => ({
      title: `${language}: a file, a program and a server of its own`,
      language,
      code: `const { execFileSync } = await import("node:child_process");
const { readFileSync, writeFileSync } = await import("node:fs");
const { createServer } = await import("node:http");
writeFileSync("mine", "x");
execFileSync("true");
const server = createServer((_request, response) => { response.end("own"); });
await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", () => resolve()));
const said = await (await fetch("http://127.0.0.1:" + (server.address() as { port: number }).port)).text();
server.close();
console.log(readFileSync("mine", "utf8") === "x" && said === "own" ? "ALLOWED" : "REFUSED");`.replace(
        language === "node" ? /<void>| as \{ port: number \}/g : /$^/,
        "",
      ),
      expected: ALLOWED,
    }),
  ),
  {
    title: "deno: a file and a program of its own",
    language: "deno",
    code: `Deno.writeTextFileSync("mine", "x");
console.log(new Deno.Command("true").outputSync().success && Deno.readTextFileSync("mine") === "x" ? "ALLOWED" : "REFUSED");`,
    expected: ALLOWED,
  },
  {
    title: "bash: a file and a program of its own",
    language: "bash",
    code: "if (echo x >mine && grep -q x mine) >/dev/null 2>&1; then echo ALLOWED; else echo REFUSED $?; fi",
    expected: ALLOWED,
  },
  {
    title: "go: a file and a program of its own",
    language: "go",
    code: `package main

import (
	"fmt"
	"os"
	"os/exec"
)

func main() {
	if os.WriteFile("mine", []byte("x"), 0o644) == nil && exec.Command("true").Run() == nil {
		fmt.Println("ALLOWED")
	} else {
		fmt.Println("REFUSED")
	}
}
`,
    expected: ALLOWED,
  },
];

export const CONTROLS: ProbeGroup[] = [
  { name: "controls: allowed inside", probes: IN_PYTHON },
  { name: "controls: allowed in other languages", probes: IN_OTHERS },
];
