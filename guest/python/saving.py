"""Saving the variables after each run: in the kernel when that is quick and safe, else in a forked child.

A save covers what the run can have touched: the names in the program and, transitively, those used by functions that
these variables lead to. A program that can reach variables without naming them touches all. A run begins only when the
state before it is saved, or captured by a child that is still writing it.
"""

import fcntl
import posix
import time
import warnings
from _thread import _count as count_threads
from select import POLLIN, poll

import kept_versions
import open_files
import processes
import running_threads
import save_report
import state_files
import state_versions
import surroundings
from by_name import global_names
from grouping import Snapshot
from parts import Budget
from verifying import Verified
from wire import parse_json, to_json

CHILD_SECONDS = 120
LOCK = state_files.STATE + "/lock"
END_OF_ANSWER = b"\n"
# Whoever uses one of these can reach variables that the program does not name.
REACH_ALL = frozenset(
    (
        *(
            "exec",
            "eval",
            "compile",
            "globals",
            "locals",
            "vars",
            "__main__",
            "__globals__",
            "__builtins__",
            "_getframe",
        ),
        *("f_globals", "f_locals", "f_back", "gc", "inspect", "ctypes", "importlib", "runpy", "timeit", "code", "pdb"),
        *("doctest", "settrace", "setprofile", "user_ns"),
    )
)
WAITS_FOR_CHILDREN = frozenset(("wait", "waitpid", "wait3", "wait4", "waitid"))


class Child:
    """A save in progress in a forked process."""

    def __init__(self, pid, reader, version, touched):
        self.pid = pid
        self.reader = reader
        self.version = version
        self.touched = touched
        self.deadline = time.monotonic() + CHILD_SECONDS


