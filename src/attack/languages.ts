/** The same acts by what each other language has of its own: a runtime's own ways need not be libc's. */
import type { Language } from "../protocol/languages.ts";
import type { Probe, ProbeGroup } from "./probe.ts";

const REFUSED = /^REFUSED/;

const NODE_PRELUDE = `
const attempt = async (act) => {
  try { console.log("ALLOWED", String(await act()).slice(0, 80)); }
  catch (error) { console.log("REFUSED", error.code ?? error.name); }
};
const none = () => { throw Object.assign(new Error("there is none"), { code: "ENOENT" }); };
const dial = async (options) => {
  const net = await import("node:net");
  return new Promise((resolve, reject) => {
    const socket = net.connect({ timeout: 2000, ...options }, () => { socket.destroy(); resolve("connected"); });
    socket.on("error", reject);
    socket.on("timeout", () => { socket.destroy(); reject(Object.assign(new Error("no answer"), { code: "ETIMEDOUT" })); });
  });
};
const fs = await import("node:fs");
const child = await import("node:child_process");
`;
/** Title, and an expression of JavaScript. */
const NODE: Readonly<Record<string, string>> = {
  "the host's passwords": `fs.readFileSync("/etc/shadow", "utf8").includes("root:") || none()`,
  "a file in the image": `fs.writeFileSync("/usr/lib/probe", "x")`,
  "the agent's memory": `fs.openSync("/proc/1/mem", "r+")`,
  "the agent's descriptors": `fs.readdirSync("/proc/1/fd").length || none()`,
  "the host's data folder": `fs.statSync("/var/lib/era")`,
  "a setting of the kernel": `fs.writeFileSync("/proc/sys/kernel/core_pattern", "|/x")`,
  "the program that runs it": `fs.openSync("/proc/self/exe", "r+")`,
  "a device": `fs.openSync("/dev/mem", "r")`,
  "the internet": `dial({ host: "192.0.2.1", port: 80 })`,
  "the metadata address": `dial({ host: "169.254.169.254", port: 80 })`,
  "a name": `dial({ host: "example.org", port: 80 })`,
  "fetch of the metadata address": `fetch("http://169.254.169.254/latest/meta-data/", { signal: AbortSignal.timeout(3000) }).then((said) => said.ok || none())`,
  "an abstract socket of the host": `dial({ path: "\\0/tmp/.X11-unix/X0" })`,
  "a socket of Docker": `dial({ path: "/var/run/docker.sock" })`,
  "ending the agent": `(process.kill(1, "SIGKILL"), none())`,
  "another user id": `process.setuid(1)`,
  "another group id": `process.setgid(1)`,
  "a namespace by a program": `child.execFileSync("unshare", ["--user", "true"], { stdio: "pipe" })`,
  "a mount by a program": `child.execFileSync("mount", ["-t", "tmpfs", "x", "/mnt"], { stdio: "pipe" })`,
  "priority by the os module": `(await import("node:os")).setPriority(-10)`,
  "a worker that reads what its session may not": `new Promise((resolve, reject) => import("node:worker_threads").then(({ Worker }) => {
    const worker = new Worker("require('node:fs').readFileSync('/proc/1/environ')", { eval: true });
    worker.on("error", reject); worker.on("exit", resolve); }))`,
  "a library of the host by dlopen": `process.dlopen({ exports: {} }, "/var/lib/era/x.node")`,
  "a report in a folder that is not its own": `(process.report.directory = "/usr/lib", process.report.writeReport("probe.json"), fs.statSync("/usr/lib/probe.json"))`,
};
const DENO: Readonly<Record<string, string>> = {
  "the host's passwords": `Deno.readTextFileSync("/etc/shadow").includes("root:") || none()`,
  "a file in the image": `Deno.writeTextFileSync("/usr/lib/probe", "x")`,
  "the agent's memory": `Deno.openSync("/proc/1/mem", { read: true, write: true })`,
  "the host's data folder": `Deno.statSync("/var/lib/era")`,
  "a setting of the kernel": `Deno.writeTextFileSync("/proc/sys/kernel/core_pattern", "|/x")`,
  "the internet": `Deno.connect({ hostname: "192.0.2.1", port: 80 })`,
  "the metadata address": `fetch("http://169.254.169.254/latest/meta-data/", { signal: AbortSignal.timeout(3000) }).then((said) => said.ok || none())`,
  "a socket of Docker": `Deno.connect({ transport: "unix", path: "/var/run/docker.sock" })`,
  "ending the agent": `(Deno.kill(1, "SIGKILL"), none())`,
  "a namespace by a program": `new Deno.Command("unshare", { args: ["--user", "true"] }).outputSync().code === 0 || none()`,
  "memory of another process by FFI": `Deno.dlopen("libc.so.6", { ptrace: { parameters: ["i64", "i64", "i64", "i64"], result: "i64" } }).symbols.ptrace(16n, 1n, 0n, 0n) === 0n || none()`,
  "a mount by FFI": `Deno.dlopen("libc.so.6", { umount2: { parameters: ["buffer", "i32"], result: "i32" } }).symbols.umount2(new TextEncoder().encode("/tmp\\0"), 0) === 0 || none()`,
};
const DENO_PRELUDE = `
const attempt = async (act) => {
  try { console.log("ALLOWED", String(await act()).slice(0, 80)); }
  catch (error) { console.log("REFUSED", error.code ?? error.name); }
};
const none = () => { throw new Error("there is none"); };
`;
/** Title, and a command that must fail. */
const BASH: Readonly<Record<string, string>> = {
  "the host's passwords": "grep -q root: /etc/shadow",
  "a file in the image": "echo x >/usr/lib/probe",
  "the agent's memory": '[ -n "$(head -c 1 /proc/1/mem | tr "\\0" x)" ]',
  "the agent's environment": "grep -q ERA_ /proc/1/environ",
  "the host's data folder": "ls /var/lib/era",
  "a setting of the kernel": "echo '|/x' >/proc/sys/kernel/core_pattern",
  "the internet by /dev/tcp": "timeout 3 bash -c '</dev/tcp/192.0.2.1/80'",
  "the metadata address by /dev/tcp": "timeout 3 bash -c '</dev/tcp/169.254.169.254/80'",
  "a datagram by /dev/udp": "echo x >/dev/udp/192.0.2.1/53",
  "ending the agent": "kill -9 1; sleep 0.1; false",
  "a namespace": "unshare --user true",
  "a mount": "mount -t tmpfs x /mnt",
  "another user": "su -c true nobody",
  "a device node": "mknod /workspace/disk b 8 0 && head -c 1 /workspace/disk",
  "a higher limit": "ulimit -n 1000000",
  "tracing another process": "gdb -p 1 --batch || strace -p 1",
  "a root of its own": "chroot /workspace true",
};
/** Title, and a statement that sets \`err\`. */
const GO: Readonly<Record<string, string>> = {
  "the host's passwords": `_, err = os.ReadFile("/proc/1/root/etc/shadow")`,
  "a file in the image": `err = os.WriteFile("/usr/lib/probe", nil, 0o644)`,
  "the agent's memory": `_, err = os.OpenFile("/proc/1/mem", os.O_RDWR, 0)`,
  "the host's data folder": `_, err = os.Stat("/var/lib/era")`,
  "a setting of the kernel": `err = os.WriteFile("/proc/sys/kernel/core_pattern", []byte("|/x"), 0o644)`,
  "the internet": `_, err = net.DialTimeout("tcp", "192.0.2.1:80", 2e9)`,
  "the metadata address": `_, err = net.DialTimeout("tcp", "169.254.169.254:80", 2e9)`,
  "a socket of Docker": `_, err = net.Dial("unix", "/var/run/docker.sock")`,
  "a mount": `err = syscall.Mount("x", "/mnt", "tmpfs", 0, "")`,
  "a namespace": `err = syscall.Unshare(syscall.CLONE_NEWUSER)`,
  "a clone with a namespace": `err = (&exec.Cmd{Path: "/bin/true", SysProcAttr: &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER}}).Run()`,
  "tracing another process": `err = syscall.PtraceAttach(1)`,
  "another user id": `err = syscall.Setuid(1)`,
  "a root of its own": `err = syscall.Chroot("/workspace")`,
  "a host name": `err = syscall.Sethostname([]byte("x"))`,
  "a reboot": `err = syscall.Reboot(0)`,
  "a raw socket": `_, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_RAW, 1)`,
  "a packet socket": `_, err = syscall.Socket(syscall.AF_PACKET, syscall.SOCK_RAW, 0)`,
};

