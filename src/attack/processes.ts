/** Other processes, rights, and what the kernel has once for all of the host. */
import { byMachine, PRELUDE, type ProbeGroup, probe } from "./probe.ts";

const NONE = /^REFUSED ENOENT/;
const DENIED = /^REFUSED EPERM/;

const PROCESSES: ProbeGroup = {
  name: "other processes",
  probes: [
    probe(
      "processes of the host or of others",
      `[p for p in os.listdir("/proc") if p.isdigit() and p != "1" and os.stat(f"/proc/{p}").st_uid != os.getuid()] or none()`,
      NONE,
    ),
    probe("ending the agent", `(os.kill(1, 9), os.kill(1, 15), os.kill(1, 19), none())`, NONE),
    probe(
      "ending everything at once",
      `everything()`,
      NONE,
      `def everything():
    # All that it may signal is its own: the agent is still there to tell of it.
    if os.fork() == 0:
        os.kill(-1, 18)
        os._exit(0)
    os.wait()
    none()`,
    ),
    probe("more priority", "os.nice(-5)", /^REFUSED (EPERM|EACCES)/),
    probe(
      "less chance to be ended for memory",
      `os.write(os.open("/proc/self/oom_score_adj", os.O_WRONLY), b"-900")`,
      /^REFUSED (EACCES|EPERM)/,
    ),
    probe(
      "higher limits",
      `__import__("resource").setrlimit(__import__("resource").RLIMIT_NOFILE, (65536, 65536))`,
      /^REFUSED (EPERM|ValueError)/,
    ),
    probe(
      "names of its users",
      `open("/proc/self/uid_map", "wb", buffering=0).write(b"0 0 1")`,
      /^REFUSED (EPERM|EACCES|EROFS)/,
    ),
    probe("its groups", `os.setgroups([0, 1, 2, 3])`, /^REFUSED (EPERM|EINVAL)/),
    probe(
      "the agent's name",
      `open("/proc/1/comm", "wb", buffering=0).write(b"x")`,
      /^REFUSED (EACCES|EPERM|EROFS|EINVAL)/,
    ),
    probe(
      "how it ends for memory, by its control group",
      `open("/proc/self/cgroup").read().count("/system.slice") and none() or open("/sys/fs/cgroup/memory.max", "w")`,
      /^REFUSED (ENOENT|EACCES|EROFS)/,
    ),
  ],
};

const RIGHTS: ProbeGroup = {
  name: "rights",
  probes: [
    probe("another user id", "os.setuid(1)", /^REFUSED (EINVAL|EPERM)/),
    probe("another group id", "os.setgid(1)", /^REFUSED (EINVAL|EPERM)/),
    probe("another user for files alone", "(libc.setfsuid(1), libc.setfsuid(-1) == 1 or none())", NONE),
    probe(
      "a set-id program gives no rights",
      `(subprocess.run(["su", "-c", "true", "nobody"], capture_output=True).returncode == 0) or none()`,
      NONE,
    ),
    probe(
      "capabilities in force",
      `int([l for l in open("/proc/self/status") if l.startswith("CapEff")][0].split()[1], 16) or none()`,
      NONE,
    ),
    probe(
      "capabilities that may be had",
      `int([l for l in open("/proc/self/status") if l.startswith("CapPrm")][0].split()[1], 16) or none()`,
      NONE,
    ),
    probe(
      "capabilities for programs that it starts",
      `int([l for l in open("/proc/self/status") if l.startswith("CapBnd")][0].split()[1], 16) & (1 << 21) and subprocess.run(["mount", "-t", "tmpfs", "x", "/mnt"], check=True, capture_output=True) or none()`,
      /^REFUSED (ENOENT|CalledProcessError)/,
    ),
    probe(
      "new rights after exec",
      `[l for l in open("/proc/self/status") if l.startswith("NoNewPrivs")][0].split()[1] == "0" or none()`,
      NONE,
    ),
    probe("a host name of its own", `socket.sethostname("x")`, DENIED),
    probe("the root directory changed", `os.chroot("/workspace")`, DENIED),
    probe("the clock", `__import__("time").clock_settime(0, 0)`, DENIED),
    probe(
      "a small port that others would trust",
      `socket.create_server(("127.0.0.1", 80)) and none()`,
      /^REFUSED/,
    ),
  ],
};

