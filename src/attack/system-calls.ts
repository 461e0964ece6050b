/** The kernel's interfaces that a guest has no business with. */
import { byMachine, type Probe, type ProbeGroup, probe } from "./probe.ts";

const DENIED = /^REFUSED EPERM/;
const UNKNOWN = /^REFUSED ENOSYS/;
const REFUSED = /^REFUSED (EPERM|ENOSYS)/;
const REFUSED_OR_ENDED = /^REFUSED ENOENT/;

/** Numbers on x86-64 and arm64; -1 where there is no such call. Refused by name. */
const DENIED_CALLS: Readonly<Record<string, [number, number]>> = {
  ptrace: [101, 117],
  process_vm_readv: [310, 270],
  process_vm_writev: [311, 271],
  pidfd_getfd: [438, 438],
  kcmp: [312, 272],
  process_madvise: [440, 440],
  process_mrelease: [448, 448],
  mount: [165, 40],
  umount2: [166, 39],
  mount_setattr: [442, 442],
  open_tree: [428, 428],
  move_mount: [429, 429],
  fsopen: [430, 430],
  fsconfig: [431, 431],
  fsmount: [432, 432],
  fspick: [433, 433],
  pivot_root: [155, 41],
  chroot: [161, 51],
  setns: [308, 268],
  unshare: [272, 97],
  open_by_handle_at: [304, 265],
  bpf: [321, 280],
  perf_event_open: [298, 241],
  keyctl: [250, 219],
  add_key: [248, 217],
  request_key: [249, 218],
  userfaultfd: [323, 282],
  io_uring_setup: [425, 425],
  io_uring_enter: [426, 426],
  io_uring_register: [427, 427],
  init_module: [175, 105],
  finit_module: [313, 273],
  delete_module: [176, 106],
  kexec_load: [246, 104],
  kexec_file_load: [320, 294],
  reboot: [169, 142],
  swapon: [167, 224],
  swapoff: [168, 225],
  acct: [163, 89],
  quotactl: [179, 60],
  quotactl_fd: [443, 443],
  settimeofday: [164, 170],
  clock_settime: [227, 112],
  adjtimex: [159, 171],
  clock_adjtime: [305, 266],
  sethostname: [170, 161],
  setdomainname: [171, 162],
  syslog: [103, 116],
  vhangup: [153, 58],
  iopl: [172, -1],
  ioperm: [173, -1],
  modify_ldt: [154, -1],
  fanotify_init: [300, 262],
  fanotify_mark: [301, 263],
  mbind: [237, 235],
  set_mempolicy: [238, 237],
  migrate_pages: [256, 238],
  move_pages: [279, 239],
  memfd_secret: [447, 447],
};

/** On no list: as on a kernel that does not have them. */
const UNKNOWN_CALLS: Readonly<Record<string, [number, number]>> = {
  clone3: [435, 435],
  io_setup: [206, 0],
  io_destroy: [207, 1],
  io_submit: [209, 2],
  io_cancel: [210, 3],
  io_getevents: [208, 4],
  "a call of a newer kernel": [1000, 1000],
  statmount: [457, 457],
  listmount: [458, 458],
  lsm_get_self_attr: [459, 459],
  lsm_set_self_attr: [460, 460],
  lsm_list_modules: [461, 461],
  mseal: [462, 462],
  open_tree_attr: [467, 467],
  uselib: [134, -1],
  ustat: [136, -1],
  sysfs: [139, -1],
  _sysctl: [156, -1],
  create_module: [174, -1],
  get_kernel_syms: [177, -1],
  query_module: [178, -1],
  getpmsg: [181, -1],
  afs_syscall: [183, -1],
  tuxcall: [184, -1],
  security: [185, -1],
  epoll_ctl_old: [214, -1],
  vserver: [236, -1],
};

const CLONE = byMachine(56, 220);
/** Flags of clone and unshare. */
const NAMESPACES: Readonly<Record<string, number>> = {
  time: 0x80,
  mount: 0x2_0000,
  cgroup: 0x200_0000,
  uts: 0x400_0000,
  ipc: 0x800_0000,
  user: 0x1000_0000,
  pid: 0x2000_0000,
  net: 0x4000_0000,
};
const SIGCHLD = 17;

/** Families of sockets: what leads out of the network namespace, or to parts of the kernel that few programs need. */
const FAMILIES: Readonly<Record<string, number>> = {
  "AX.25": 3,
  IPX: 4,
  AppleTalk: 5,
  "NET/ROM": 6,
  bridge: 7,
  "ATM PVC": 8,
  "X.25": 9,
  ROSE: 11,
  DECnet: 12,
  key: 15,
  packet: 17,
  Econet: 19,
  "ATM SVC": 20,
  RDS: 21,
  IRDA: 23,
  PPPoX: 24,
  LLC: 26,
  InfiniBand: 27,
  CAN: 29,
  TIPC: 30,
  Bluetooth: 31,
  RxRPC: 33,
  ISDN: 34,
  Phonet: 35,
  CAIF: 37,
  algorithms: 38,
  NFC: 39,
  vsock: 40,
  KCM: 41,
  Qualcomm: 42,
  SMC: 43,
  XDP: 44,
};
/** Protocols of netlink, but for routes, which tell a program its own addresses. */
const NETLINKS: Readonly<Record<string, number>> = {
  sock_diag: 4,
  xfrm: 6,
  audit: 9,
  connector: 11,
  netfilter: 12,
  uevents: 15,
  generic: 16,
};