const native = (
  language: Language,
  acts: Readonly<Record<string, string>>,
  program: (act: string) => string,
) => ({
  name: `in ${language}`,
  probes: Object.entries(acts).map(
    ([title, act]): Probe => ({
      title: `${language}: ${title}`,
      language,
      code: program(act),
      expected: REFUSED,
    }),
  ),
});

const inNode = (act: string) => `${NODE_PRELUDE}\nawait attempt(async () => ${act});`;
const inDeno = (act: string) => `${DENO_PRELUDE}\nawait attempt(async () => ${act});`;
const inBash = (act: string) => `if (${act}) >/dev/null 2>&1; then echo ALLOWED; else echo REFUSED $?; fi`;

/** All in one program: each one alone would be compiled for a second. */
const GO_PROGRAM = `package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
)

var _ = exec.Command
var _ = net.Dial

func say(title string, act func() error) {
	if err := act(); err != nil {
		fmt.Println("REFUSED", title, err)
	} else {
		fmt.Println("ALLOWED", title)
	}
}

func main() {
${Object.entries(GO)
  .map(([title, act]) => `	say(${JSON.stringify(title)}, func() (err error) { ${act}; return })`)
  .join("\n")}
	_ = syscall.Getpid()
	_ = os.Args
}
`;

export const LANGUAGE_GROUPS: ProbeGroup[] = [
  native("node", NODE, inNode),
  native("typescript", NODE, (act) =>
    inNode(act)
      .replace("async (act)", "async (act: () => unknown)")
      .replace("async (options)", "async (options: any)")
      .replaceAll("catch (error)", "catch (error: any)"),
  ),
  native("deno", DENO, inDeno),
  native("bash", BASH, inBash),
  {
    name: "in go",
    probes: [
      {
        title: `go: ${Object.keys(GO).join("; ")}`,
        language: "go",
        code: GO_PROGRAM,
        expected: /^(REFUSED .*\n)+$/,
      },
    ],
  },
];