const SHARED: ProbeGroup = {
  name: "what all of the host shares",
  probes: [
    probe(
      "events of asynchronous input and output",
      `syscall(${byMachine(206, 0)}, 60000, ctypes.addressof(ctypes.c_ulong(0)))`,
      /^REFUSED ENOSYS/,
    ),
    probe(
      "all pseudo-terminals",
      "take()",
      /^REFUSED (ENOSPC|EMFILE|OSError|EAGAIN)/,
      `def take():
    taken = []
    try:
        for _ in range(100): taken += os.openpty()
    finally:
        for each in taken: os.close(each)`,
    ),
    probe(
      "all processes",
      "take()",
      /^REFUSED EAGAIN/,
      `def take():
    children = []
    try:
        while len(children) < 2000:
            pid = os.fork()
            if pid == 0:
                import time
                time.sleep(30)
                os._exit(0)
            children.append(pid)
    finally:
        for pid in children:
            os.kill(pid, 9)
            os.waitpid(pid, 0)`,
    ),
    probe(
      "all descriptors of one process",
      "take()",
      /^REFUSED EMFILE/,
      `def take():
    taken = []
    try:
        while len(taken) < 100_000: taken.append(os.open("/dev/null", 0))
    finally:
        for each in taken: os.close(each)`,
    ),
    probe(
      "all watches of files",
      "take()",
      /^REFUSED (EMFILE|ENOSPC|ENOMEM|EAGAIN)/,
      `def take():
    taken = []
    try:
        while len(taken) < 2000:
            descriptor = libc.inotify_init1(0)
            if descriptor < 0: raise OSError(ctypes.get_errno(), "")
            taken.append(descriptor)
    finally:
        for each in taken: os.close(each)`,
    ),
    probe(
      "all keys",
      `[syscall(${byMachine(248, 217)}, b"user", str(n).encode(), b"x", 1, -3) for n in range(1000)]`,
      DENIED,
    ),
    {
      title: "memory in sockets, past the memory of the session",
      code: `${PRELUDE}
held, total = [], 0
try:
    while total < 200 << 20 and len(held) < 600:
        server = socket.create_server(("127.0.0.1", 0)); client = socket.create_connection(server.getsockname()); other, _ = server.accept()
        for each in (client, other):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20); each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            each.setblocking(False)
        held += [server, client, other]
        try:
            while True: total += client.send(b"x" * 65536)
        except BlockingIOError: pass
    print("ALLOWED" if total > 120 << 20 else "REFUSED", total >> 20)
finally:
    for each in held: each.close()`,
      expected: /^REFUSED/,
    },
    probe(
      "memory in pipes, past its share",
      "take()",
      /^REFUSED (EPERM|EMFILE|EBUSY|ENOMEM)/,
      `import fcntl
def take():
    taken, total = [], 0
    try:
        while total < 400 << 20:
            pair = os.pipe(); taken += pair
            total += fcntl.fcntl(pair[0], 1031, 1 << 20)
    finally:
        for each in taken: os.close(each)`,
    ),
    probe(
      "memory of /tmp, past its size",
      "take()",
      /^REFUSED ENOSPC/,
      `def take():
    try:
        with open("/tmp/taken", "wb") as file:
            for _ in range(4096): file.write(bytes(1 << 20))
    finally: os.unlink("/tmp/taken")`,
    ),
    probe(
      "memory of /dev/shm, past its size",
      "take()",
      /^REFUSED ENOSPC/,
      `def take():
    try:
        with open("/dev/shm/taken", "wb") as file:
            for _ in range(4096): file.write(bytes(1 << 20))
    finally: os.unlink("/dev/shm/taken")`,
    ),
  ],
};

export const PROCESS_GROUPS: ProbeGroup[] = [PROCESSES, RIGHTS, SHARED];
