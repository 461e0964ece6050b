/**
 * Attacks that a guest may try. Each is a program in Python that prints REFUSED and the error's name, or ALLOWED; each
 * control is the same act where it is allowed, so that a probe cannot pass only because it does not work at all.
 */

export type Probe = { title: string; code: string; expected: RegExp };

const PRELUDE = `
import ctypes, errno, os, socket, struct
libc = ctypes.CDLL(None, use_errno=True)
def syscall(number, *args):
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *[a if isinstance(a, bytes) else ctypes.c_long(a) for a in args])
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
def attempt(act):
    try:
        value = act()
        print("ALLOWED", value)
    except (OSError, ValueError) as error:
        print("REFUSED", errno.errorcode.get(getattr(error, "errno", None), type(error).__name__))
`;

/** A program that tries an expression. */
export const attempt = (expression: string, setUp = "") =>
  `${PRELUDE}\n${setUp}\nattempt(lambda: ${expression})`;

/** Numbers of system calls on x86-64 and arm64, in that order. */
const CALLS: Readonly<Record<string, [number, number]>> = {
  ptrace: [101, 117],
  mount: [165, 40],
  umount2: [166, 39],
  pivot_root: [155, 41],
  unshare: [272, 97],
  setns: [308, 268],
  bpf: [321, 280],
  perf_event_open: [298, 241],
  keyctl: [250, 219],
  add_key: [248, 217],
  userfaultfd: [323, 282],
  io_uring_setup: [425, 425],
  kexec_load: [246, 104],
  init_module: [175, 105],
  finit_module: [313, 273],
  reboot: [169, 142],
  swapon: [167, 224],
  settimeofday: [164, 170],
  open_by_handle_at: [304, 265],
  process_vm_readv: [310, 270],
  pidfd_getfd: [438, 438],
  fsopen: [430, 430],
  open_tree: [428, 428],
  move_mount: [429, 429],
  memfd_secret: [447, 447],
  fanotify_init: [300, 262],
  quotactl: [179, 60],
  syslog: [103, 116],
  acct: [163, 89],
};

const number = (name: string) => CALLS[name]?.[process.arch === "arm64" ? 1 : 0] ?? -1;
const CLONE_NEWUSER = 0x1000_0000;

export const DENIED_CALLS: Probe[] = Object.keys(CALLS).map((name) => ({
  title: `the system call ${name}`,
  code: attempt(`syscall(${number(name)}, ${name === "unshare" ? CLONE_NEWUSER : 0}, 0, 0, 0, 0)`),
  expected: /^REFUSED EPERM/,
}));

export const NAMESPACES: Probe[] = [
  {
    title: "unshare of a user namespace",
    code: attempt("os.unshare(os.CLONE_NEWUSER)"),
    expected: /^REFUSED EPERM/,
  },
  {
    title: "clone with a user namespace",
    code: attempt(`syscall(${process.arch === "arm64" ? 220 : 56}, ${CLONE_NEWUSER | 17}, 0, 0, 0, 0)`),
    expected: /^REFUSED (EPERM|ENOSYS)/,
  },
  { title: "clone3", code: attempt("syscall(435, 0, 0)"), expected: /^REFUSED ENOSYS/ },
  { title: "a call of a newer kernel", code: attempt("syscall(1000, 0)"), expected: /^REFUSED ENOSYS/ },
];