const calls = (of: typeof DENIED_CALLS, expected: RegExp): Probe[] =>
  Object.entries(of).flatMap(([name, [x64, arm64]]) => {
    const number = byMachine(x64, arm64);
    const argument = name === "unshare" ? NAMESPACES.user : 0;
    return number < 0
      ? []
      : [probe(`the system call ${name}`, `syscall(${number}, ${argument}, 0, 0, 0, 0)`, expected)];
  });

const inNamespaces: Probe[] = Object.entries(NAMESPACES).flatMap(([name, flag]) => [
  probe(`unshare of a namespace: ${name}`, `syscall(${byMachine(272, 97)}, ${flag})`, DENIED),
  probe(`clone with a namespace: ${name}`, `syscall(${CLONE}, ${flag | SIGCHLD}, 0, 0, 0, 0)`, REFUSED),
]);

const families: Probe[] = [
  ...Object.entries(FAMILIES).map(([name, number]) =>
    probe(`a socket of the family ${name}`, `socket.socket(${number}, socket.SOCK_DGRAM, 0)`, REFUSED),
  ),
  ...Object.entries(NETLINKS).map(([name, number]) =>
    probe(
      `a netlink socket: ${name}`,
      `socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, ${number})`,
      REFUSED,
    ),
  ),
  probe("a raw socket", "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)", DENIED),
  probe("a raw socket of IPv6", "socket.socket(socket.AF_INET6, socket.SOCK_RAW, 58)", DENIED),
];

const KEYS = "keep = ctypes.create_string_buffer(8)";
const others: Probe[] = [
  probe("other memory of its own by prctl", "libc.prctl(35, 1, 0, 0, 0) and none()", /^REFUSED/),
  probe(
    "huge pages locked",
    `syscall(${byMachine(9, 222)}, 0, 1 << 30, 3, 0x40022, -1, 0)`,
    /^REFUSED (ENOMEM|EPERM)/,
  ),
  probe(
    "locked memory without bound",
    "libc.mlockall(7) and none()",
    /^REFUSED/,
    "import resource\nresource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.getrlimit(resource.RLIMIT_MEMLOCK)[1],) * 2)",
  ),
  probe("real-time priority", `os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))`, DENIED),
  probe(
    "idle input and output of others",
    `syscall(${byMachine(251, 30)}, 1, 0, (1 << 13) | 0)`,
    /^REFUSED (EPERM|EINVAL)/,
    KEYS,
  ),
  probe("rights for all who come after it", "libc.prctl(38, 0, 0, 0, 0) and none()", /^REFUSED/),
  probe("no filter any more", "libc.prctl(22, 0, 0, 0, 0) and none()", /^REFUSED/),
  probe(
    "a filter that lets all through",
    "filter_all()",
    /^REFUSED EPERM/,
    `def filter_all():
    # Filters add up: after one that allows all, what was refused still is.
    program = (ctypes.c_uint64 * 1)(0x7fff000000000006)
    header = struct.pack("HxxxxxxP", 1, ctypes.addressof(program))
    if os.fork() == 0:
        if libc.prctl(22, 2, header, 0, 0): os._exit(99)
        try: syscall(${byMachine(165, 40)}, 0, 0, 0, 0, 0)
        except OSError as error: os._exit(error.errno)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.wait()[1])
    if code: raise OSError(code, "")`,
  ),
];

/** In a child: the filter may end whoever makes such a call. */
const IN_CHILD = `def in_child(act):
    if os.fork() == 0:
        try: act()
        except OSError: os._exit(1)
        os._exit(0)
    return os.wait()[1] == 0 or none()`;
const ofOtherMachines: Probe[] = [
  probe("a call of the x32 machine", "in_child(lambda: syscall(0x40000027))", REFUSED_OR_ENDED, IN_CHILD),
  probe(
    "a call of a 32-bit machine by the old gate",
    "in_child(gate)",
    REFUSED_OR_ENDED,
    `${IN_CHILD}
import mmap
def gate():
    if os.uname().machine != "x86_64": none()
    memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(bytes.fromhex("b814000000cd80c3"))  # getpid
    if ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(memory)))() <= 0: none()`,
  ),
];

export const SYSTEM_CALLS: ProbeGroup[] = [
  { name: "system calls that are refused", probes: calls(DENIED_CALLS, DENIED) },
  { name: "system calls that are not there", probes: calls(UNKNOWN_CALLS, UNKNOWN) },
  { name: "namespaces", probes: inNamespaces },
  { name: "sockets of other families", probes: families },
  { name: "other ways into the kernel", probes: [...others, ...ofOtherMachines] },
];
