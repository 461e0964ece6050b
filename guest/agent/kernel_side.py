"""The agent and its kernels: starting one, hearing it, replacing one that has died, saving and rolling back through it."""

import _signal
import os
import select
import time

import processes
import state_files
import workspace
from kernel_process import ForkedKernel, ProgramKernel
from shell import describe as describe_shell
from wire import FrameError

MAX_DIED_UNUSED = 10
# A save that the answer waits for is not the program's time.
SAVE_SECONDS = 130
# Nor is what a new kernel takes to restore what the run began with.
RESTORE_SECONDS = 300
NOTHING_SAVED = {
    "type": "saved",
    "written": 0,
    "bytes": 0,
    "not_kept": [],
    "failed": "the interpreter ended while it saved: is memory short?",
    "staged": False,
    "complete": True,
    "threads": 0,
}
REPORT = {"version": int, "written": int, "bytes": int, "not_kept": list, "staged": bool, "complete": bool, "threads": int}


class KernelSide:
    def start_kernel(self):
        workspace.open_up()
        self.epoch += 1
        if callable(self.kernel_source):
            self.kernel = ForkedKernel(self.become_kernel)
        else:
            self.kernel = ProgramKernel(self.become_program, self.kernel_source)
        self.watch(self.kernel.fileno(), select.POLLIN, self.on_kernel)

    @staticmethod
    def leave_agent():
        """In the child: drops what is the agent's."""
        _signal.set_wakeup_fd(-1)
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
        processes.set_reachable(True)

    def become_kernel(self, line):
        self.leave_agent()
        keep = line.fileno()
        os.closerange(3, keep)
        os.closerange(keep + 1, 4096)
        self.kernel_source(line)

    def become_program(self):
        self.leave_agent()
        state_files.allow_large_files()  # it saves in its own process, and could not raise the limit itself
        os.setsid()

    def watch_kernel(self):
        """Has the kernel's line written to when it takes more, if something waits."""
        kernel = self.kernel
        if kernel.fileno() not in self.handlers:
            return  # its line is broken: it is on its way out
        if kernel.writes_to == kernel.fileno():
            self.poll.modify(kernel.fileno(), select.POLLIN | (select.POLLOUT if kernel.has_outgoing else 0))
        elif kernel.has_outgoing:
            self.watch(kernel.writes_to, select.POLLOUT, self.on_kernel_writable)
        elif kernel.writes_to in self.handlers:
            self.unwatch(kernel.writes_to)

    def on_kernel_writable(self, events):
        self.kernel.flush()
        if events & (select.POLLERR | select.POLLHUP):
            self.unwatch(self.kernel.writes_to)  # it ends; that is handled when it is reaped
        else:
            self.watch_kernel()

    def on_kernel(self, events):
        try:
            if events & select.POLLOUT:
                self.kernel.flush()
                self.watch_kernel()
            frames = self.kernel.receive() if events & ~select.POLLOUT else []
            for header, payload in frames:
                self.on_kernel_frame(header, payload)
        except EOFError:
            self.unwatch(self.kernel.fileno())
            if not processes.is_exiting(self.kernel.pid):
                self.break_kernel("it closed its line to the agent")
        except (FrameError, KeyError, TypeError):
            self.unwatch(self.kernel.fileno())
            self.break_kernel("it wrote something of its own on its line to the agent")

    def break_kernel(self, reason):
        """What this process answers can no longer be told from forgery: it is replaced."""
        self.kernel.broken = reason
        self.kernel.signal(_signal.SIGKILL)

    def on_kernel_frame(self, header, payload):
        kind = header["type"]
        if kind == "done":
            self.on_done(header, payload)
        elif kind in ("saving", "shell"):
            if type(header["pid"]) is not int or not processes.is_child(header["pid"], self.kernel.pid):
                raise FrameError("a process of the kernel's that is no child of it")
            self.kernel.own_pid = header["pid"]
            if kind == "saving" and self.run is not None and self.run.save == "sync":
                self.run.deadline = time.monotonic() + SAVE_SECONDS
        elif kind == "saved":
            self.on_saved(header)
        elif kind == "late":
            self.on_kernel_late(header["run"], header["stream"], payload)
        elif kind == "ready" and not self.kernel.is_ready:
            self.on_ready(header["restored"])
        else:
            raise FrameError("a frame that a kernel does not send")

    def on_ready(self, restored):
        self.kernel.is_ready = True
        if not self.is_restoring:
            self.kernel.warm_up()
            self.watch_kernel()
        self.restored = restored
        if restored is not None:
            self.keeps_state = True
        if not self.has_said_hello:
            self.has_said_hello = True
            self.version = restored["version"] if restored is not None else 0
            self.results.find(self.version)
            self.say_hello()
        elif self.is_restoring:
            self.is_restoring = False
            self.version = restored["version"] if restored is not None else 0
            self.results.find(self.version)
            self.say_restored()
        elif self.rolling_back is not None:
            self.end_rollback(None)
        elif self.unsent_end is not None:
            end, self.unsent_end = self.unsent_end, None
            self.finish_run(end)

    def restore(self):
        """A session has moved into the folders of this sandbox, in which nothing has run: its state is taken up."""
        if self.keeps_state or self.run is not None or not self.kernel.is_ready:
            raise FrameError("a session moves into a sandbox that is not new")
        workspace.open_up()
        self.keeps_state = self.is_restoring = True
        self.kernel.is_ready = False
        self.kernel.send({"type": "restore"})
        self.watch_kernel()

    def reseed(self):
        """This sandbox is a copy: it is to draw other random numbers than the original."""
        self.kernel.send({"type": "reseed"})
        self.watch_kernel()

    def save_all(self, version, keep):
        """Has everything saved; whoever asked hears of it by the report that says it is complete."""
        self.is_saving_all = True
        self.kernel.send({"type": "save", "version": version, "keep": keep})
        self.watch_kernel()

    def on_saved(self, report):
        check_report(report)
        if report["complete"]:
            if self.leaving:
                os._exit(0)
            self.is_saving_all = False
        if self.run is not None and self.run.target is self.kernel:
            self.run.begin()  # what it had to save first is done
        self.send(report)

    def on_done(self, header, results):
        if self.run is None or header["run"] != self.run.id:
            raise FrameError("an answer that nobody asked for")
        if header["outcome"] not in ("ok", "raised", "exited"):
            raise FrameError("an outcome that a kernel cannot have")
        saved = header["saved"]
        if saved is not None:
            check_report(saved)
        if header.get("restored") is not None:  # it holds what it held before the run
            self.restored = header["restored"]
            self.epoch += 1
        self.finish_run({key: header[key] for key in ("outcome", "exit_code", "error")}, results, header["saved"])

    def roll_back(self, version, to):
        """Makes an earlier version the newest, and replaces the kernel, which then restores it."""
        if self.run is not None:
            raise FrameError("a rollback while something runs")
        if not self.kernel.is_ready:
            self.end_rollback("its interpreter is being replaced")
            return
        self.rolling_back = to
        try:
            state_files.copy_version(version, to)
        except Exception as error:  # a guest can have put anything there
            self.end_rollback(str(error)[:1024])
            return
        self.version = to
        self.kernel.signal(_signal.SIGKILL)

    def end_rollback(self, error):
        self.rolling_back = None
        self.send({"type": "rolled_back", "error": error, "epoch": self.epoch, "restored": self.restored})
        self.restored = None

    # Children.

    def watch_children(self):
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        _signal.signal(_signal.SIGCHLD, lambda *_: None)
        _signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        self.watch(reader, select.POLLIN, lambda _events: self.on_children(reader))

    def on_children(self, reader):
        os.read(reader, 4096)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.kernel.pid and self.frozen is not None:
                self.kernel_status = status
            elif pid == self.kernel.pid:
                self.on_kernel_ended(status)
            elif self.run is not None and self.run.target is not self.kernel and pid == self.run.target.pid:
                self.finish_run(describe_shell(status))

    def on_kernel_ended(self, status):
        """A kernel may end in a run (crash, exit, kill) or between runs; there is always a next one."""
        kernel = self.kernel
        if kernel.fileno() in self.handlers:
            self.on_last_words()
        for descriptor in {kernel.fileno(), kernel.writes_to}:
            if descriptor in self.handlers:
                self.unwatch(descriptor)
        in_run = self.run is not None and self.run.target is kernel
        if in_run:
            self.run.kill_children(kernel)
        self.died_unused = 0 if kernel.has_run or kernel.is_ready else self.died_unused + 1
        if self.died_unused >= MAX_DIED_UNUSED:
            raise RuntimeError("kernels end before they have run anything")
        try:
            self.start_kernel()
        except OSError:
            processes.send(-1, _signal.SIGKILL)  # the guest holds every process slot or all memory
            self.start_kernel()
        kernel.close()
        end = describe_end(kernel, status)
        if self.leaving:
            os._exit(0)  # it died in its last save: the one before it stays
        if self.is_saving_all:
            self.is_saving_all = False
            self.send({**NOTHING_SAVED, "version": self.version})
        if in_run:
            self.unsent_end = self.unsent_end or end
            self.run.deadline = time.monotonic() + RESTORE_SECONDS
        elif self.rolling_back is None and self.line.socket is not None:
            self.send({"type": "kernel", "epoch": self.epoch, **end})

    def on_last_words(self):
        """An answer sent just before the end counts: the run was over by then."""
        try:
            for header, payload in self.kernel.receive():
                self.on_kernel_frame(header, payload)
        except (EOFError, FrameError, KeyError, TypeError):
            pass  # it ended without a word, or with half of one


def check_report(report):
    """Of a save. A program in the kernel's own process can make it write anything: that ends the kernel, not the line."""
    if type(report) is not dict or {key: type(value) for key, value in report.items() if key not in ("type", "failed")} != REPORT:
        raise FrameError("a report of a save that is none")
    if not all(type(item) is dict and all(type(part) is str for part in item.values()) for item in report["not_kept"]):
        raise FrameError("a report of a save that names no names")
    if report["failed"] is not None and type(report["failed"]) is not str:
        raise FrameError("a report of a save without its end")


def describe_end(kernel, status):
    if kernel.broken:
        error = {"name": "KernelLost", "message": f"The kernel was replaced: {kernel.broken}", "traceback": ""}
        return {"outcome": "lost", "signal": None, "exit_code": 1, "error": error}
    if os.WIFSIGNALED(status):
        return {"outcome": "signalled", "signal": os.WTERMSIG(status), "exit_code": 128 + os.WTERMSIG(status)}
    return {"outcome": "exited", "signal": None, "exit_code": os.WEXITSTATUS(status)}