export const FILES: Probe[] = [
  {
    title: "the host's /etc/shadow",
    code: attempt(`"root:" in open("/etc/shadow").read()`),
    expected: /^REFUSED EACCES/,
  },
  {
    title: "the root of process 1",
    code: attempt(`os.listdir("/proc/1/root/var/lib/era")`),
    expected: /^REFUSED (ENOENT|EACCES)/,
  },
  { title: "a file in /", code: attempt(`open("/probe", "w")`), expected: /^REFUSED (EROFS|EACCES)/ },
  {
    title: "a file in /usr/bin",
    code: attempt(`open("/usr/bin/probe", "w")`),
    expected: /^REFUSED (EROFS|EACCES)/,
  },
  {
    title: "the guest programs",
    code: attempt(`open("/opt/era/agent/agent.py", "a")`),
    expected: /^REFUSED (EROFS|EACCES)/,
  },
  {
    title: "the agent's socket replaced",
    code: attempt(`os.rename("/run/era/agent.sock", "/run/era/other")`),
    expected: /^REFUSED (EROFS|EACCES|EPERM)/,
  },
  {
    title: "/sys",
    code: attempt(`bool(os.listdir("/sys")) or os.stat("/sys/none")`),
    expected: /^REFUSED ENOENT/,
  },
  { title: "a file in /dev", code: attempt(`open("/dev/probe", "w")`), expected: /^REFUSED EROFS/ },
  {
    title: "a block device node",
    code: attempt(
      `os.mknod("/workspace/disk", 0o60600, os.makedev(254, 0)) or open("/workspace/disk", "rb").read(1)`,
    ),
    expected: /^REFUSED (EPERM|EACCES)/,
  },
  { title: "/dev/mem", code: attempt(`open("/dev/mem", "rb")`), expected: /^REFUSED ENOENT/ },
  {
    title: "/proc/kcore",
    code: attempt(`open("/proc/kcore", "rb").read(1)`),
    expected: /^REFUSED (EACCES|EPERM|ENOENT)/,
  },
  {
    title: "a kernel setting",
    code: attempt(`open("/proc/sys/kernel/core_pattern", "w").write("|/x")`),
    expected: /^REFUSED (EACCES|EPERM|EROFS)/,
  },
  {
    title: "further namespaces by a setting",
    code: attempt(`open("/proc/sys/user/max_user_namespaces", "w").write("9")`),
    expected: /^REFUSED (EACCES|EPERM|EROFS)/,
  },
  {
    title: "settings of its own namespaces",
    code: attempt(
      `[open(os.path.join(folder, name), "w").write("1") for folder, _, names in os.walk("/proc/sys/kernel") for name in names
        if os.access(os.path.join(folder, name), os.W_OK)] or open("/proc/sys/kernel/msgmax", "w").write("9")`,
    ),
    expected: /^REFUSED (EACCES|EPERM|EROFS)/,
  },
  {
    title: "sysrq",
    code: attempt(`open("/proc/sysrq-trigger", "w").write("b")`),
    expected: /^REFUSED (EACCES|EPERM|EROFS|ENOENT)/,
  },
  {
    title: "the environment of the host",
    code: attempt(`[k for k in open("/proc/1/environ").read().split("\\0") if "ERA_" in k] or open("/none")`),
    expected: /^REFUSED (ENOENT|EACCES)/,
  },
];

export const PROCESSES: Probe[] = [
  {
    title: "processes of the host or of others are seen",
    code: attempt(
      `max(int(p) for p in os.listdir("/proc") if p.isdigit()) < 100 and len(open("/proc/1/cmdline").read()) > 0 and open("/none")`,
    ),
    expected: /^REFUSED ENOENT/,
  },
  {
    title: "a signal to the agent ends it",
    code: attempt(`(os.kill(1, 9), os.kill(1, 15), os.kill(1, 19), "alive")[-1]`),
    expected: /^ALLOWED alive/,
  },
  {
    title: "the agent's memory",
    code: attempt(`os.open("/proc/1/mem", os.O_RDWR)`),
    expected: /^REFUSED (EACCES|EPERM)/,
  },
  {
    title: "the agent's descriptors",
    code: attempt(`os.open("/proc/1/fd/0", os.O_RDONLY)`),
    expected: /^REFUSED (EACCES|ENOENT)/,
  },
  {
    title: "the agent's memory and descriptors by way of its threads",
    code: attempt(`os.open("/proc/1/task/1/mem", os.O_RDWR)`),
    expected: /^REFUSED (EACCES|ENOENT)/,
  },
  { title: "more priority", code: attempt("os.nice(-5)"), expected: /^REFUSED (EPERM|EACCES)/ },
  {
    title: "less chance to be ended for memory",
    code: attempt(`os.write(os.open("/proc/self/oom_score_adj", os.O_WRONLY), b"-900")`),
    expected: /^REFUSED EACCES/,
  },
  {
    title: "higher limits",
    code: attempt(`__import__("resource").setrlimit(__import__("resource").RLIMIT_NOFILE, (65536, 65536))`),
    expected: /^REFUSED (EPERM|ValueError)/,
  },
];

