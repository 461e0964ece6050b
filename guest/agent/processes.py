"""Processes of the sandbox, as /proc shows them to its first process."""

import _signal
import time
from _ctypes import call_function, dlopen, dlsym
from posix import kill, listdir, readlink, sysconf, uname
from resource import RLIMIT_FSIZE, getrlimit, prlimit

SIGKILL, SIGCONT, SIGSTOP, SIGTERM = 9, 18, 19, 15
_TICKS = sysconf("SC_CLK_TCK")


# By Python, and so by all that it starts unless it is told otherwise: SIGPIPE, SIGXFSZ.
IGNORED = (13, 25)
PR_SET_PDEATHSIG, PR_SET_DUMPABLE = 1, 4
_prctl = dlsym(dlopen(None, 0), "prctl")  # pyright: ignore[reportArgumentType]  None: this program itself


def _set(option, value):
    # By _ctypes, since importing ctypes costs four times as much as all of this module.
    if call_function(_prctl, (option, value, 0, 0, 0)) != 0:
        raise OSError("prctl failed")


def set_reachable(reachable):
    """Whether other processes of the guest's user may open this one's memory and descriptors through /proc."""
    _set(PR_SET_DUMPABLE, int(reachable))


def leave_agent():
    """In a child of the agent: drops what is the agent's."""
    _signal.set_wakeup_fd(-1)
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
    set_reachable(True)


def end_with_parent():
    _set(PR_SET_PDEATHSIG, SIGKILL)


def _read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""  # the process ended in between


def _stat_fields(pid):
    # The command name may hold spaces and brackets: fields are counted from its closing bracket.
    return _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()


def _others():
    """Process -> (parent, whether all of it stands still), for all others that have a thread left."""
    found = {}
    for name in listdir("/proc"):
        if not name.isdigit() or name == "1":
            continue
        # The first thread may have ended before the others: then the process looks as if it had, too.
        states = _thread_states(name)
        fields = _stat_fields(name)
        if states and len(fields) > 1:
            found[int(name)] = int(fields[1]), all(state in STILL for state in states)
    return found


ENDED, STILL = (b"Z", b"X"), (b"T", b"t")
QUIET_PASSES = 2


def _thread_states(pid):
    try:
        threads = listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    fields = [_stat_fields(f"{pid}/task/{thread}") for thread in threads]
    return [each[0] for each in fields if each and each[0] not in ENDED]


def stop_all(seconds):
    """
    Has all other processes stand still; answers those that did not before. Raises TimeoutError when some do not.
    Children before their parents, so that a parent has taken the signal about its child by the time when it is stopped
    itself: CRIU does not image a process that stands still with a signal to take.
    """
    stopped = set()
    quiet = 0
    until = time.monotonic() + seconds
    while quiet < QUIET_PASSES:  # one looks at them one by one: meanwhile the last may have woken the first
        others = _others()
        moving = {pid for pid, (_, is_still) in others.items() if not is_still}
        quiet = 0 if moving else quiet + 1
        stopped |= moving
        for pid in moving.difference(parent for pid, (parent, _) in others.items() if pid in moving):
            send(pid, SIGSTOP)
        if time.monotonic() > until:
            go_on(stopped)
            raise TimeoutError(f"process {min(moving, default=0)} does not stand still")
        time.sleep(0.001)
    return stopped


def go_on(pids):
    for pid in pids:
        send(pid, SIGCONT)


