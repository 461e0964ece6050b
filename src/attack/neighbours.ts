/** What one session may see of another, and of the host that it runs on, while both have something to be seen. */
import { once } from "node:events";
import { createServer, type Server } from "node:net";
import { type ProbeGroup, probe } from "./probe.ts";

const NONE = /^REFUSED (ENOENT|EACCES|ECONNREFUSED|ESRCH|EPERM|CalledProcessError)/;
const TREASURE = "era-attack-treasure";
const PORT = 7_777;
const MARK = "9123";

/** What the neighbour leaves where others might look. */
export const VICTIM = `import os, socket, subprocess
for path in ("/workspace/secret", "/root/secret", "/tmp/secret", "/dev/shm/secret"):
    with open(path, "w") as file: file.write("${TREASURE}")
listener = socket.create_server(("127.0.0.1", ${PORT}))
abstract = socket.socket(socket.AF_UNIX); abstract.bind("\\0${TREASURE}"); abstract.listen()
named = socket.socket(socket.AF_UNIX); named.bind("/tmp/socket"); named.listen()
sleeper = subprocess.Popen(["sleep", "${MARK}"])
os.environ["SECRET"] = "${TREASURE}"
queue = __import__("ctypes").CDLL(None).msgget(4242, 0o1666)
shared = __import__("ctypes").CDLL(None).shmget(4242, 4096, 0o1666)
print("ALLOWED", queue >= 0 and shared >= 0)`;

const AGAINST_SESSIONS: ProbeGroup = {
  name: "another session",
  probes: [
    ...["/workspace/secret", "/root/secret", "/tmp/secret", "/dev/shm/secret"].map((path) =>
      probe(`its file ${path}`, `"${TREASURE}" in open("${path}").read() or none()`, NONE),
    ),
    probe(
      "its files anywhere",
      `subprocess.run("timeout 30 grep -rls ${TREASURE} /workspace /root /tmp /dev/shm /var /home /mnt /opt", shell=True, capture_output=True).stdout or none()`,
      NONE,
    ),
    probe(
      "its processes",
      `subprocess.run(["pgrep", "-f", "sleep ${MARK}"], check=True, capture_output=True)`,
      NONE,
    ),
    probe(
      "its environment",
      `[p for p in os.listdir("/proc") if p.isdigit() and p not in ("1", str(os.getpid())) and b"${TREASURE}" in open(f"/proc/{p}/environ", "rb").read()] or none()`,
      NONE,
    ),
    probe("its port", `socket.create_connection(("127.0.0.1", ${PORT}), 2)`, NONE),
    probe("its abstract socket", `socket.socket(socket.AF_UNIX).connect("\\0${TREASURE}")`, NONE),
    probe("its socket in /tmp", `socket.socket(socket.AF_UNIX).connect("/tmp/socket")`, NONE),
    probe("its queue of messages", "libc.msgget(4242, 0) >= 0 or none()", NONE),
    probe("its shared memory", "libc.shmget(4242, 0, 0) >= 0 or none()", NONE),
  ],
};

/** Titles and acts in the session itself that must work: what is not found is there to be found. */
export const VICTIM_CONTROLS: ProbeGroup = {
  name: "controls: a session finds what is its own",
  probes: [
    probe("its file", `"${TREASURE}" in open("/tmp/secret").read() or none()`, /^ALLOWED/),
    probe(
      "its process",
      `subprocess.run(["pgrep", "-f", "sleep ${MARK}"], check=True, capture_output=True).returncode == 0`,
      /^ALLOWED/,
    ),
    probe("its port", `socket.create_connection(("127.0.0.1", ${PORT}), 2).fileno() > 0`, /^ALLOWED/),
    probe(
      "its abstract socket",
      `socket.socket(socket.AF_UNIX).connect("\\0${TREASURE}") is None`,
      /^ALLOWED/,
    ),
    probe("its queue of messages", "libc.msgget(4242, 0) >= 0 or none()", /^ALLOWED/),
  ],
};

/** Servers of the host, on its loopback and by an abstract name; and the acts that must not reach them. */
export async function hostServers(): Promise<{ group: ProbeGroup } & AsyncDisposable> {
  const name = `era-attack-${process.pid}`;
  const servers = [
    createServer((socket) => socket.end("host")),
    createServer((socket) => socket.end("host")),
  ];
  const [tcp, abstract] = servers as [Server, Server];
  tcp.listen(0, "127.0.0.1");
  abstract.listen(`\0${name}`);
  await Promise.all(servers.map((server) => server.listening || once(server, "listening")));
  const { port } = tcp.address() as { port: number };
  const group = {
    name: "servers of the host",
    probes: [
      probe("its loopback", `socket.create_connection(("127.0.0.1", ${port}), 2).recv(9)`, NONE),
      probe("its loopback by a name", `socket.create_connection(("localhost", ${port}), 2).recv(9)`, NONE),
      probe(
        "its loopback by the address of all",
        `socket.create_connection(("0.0.0.0", ${port}), 2).recv(9)`,
        NONE,
      ),
      probe("its abstract socket", `socket.socket(socket.AF_UNIX).connect("\\0${name}")`, NONE),
    ],
  };
  return {
    group,
    [Symbol.asyncDispose]: async () => {
      for (const server of servers) server.close();
    },
  };
}

export const NEIGHBOUR_GROUPS = [AGAINST_SESSIONS];