export const PRIVILEGES: Probe[] = [
  { title: "another user id", code: attempt("os.setuid(1)"), expected: /^REFUSED EINVAL/ },
  {
    title: "a setuid program gives no rights",
    code: attempt(
      `(__import__("subprocess").run(["su", "-c", "true", "nobody"], capture_output=True).returncode == 0) or open("/none")`,
    ),
    expected: /^REFUSED ENOENT/,
  },
  {
    title: "capabilities",
    code: attempt(
      `int([l for l in open("/proc/self/status") if l.startswith("CapEff")][0].split()[1], 16) or open("/none")`,
    ),
    expected: /^REFUSED ENOENT/,
  },
  { title: "a host name of its own", code: attempt(`socket.sethostname("x")`), expected: /^REFUSED EPERM/ },
  {
    title: "the root directory changed",
    code: attempt(`os.chroot("/workspace")`),
    expected: /^REFUSED EPERM/,
  },
];

/** What the kernel has once for all of the host: no session may take it from the others. */
export const SHARED_BY_HOST: Probe[] = [
  {
    title: "events of asynchronous input and output",
    code: attempt(
      `syscall(${process.arch === "arm64" ? 0 : 206}, 60000, ctypes.addressof(ctypes.c_ulong(0)))`,
    ),
    expected: /^REFUSED ENOSYS/,
  },
  {
    title: "all pseudo-terminals",
    code: attempt(
      "take()",
      `def take():
    taken = []
    try:
        for _ in range(100): taken += os.openpty()
    finally:
        for each in taken: os.close(each)`,
    ),
    expected: /^REFUSED ENOSPC/,
  },
  {
    title: "memory in sockets, past the memory of the session",
    code: `${PRELUDE}
held, total = [], 0
try:
    while total < 200 << 20:
        server = socket.create_server(("127.0.0.1", 0)); client = socket.create_connection(server.getsockname()); other, _ = server.accept()
        for each in (client, other):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20); each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            each.setblocking(False)
        held += [server, client, other]
        sent = 0
        try:
            while True: sent += client.send(b"x" * 65536)
        except BlockingIOError: pass
        total += sent
        if len(held) > 600: break
    print("ALLOWED" if total > 120 << 20 else "REFUSED", total >> 20)
finally:
    for each in held: each.close()`,
    expected: /^REFUSED/,
  },
];

export const NETWORK: Probe[] = [
  {
    title: "an address of the internet",
    code: attempt(`socket.create_connection(("192.0.2.1", 80), 2)`),
    expected: /^REFUSED (ENETUNREACH|EHOSTUNREACH)/,
  },
  {
    title: "the metadata address",
    code: attempt(`socket.create_connection(("169.254.169.254", 80), 2)`),
    expected: /^REFUSED ENETUNREACH/,
  },
  { title: "a name", code: attempt(`socket.getaddrinfo("example.org", 80)`), expected: /^REFUSED/ },
  {
    title: "a raw socket",
    code: attempt("socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)"),
    expected: /^REFUSED EPERM/,
  },
  {
    title: "a packet socket",
    code: attempt("socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)"),
    expected: /^REFUSED (ENOSYS|EPERM)/,
  },
  {
    title: "a VM socket",
    code: attempt("socket.socket(40, socket.SOCK_STREAM, 0)"),
    expected: /^REFUSED (ENOSYS|EPERM)/,
  },
  {
    title: "a netfilter socket",
    code: attempt("socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)"),
    expected: /^REFUSED (ENOSYS|EPERM)/,
  },
  {
    title: "an algorithm socket",
    code: attempt("socket.socket(38, socket.SOCK_SEQPACKET, 0)"),
    expected: /^REFUSED (ENOSYS|EPERM)/,
  },
];