def boot_ticks():
    """Now, in the unit in which /proc states start times."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * _TICKS)


def catches(pid, signal_number):
    """Whether a process has a handler of its own for a signal."""
    for line in _read(f"/proc/{pid}/status").splitlines():
        if line.startswith(b"SigCgt:"):
            return bool(int(line[7:], 16) >> (signal_number - 1) & 1)
    return False


def is_exiting(pid):
    """Whether a process is past the point of no return (PF_EXITING), so that its own exit status stands."""
    fields = _stat_fields(pid)
    return len(fields) < 7 or bool(int(fields[6]) & 4)


def is_child(pid, parent):
    """Whether a process is a child of another; one that has ended and was waited for is none any more."""
    fields = _stat_fields(pid)
    return len(fields) < 2 or int(fields[1]) == parent


class _Found:
    """A process as it was a moment ago."""

    def __init__(self, pid, fields):
        self.pid = pid
        self.is_zombie = fields[0] == b"Z"
        self.parent, self.session, self.ticks = int(fields[1]), int(fields[3]), int(fields[19])


def _all():
    """But for the agent."""
    for name in listdir("/proc"):
        if name.isdigit() and int(name) != 1:
            fields = _stat_fields(name)
            if len(fields) > 19:
                yield _Found(int(name), fields)


def _since(ticks):
    """Those started at or after a moment."""
    return (found for found in _all() if found.ticks >= ticks)


def started_since(ticks, spare, sessions=()):
    """
    Pids of the processes started at or after a moment that still run, but for those in `spare`, and of some sessions.
    """
    return [
        found.pid
        for found in _since(ticks)
        if not found.is_zombie and found.pid not in spare and found.session not in sessions
    ]


def zombies_since(ticks, parent):
    """Pids of the children of a process, started at or after a moment, that have ended and were not waited for."""
    return [found.pid for found in _since(ticks) if found.is_zombie and found.parent == parent]


def send(pid, signal_number):
    try:
        kill(pid, signal_number)
    except ProcessLookupError:
        pass  # it ended by itself


def kill_since(ticks, spare, sessions=()):
    """
    Ends every process started since a moment, but for those in `spare`, and of some sessions; those that fork as fast
    as they die take all others with them.
    """
    if not _kill(lambda: started_since(ticks, spare, sessions)):
        send(-1, SIGKILL)


def kill_session(session):
    """Ends all of a session that its first process has begun, and that have not left it."""
    _kill(lambda: [found.pid for found in _all() if found.session == session and not found.is_zombie])


def _kill(find):
    """
    Ends what is found until there is nothing more; answers whether it came to that. One with much memory is there for a
    while yet: it does nothing any more.
    """
    killed = set()
    for _ in range(20):
        pids = [pid for pid in find() if pid not in killed]
        if not pids:
            return True
        for pid in pids:
            send(pid, SIGSTOP)  # a stopped process cannot fork
        for pid in pids:
            send(pid, SIGKILL)
        killed.update(pids)
    return False


# The system call that reads, by its number on x86_64, or on arm64.
_READS = {b"0"} if uname().machine == "x86_64" else {b"63"}
MAX_THREADS = 512


def is_read(pipe):
    """Whether a process of the sandbox waits in a read of this pipe, named by its inode."""
    name, looked = f"pipe:[{pipe}]", 0
    for pid in listdir("/proc"):
        if not pid.isdigit() or pid == "1":
            continue
        try:
            threads = listdir(f"/proc/{pid}/task")
        except OSError:
            continue  # it ended in between
        for thread in threads:
            looked += 1
            if looked > MAX_THREADS:
                return False
            call = _read(f"/proc/{pid}/task/{thread}/syscall").split()
            if len(call) > 1 and call[0] in _READS and _leads_to(f"/proc/{pid}/fd/{int(call[1], 16)}", name):
                return True
    return False


def _leads_to(link, name):
    try:
        return readlink(link) == name
    except OSError:
        return False


# The largest file that the session's programs may write when nothing else is asked, and at most.
_FILE_BYTES, _MOST_FILE_BYTES = getrlimit(RLIMIT_FSIZE)


def limit_files(pid, size):
    """How large a file a process and what it starts may write, as far as the sandbox's own limit goes; 0: the usual."""
    limits = min(size or _FILE_BYTES, _MOST_FILE_BYTES), _MOST_FILE_BYTES
    try:
        if prlimit(pid, RLIMIT_FSIZE) != limits:
            prlimit(pid, RLIMIT_FSIZE, limits)
    except OSError:
        pass  # it has just ended


def free_files():
    """
    For a process that writes none of the session's own files: one value may be as large as all that may be saved, which
    may be more than one file of the program may be.
    """
    limit_files(0, _MOST_FILE_BYTES)


class LimitedStart:
    """What is started meanwhile may write files of this size; this process, before and after, any."""

    def __init__(self, size):
        self._size = size

    def __enter__(self):
        limit_files(0, self._size)

    def __exit__(self, *_error):
        free_files()
