/**
 * Which system calls a guest may make. A call on no list answers ENOSYS, as on an older kernel, so that programs fall
 * back; a denied one answers EPERM. images/compile-seccomp.py turns this into BPF with libseccomp.
 */

const READ_WRITE = `read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 lseek close close_range
  sendfile splice tee vmsplice copy_file_range readahead fadvise64 fallocate ftruncate truncate fsync fdatasync sync
  syncfs sync_file_range ioctl fcntl flock dup dup2 dup3 pipe pipe2`;
const FILES = `open openat openat2 creat access faccessat faccessat2 stat fstat lstat newfstatat statx statfs fstatfs
  getdents getdents64 getcwd chdir fchdir rename renameat renameat2 mkdir mkdirat rmdir link linkat symlink symlinkat
  unlink unlinkat readlink readlinkat chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat umask utime utimes
  futimesat utimensat mknod mknodat getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr setxattr lsetxattr
  fsetxattr removexattr lremovexattr fremovexattr inotify_init inotify_init1 inotify_add_watch inotify_rm_watch
  memfd_create name_to_handle_at`;
const MEMORY = `mmap munmap mremap mprotect madvise brk mlock mlock2 munlock mlockall munlockall msync mincore
  pkey_alloc pkey_free pkey_mprotect membarrier get_mempolicy shmget shmat shmdt shmctl cachestat map_shadow_stack`;
const PROCESSES = `fork vfork execve execveat exit exit_group wait4 waitid getpid getppid gettid getpgid setpgid
  getpgrp getsid setsid getuid geteuid getgid getegid getresuid getresgid getgroups setuid setgid setreuid setregid
  setresuid setresgid setfsuid setfsgid setgroups capget capset prctl arch_prctl set_tid_address set_robust_list
  get_robust_list kill tkill tgkill pidfd_open pidfd_send_signal rseq uname sysinfo getrusage getrlimit setrlimit
  prlimit64 times getpriority setpriority sched_yield sched_getaffinity sched_setaffinity sched_getparam
  sched_setparam sched_getscheduler sched_setscheduler sched_get_priority_max sched_get_priority_min
  sched_rr_get_interval sched_getattr sched_setattr ioprio_get ioprio_set getcpu seccomp landlock_create_ruleset
  landlock_add_rule landlock_restrict_self`;
const SIGNALS = `rt_sigaction rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigpending rt_sigtimedwait rt_sigqueueinfo
  rt_tgsigqueueinfo sigaltstack signalfd signalfd4 pause alarm restart_syscall`;
const TIME = `clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday time getitimer setitimer timer_create
  timer_settime timer_gettime timer_getoverrun timer_delete timerfd_create timerfd_settime timerfd_gettime`;
const WAITING = `poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2
  eventfd eventfd2 futex futex_waitv futex_wake futex_wait futex_requeue semget semop semctl semtimedop msgget msgsnd msgrcv msgctl mq_open mq_unlink
  mq_timedsend mq_timedreceive mq_notify mq_getsetattr`;
const SOCKETS = `socketpair bind connect listen accept accept4 getsockname getpeername getsockopt setsockopt shutdown
  sendto recvfrom sendmsg recvmsg sendmmsg recvmmsg`;
const MISC = "getrandom";

// Not on any list, so that programs fall back to threads: io_setup takes of a number of events that all of the host
// shares.

/** Refused by name: what opens namespaces, other processes, the kernel or the host. */
const DENIED = `ptrace process_vm_readv process_vm_writev pidfd_getfd kcmp process_madvise process_mrelease mount umount2
  mount_setattr open_tree move_mount fsopen fsconfig fsmount fspick pivot_root chroot setns unshare open_by_handle_at
  bpf perf_event_open keyctl add_key request_key userfaultfd io_uring_setup io_uring_enter io_uring_register
  init_module finit_module delete_module kexec_load kexec_file_load reboot swapon swapoff acct quotactl quotactl_fd
  settimeofday clock_settime adjtimex clock_adjtime sethostname setdomainname syslog vhangup iopl ioperm modify_ldt
  lookup_dcookie nfsservctl fanotify_init fanotify_mark mbind set_mempolicy set_mempolicy_home_node migrate_pages
  move_pages memfd_secret`;

const list = (text: string) => text.split(/\s+/).filter((name) => name !== "");

const CLONE_NEW_MASK = 0x7e02_0080; // NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
const ALL = 0xffff_ffff;
const ADDR_NO_RANDOMIZE = 0x4_0000;
const UNIX = 1;
const INET = 2;
const INET6 = 10;
const NETLINK = 16;

/** One condition on an argument: (argument & mask) == value. */
type Condition = { argument: number; mask: number; value: number };

export type SeccompPolicy = {
  allow: string[];
  deny: string[];
  /** Allowed when all conditions of one of its entries hold; else as a call on no list. */
  allowWhen: { call: string; conditions: Condition[] }[];
};

const first = (call: string, value: number, mask = ALL) => ({
  call,
  conditions: [{ argument: 0, mask, value }],
});

export function seccompPolicy(): SeccompPolicy {
  return {
    // clone3 passes its flags in memory, where no filter sees them: ENOSYS (by absence) makes libc use clone.
    allow: [READ_WRITE, FILES, MEMORY, PROCESSES, SIGNALS, TIME, WAITING, SOCKETS, MISC].flatMap(list),
    deny: list(DENIED),
    allowWhen: [
      first("clone", 0, CLONE_NEW_MASK),
      ...[0, ALL, ADDR_NO_RANDOMIZE].map((value) => first("personality", value)),
      ...[UNIX, INET, INET6].map((family) => first("socket", family)),
      {
        call: "socket",
        conditions: [
          { argument: 0, mask: ALL, value: NETLINK },
          { argument: 2, mask: ALL, value: 0 }, // NETLINK_ROUTE: what programs ask for their addresses
        ],
      },
    ],
  };
}