class Saver:
    """`kernel` tells: the variables, what waits to be restored, and the surroundings of the program."""

    def __init__(self, kernel, header):
        self.kernel = kernel
        self.kept = kept_versions.KeptVersions()
        self.header = header or save_report.NOTHING_SAVED
        self.touched = set()  # names, since the last save began
        self.touched_all = False
        self.verified = Verified()
        self.seen = {}  # name -> id of its value after the last run
        self.child = None
        self.report = None  # of the last save, until the agent was told
        self.surroundings = None  # in a child: those of its parent
        state_files.make_folders()
        state_files.remove_unfinished()

    def note(self, codes):
        """Notes what a program, which has ended, can have touched."""
        names = set()
        for code in codes:
            names |= global_names(code)
            self.touched_all |= "__main__" in code.co_consts
        self.touched_all |= not names.isdisjoint(REACH_ALL) or count_threads() > 0 or self.kernel.evaluator.has_tasks()
        self.touched_all |= self.kernel.outside.note(codes)
        self.touched |= names
        seen = self.seen
        self.look()
        if seen != self.seen:
            self.touched.update(name for name, _ in seen.items() ^ self.seen.items())

    def look(self):
        """Notes which value each variable has now."""
        self.seen = {name: id(value) for name, value in self.kernel.namespace.items()}

    def before_run(self, codes):
        """A program that waits for any child of its process must not find a save among them."""
        if self.child is not None and any(not global_names(code).isdisjoint(WAITS_FOR_CHILDREN) for code in codes):
            self.finish_child()

    def save(self, request, result, durable):
        """
        After a run, whose `request` has the version to make and those to keep. With `durable` the state is written and
        flushed on return, under a name that the agent changes.
        """
        self.finish_child()
        self.kept.keep = request["keep"]
        entry = {"version": request["version"], "run": request["run"], "result": result}
        stage, durable = durable, durable or self.kept.is_flush_due
        try:
            header, durable = self._write(Snapshot(self, entry, Budget()), durable, stage)
        except Exception:
            # It is large, or may run code of the session, or the session has broken what pickling needs.
            self._start_child(entry, durable, stage)
            if stage:
                self.finish_child()
        else:
            self._clear()
            self._saved(header, stage, durable)

    def save_all(self, version, keep):
        """Before the session sleeps or is copied: everything is looked at again, whether touched or not."""
        self.finish_child()
        self.kept.keep = keep
        self.touched_all = True
        open_files.prepare_all()
        entry = {"version": version, "run": self.header["run"], "result": self.header["result"]}
        self._start_child(entry, durable=True, stage=False)
        self.finish_child()

    def _clear(self):
        touched = self.touched, self.touched_all
        self.touched, self.touched_all = set(), False
        return touched

    def _write(self, snapshot, durable, stage):
        """Answers the header, and whether it is on disk."""
        header, data = snapshot.take(durable)
        durable = durable or self.kept.must_flush(header)
        state_versions.write_version(header, data, stage, self.kept.on_disk if durable else None)
        return header, durable

    # The child.

    def _start_child(self, entry, durable, stage):
        self.surroundings = surroundings.capture(self.kernel)
        reader, writer = posix.pipe2(posix.O_CLOEXEC)
        lock = _take_lock()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of forking beside threads
                running_threads.note()
                pid = posix.fork()
            if pid == 0:
                self._live_as_child(writer, entry, durable, stage)
            running_threads.forget()
            self.child = Child(pid, reader, entry["version"], self._clear())
            self.kernel.tell({"type": "saving", "pid": pid})
        except OSError as cause:
            posix.close(reader)
            self._failed(entry["version"], f"no process for it can be started: {cause.strerror}")
        finally:
            self.surroundings = None
            for descriptor in (writer, lock):
                posix.close(descriptor)

    def _live_as_child(self, writer, entry, durable, stage):
        try:
            null = posix.open("/dev/null", posix.O_RDWR)
            for descriptor in (0, 1, 2):
                posix.dup2(null, descriptor)
            processes.free_files()
            snapshot = Snapshot(self, entry, None)
            header, durable = self._write(snapshot, durable, stage)
            told = {"header": header, "verified": snapshot.newly_verified}
            answer = (b"S" if stage else b"D" if durable else b"V") + to_json(told)
        except state_files.WriteFailed as error:
            answer = b"F" + str(error).encode(errors="backslashreplace")
        except BaseException as error:
            answer = b"F" + f"{type(error).__name__}: {error}".encode(errors="backslashreplace")
        try:
            state_files.write_all(writer, answer + END_OF_ANSWER)
        finally:
            posix._exit(0)

    def finish_child(self):
        """Waits for the save in progress, if there is one, within its bound."""
        child, self.child = self.child, None
        if child is None:
            return
        answer = _read_all(child.reader, child.deadline)
        posix.close(child.reader)
        if answer is None:
            _kill(child.pid)
        elif answer.endswith(END_OF_ANSWER):
            answer = answer[: -len(END_OF_ANSWER)]
        else:
            answer = b""  # it was killed in the middle of its answer
        try:
            posix.waitpid(child.pid, 0)
        except ChildProcessError:
            pass  # the program has waited for it
        if answer and answer[:1] in b"SDV":
            told = parse_json(answer[1:])
            self.verified.add(told["verified"])
            self._saved(told["header"], answer[:1] == b"S", answer[:1] in b"SD")
            return
        self.touched |= child.touched[0]
        self.touched_all |= child.touched[1]
        state_files.remove_unfinished()
        self.kept.sweep()
        reason = "it took too long" if answer is None else answer[1:].decode(errors="replace")
        self._failed(child.version, reason or "its process was killed: is memory short?")

    # Reports.

    def _saved(self, header, staged, durable):
        self.header = header
        self.kernel.follow(header)
        self.kept.add(header, staged, durable)
        told = {"written": header["written"], "staged": staged, "background": count_threads()}
        self.report = save_report.of_save(header, header["version"], **told)

    def _failed(self, version, reason):
        self.report = save_report.of_failure(version, reason, self.header, background=count_threads())

    def wait_ms(self, report_after_ms):
        """How long to wait for a request before the child, or else the report, has its turn."""
        if self.child is None:
            return report_after_ms
        return max(0, (self.child.deadline - time.monotonic()) * 1000)

    def take_report(self):
        report, self.report = self.report, None
        return report


def _take_lock():
    """Held until the child has ended: a kernel that takes the place of this one waits for it before it restores."""
    lock = posix.open(LOCK, posix.O_CREAT | posix.O_RDWR | posix.O_NOFOLLOW | posix.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        pass  # something of the session holds it
    return lock


def _kill(pid):
    try:
        posix.kill(pid, 9)
    except ProcessLookupError:
        pass


def _read_all(descriptor, deadline):
    """What the child says until it has ended; None when that takes too long."""
    waiter = poll()
    waiter.register(descriptor, POLLIN)
    parts = []
    while waiter.poll(max(0, (deadline - time.monotonic()) * 1000)):
        part = posix.read(descriptor, 1 << 16)
        if not part:
            return b"".join(parts)
        parts.append(part)
    return None
