/** Files of the host, of the image and of the kernel. */
import { attempt, type Probe, type ProbeGroup, probe } from "./probe.ts";

const READ_ONLY = /^REFUSED (EROFS|EACCES|EPERM)/;
const CLOSED = /^REFUSED (EACCES|EPERM|ENOENT)/;
const SETTING = /^REFUSED (EACCES|EPERM|EROFS|ENOENT)/;
const NONE = /^REFUSED ENOENT/;

/** What a host has, and what programs have got hold of where containers were leaky. */
const ABSENT: Readonly<Record<string, string>> = {
  "the host's data folder": "/var/lib/era",
  "the host's kernel objects": "/sys/kernel",
  "control groups": "/sys/fs/cgroup",
  "the host's BPF objects": "/sys/fs/bpf",
  "the host's debugging files": "/sys/kernel/debug",
  "firmware variables": "/sys/firmware/efi",
  "a socket of Docker": "/var/run/docker.sock",
  "a socket of containerd": "/run/containerd/containerd.sock",
  "a socket of Podman": "/run/podman/podman.sock",
  "a socket of CRI-O": "/run/crio/crio.sock",
  "the system bus": "/run/dbus/system_bus_socket",
  "systemd's own socket": "/run/systemd/private",
  "a token of Kubernetes": "/var/run/secrets/kubernetes.io",
  "the host's boot files": "/boot/grub",
  "a marker of Docker that tells of its host": "/.dockerenv",
  "another session's state": "/run/era-state/../era-data",
};
const DEVICES = [
  ...[
    "mem",
    "kmem",
    "port",
    "kmsg",
    "kvm",
    "fuse",
    "net/tun",
    "sda",
    "vda",
    "nvme0n1",
    "dm-0",
    "loop0",
    "loop-control",
  ],
  ...[
    "mapper/control",
    "uinput",
    "input/event0",
    "vhost-net",
    "vhost-vsock",
    "vsock",
    "userfaultfd",
    "snapshot",
  ],
  ...["watchdog", "hwrng", "rtc0", "console", "tty0", "tty1", "ttyS0", "mcelog", "cpu_dma_latency", "hpet"],
  ...["dri/card0", "nvidia0", "snd/timer", "btrfs-control", "autofs", "cuse", "ppp", "rfkill"],
];
const IMAGE = [
  ...["/probe", "/usr/bin/probe", "/usr/lib/probe", "/etc/passwd", "/etc/ld.so.preload", "/etc/resolv.conf"],
  ...[
    "/opt/era/agent/agent.py",
    "/opt/era/probe",
    "/bin/sh",
    "/lib/probe",
    "/var/probe",
    "/home/probe",
    "/mnt/probe",
  ],
  ...["/run/probe", "/run/era/probe", "/dev/probe", "/dev/pts/probe", "/proc/probe", "/sys/probe"],
];
/** Settings of the kernel by which others have left their containers, or ended their host. */
const SETTINGS = [
  ...[
    "kernel/core_pattern",
    "kernel/modprobe",
    "kernel/hotplug",
    "kernel/poweroff_cmd",
    "kernel/panic",
    "kernel/sysrq",
  ],
  ...[
    "kernel/ns_last_pid",
    "kernel/msgmax",
    "kernel/shmmax",
    "kernel/sem",
    "kernel/hostname",
    "kernel/domainname",
  ],
  ...[
    "kernel/randomize_va_space",
    "kernel/yama/ptrace_scope",
    "kernel/unprivileged_bpf_disabled",
    "kernel/keys/maxkeys",
  ],
  ...["kernel/pid_max", "kernel/threads-max", "kernel/usermodehelper/bset", "kernel/perf_event_paranoid"],
  ...[
    "user/max_user_namespaces",
    "user/max_net_namespaces",
    "vm/overcommit_memory",
    "vm/drop_caches",
    "vm/swappiness",
  ],
  ...[
    "fs/file-max",
    "fs/suid_dumpable",
    "fs/protected_symlinks",
    "fs/binfmt_misc/register",
    "fs/mqueue/msg_max",
  ],
  ...[
    "net/ipv4/ip_forward",
    "net/ipv4/ip_unprivileged_port_start",
    "net/core/bpf_jit_enable",
    "net/ipv4/ping_group_range",
  ],
];
const SECRETS: readonly [string, string, string, RegExp][] = [
  ["the host's passwords", "/etc/shadow", "root:", CLOSED],
  ["keys of the host's root", "/proc/1/root/root/.ssh/id_rsa", "", CLOSED],
  ["the kernel's memory", "/proc/kcore", "", CLOSED],
  ["pages of the kernel", "/proc/kpageflags", "", CLOSED],
  ["counts of the kernel's pages", "/proc/kpagecount", "", CLOSED],
  ["the agent's memory", "/proc/1/mem", "", CLOSED],
  ["the agent's environment", "/proc/1/environ", "ERA_", CLOSED],
  ["the agent's descriptors", "/proc/1/fd/0", "", CLOSED],
  ["what the agent has mapped", "/proc/1/map_files/0-0", "", CLOSED],
  ["the agent's memory by its thread", "/proc/1/task/1/mem", "", CLOSED],
  ["the kernel's messages", "/proc/kmsg", "", CLOSED],
  ["accesses of pages by others", "/proc/1/pagemap", "", CLOSED],
  ["where the agent waits in the kernel", "/proc/1/stack", "", CLOSED],
  ["allocations of the kernel", "/proc/slabinfo", "", CLOSED],
  ["memory of the kernel by areas", "/proc/vmallocinfo", "", CLOSED],
];

const absent: Probe[] = Object.entries(ABSENT).map(([title, path]) =>
  probe(title, `os.stat(${JSON.stringify(path)})`, CLOSED),
);
const devices: Probe[] = DEVICES.map((name) =>
  probe(
    `the device ${name}`,
    `os.open("/dev/${name}", os.O_RDONLY | os.O_NONBLOCK)`,
    /^REFUSED (ENOENT|EACCES|EPERM|ENXIO|ENOTDIR)/,
  ),
);
const image: Probe[] = IMAGE.map((path) =>
  probe(`writing ${path}`, `open(${JSON.stringify(path)}, "a")`, SETTING),
);
const settings: Probe[] = SETTINGS.map((name) =>
  probe(`the kernel's setting ${name}`, `open("/proc/sys/${name}", "w").write("1")`, SETTING),
);
/** An empty file, or an empty folder, is what lies over such a thing. */
const READ = `def read(path, text):
    found = open(path, errors="replace").read(4096)
    return (found != "" and text in found) or none()`;
const secrets: Probe[] = SECRETS.map(([title, path, text, expected]) =>
  probe(title, `read(${JSON.stringify(path)}, ${JSON.stringify(text)})`, expected, READ),
);

const others: Probe[] = [
  probe("the host's folders by way of process 1", `os.listdir("/proc/1/root/var/lib/era")`, CLOSED),
  probe("/sys", `bool(os.listdir("/sys")) or none()`, NONE),
  probe("the agent's socket replaced", `os.rename("/run/era/agent.sock", "/run/era/other")`, READ_ONLY),
  probe("the agent's socket removed", `os.unlink("/run/era/egress.sock")`, READ_ONLY),
  probe(
    "a block device node",
    `os.mknod("/workspace/disk", 0o60600, os.makedev(254, 0)) or open("/workspace/disk", "rb").read(1)`,
    /^REFUSED (EPERM|EACCES)/,
  ),
  probe(
    "a character device node",
    `os.mknod("/workspace/mem", 0o20600, os.makedev(1, 1)) or open("/workspace/mem", "rb").read(1)`,
    /^REFUSED (EPERM|EACCES)/,
  ),
  probe("sysrq", `open("/proc/sysrq-trigger", "w").write("?")`, SETTING),
  probe(
    "any setting of its own namespaces",
    `[open(os.path.join(folder, name), "w").write("1") for folder, _, names in os.walk("/proc/sys/kernel") for name in names if os.access(os.path.join(folder, name), os.W_OK)] or none()`,
    SETTING,
  ),
  probe(
    "the interpreter overwritten by way of /proc/self/exe",
    `open("/proc/self/exe", "r+b")`,
    /^REFUSED (ETXTBSY|EROFS|EACCES)/,
  ),
  probe(
    "the first program overwritten by way of /proc/1/exe",
    `open("/proc/1/exe", "r+b")`,
    /^REFUSED (ETXTBSY|EROFS|EACCES|ENOENT|EPERM)/,
  ),
  probe(
    "a descriptor that leads out of the sandbox",
    "leading_out()",
    NONE,
    `def leading_out():
    # A folder of the host that was left open lets whoever has it out of any root.
    own = os.stat("/")
    for name in os.listdir("/proc/self/fd"):
        for back in ("", "/..", "/../../../.."):
            try: top = os.stat(f"/proc/self/fd/{name}{back}")
            except OSError: continue
            try: names = os.listdir(f"/proc/self/fd/{name}{back}")
            except OSError: continue
            if back.count("..") == 4 and (top.st_dev, top.st_ino) != (own.st_dev, own.st_ino): return names
    none()`,
  ),
  probe(
    "the working directory of a process outside",
    `[p for p in os.listdir("/proc") if p.isdigit() and os.path.isdir(f"/proc/{p}/cwd/var/lib/era")] or none()`,
    NONE,
  ),
  probe(
    "addresses of the kernel",
    `any(int(line.split()[0], 16) for line in open("/proc/kallsyms").readlines()[:50]) or none()`,
    CLOSED,
  ),
  probe(
    "the host's path of its folders",
    `[l for l in open("/proc/self/mountinfo") if "/var/lib/" in l and "/sessions/" in l and "workspace" not in l] or none()`,
    NONE,
  ),
  probe(
    "a set-id file that keeps its rights",
    "set_id()",
    /^REFUSED/,
    `def set_id():
    with open("/workspace/set-id", "wb") as file: file.write(open("/bin/true", "rb").read())
    os.chmod("/workspace/set-id", 0o6755)
    os.chown("/workspace/set-id", 1, 1)`,
  ),
  probe(
    "capabilities on a file",
    `os.setxattr("/workspace/capable", "security.capability", bytes.fromhex("0100000200000020000000000000000000000000"))`,
    /^REFUSED (EPERM|EINVAL|ENOTSUP|EOPNOTSUPP)/,
    `open("/workspace/capable", "w").close()`,
  ),
  probe("trusted attributes", `os.setxattr("/workspace", "trusted.overlay.opaque", b"y")`, /^REFUSED EPERM/),
  probe(
    "a file that cannot be removed",
    "fix()",
    /^REFUSED (EPERM|ENOTTY|EOPNOTSUPP|EACCES)/,
    `import fcntl
def fix():
    with open("/workspace/fixed", "w") as file: fcntl.ioctl(file, 0x40086602, struct.pack("l", 0x10))`,
  ),
  probe(
    "remounting the image writable",
    `subprocess.run(["mount", "-o", "remount,rw", "/"], check=True, capture_output=True)`,
    /^REFUSED CalledProcessError/,
  ),
  probe(
    "binding over a file",
    `subprocess.run(["mount", "--bind", "/workspace", "/opt"], check=True, capture_output=True)`,
    /^REFUSED CalledProcessError/,
  ),
  probe(
    "taking a cover off the agent's memory",
    `subprocess.run(["umount", "/proc/1/mem"], check=True, capture_output=True)`,
    /^REFUSED CalledProcessError/,
  ),
  probe(
    "a larger /tmp",
    `subprocess.run(["mount", "-o", "remount,size=4g", "/tmp"], check=True, capture_output=True)`,
    /^REFUSED CalledProcessError/,
  ),
  {
    title: "a release agent of a control group",
    code: attempt(
      `[open(os.path.join(folder, "release_agent"), "w") for folder, _, names in os.walk("/sys") if "release_agent" in names] or none()`,
    ),
    expected: CLOSED,
  },
];

export const FILES: ProbeGroup[] = [
  { name: "what is not there", probes: absent },
  { name: "devices", probes: devices },
  { name: "writing the image", probes: image },
  { name: "settings of the kernel", probes: settings },
  { name: "secrets", probes: secrets },
  { name: "other ways to files", probes: others },
];
