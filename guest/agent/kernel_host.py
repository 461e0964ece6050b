"""
The kernel of the moment: started, heard, and replaced when it has died. What it says is checked here, and passed on.
"""

import _signal
import os
import select

import processes
import workspace
from kernel_frames import check_done, check_report, check_restored
from kernel_process import ForkedKernel, Kernel, ProgramKernel
from prepared import PreparedKernel
from state_header import is_size
from wire import FrameError

MAX_DIED_UNUSED = 10


class KernelHost:
    """
    `owner` is told: on_ready(), on_done(header, results), on_saved(report), on_saving(), on_late(run, stream, payload),
    on_display(run, payload),
    and on_kernel_ended(kernel, end) when there is a next one already.
    """

    kernel: Kernel  # from start() on

    def __init__(self, loop, source, owner):
        """`source` is a function that serves a kernel in a forked process, or the command of a program that is one."""
        self._loop = loop
        self._source = source
        self._owner = owner
        self._died_unused = 0  # kernels in a row
        self._late_status = None  # of one that ended while all stood still
        self.prepared = PreparedKernel(loop, self._become_prepared if callable(source) else None)
        self.is_frozen = False
        self.epoch = 0
        self.found = None  # what a new kernel found saved, until the server was told

    @property
    def is_ready(self):
        return self.kernel.is_ready

    def take_found(self):
        found, self.found = self.found, None
        return found

    def start(self):
        workspace.open_up()
        self.epoch += 1
        if callable(self._source):
            self.kernel = ForkedKernel(self._become_kernel)
        else:
            self.kernel = ProgramKernel(self._become_program, self._source)
        self._loop.watch(self.kernel.fileno(), select.POLLIN, self._on_kernel)

    def use_prepared(self, prepared):
        """Puts another kernel, which has run nothing either, in the place of the one that has."""
        if prepared is None:
            return
        unused = self.kernel
        self._loop.unwatch(unused.fileno())
        processes.send(unused.pid, _signal.SIGKILL)
        unused.close()
        self.kernel = prepared
        self._loop.watch(prepared.fileno(), select.POLLIN, self._on_kernel)

    def send(self, header):
        self.kernel.send(header)
        self.watch_output()

    def move_in(self):
        """Has the kernel take up the state in the folders: it says again that it is ready."""
        workspace.open_up()
        self.use_prepared(self.prepared.take_for_state())
        self.kernel.is_ready = False
        self.send({"type": "restore"})

    def replace(self):
        self.kernel.signal(_signal.SIGKILL)

    def watch_output(self):
        """Has the kernel's line written to when it takes more, if something waits."""
        kernel = self.kernel
        if not self._loop.is_watched(kernel.fileno()):
            return  # its line is broken: it is on its way out
        if kernel.writes_to == kernel.fileno():
            self._loop.change(kernel.fileno(), select.POLLIN | (select.POLLOUT if kernel.has_outgoing else 0))
        elif kernel.has_outgoing:
            self._loop.watch(kernel.writes_to, select.POLLOUT, self._on_writable)
        elif self._loop.is_watched(kernel.writes_to):
            self._loop.unwatch(kernel.writes_to)

    # In the child.

    def _become_kernel(self, line):
        self._keep_only(line)
        self._source(line)

    def _become_prepared(self, line, modules):
        self._keep_only(line)
        self._source(line, modules)

    def _keep_only(self, line):
        processes.leave_agent()
        keep = line.fileno()
        os.closerange(3, keep)
        os.closerange(keep + 1, 4096)

    def _become_program(self):
        processes.leave_agent()
        os.setsid()

    # What it says.

    def _on_writable(self, events):
        self.kernel.flush()
        if events & (select.POLLERR | select.POLLHUP):
            self._loop.unwatch(self.kernel.writes_to)  # it ends; that is handled when it is reaped
        else:
            self.watch_output()

    def _on_kernel(self, events):
        try:
            if events & select.POLLOUT:
                self.kernel.flush()
                self.watch_output()
            frames = self.kernel.receive() if events & ~select.POLLOUT else []
            for header, payload in frames:
                self._on_frame(header, payload)
        except EOFError:
            self._loop.unwatch(self.kernel.fileno())
            if not processes.is_exiting(self.kernel.pid):
                self._break("it closed its line to the agent")
        except (FrameError, KeyError, TypeError):
            self._loop.unwatch(self.kernel.fileno())
            self._break("it wrote something of its own on its line to the agent")

    def _break(self, reason):
        """What this process answers can no longer be told from forgery: it is replaced."""
        self.kernel.broken = reason
        self.replace()

    def _on_frame(self, header, payload):
        kind = header["type"]
        if kind == "done":
            self._on_done(header, payload)
        elif kind in ("saving", "shell"):
            if type(header["pid"]) is not int or not self._is_of_kernel(header["pid"]):
                raise FrameError("a process of the kernel's that is no child of it")
            self.kernel.own_pid = header["pid"]
            if kind == "saving":
                self._owner.on_saving()
        elif kind == "saved":
            check_report(header)
            self._owner.on_saved(header)
        elif kind == "display":
            number = header["number"]
            if not is_size(number):
                raise FrameError("something displayed that has no number")
            self._owner.on_display(header["run"], payload)
            if number > 0:  # it waits for that
                self.send({"type": "shown", "number": number})
        elif kind == "late":
            self._owner.on_late(header["run"], header["stream"], payload)
        elif kind == "ready" and not self.kernel.is_ready:
            check_restored(header["restored"])
            self.kernel.is_ready = True
            self.found = header["restored"]
            self._owner.on_ready()
        else:
            raise FrameError("a frame that a kernel does not send")

    def _is_of_kernel(self, pid):
        """A kernel that has ended since it said so has left its child to this process."""
        if processes.is_child(pid, self.kernel.pid):
            return True
        return processes.is_exiting(self.kernel.pid) and processes.is_child(pid, os.getpid())

    def _on_done(self, header, results):
        check_done(header)
        if header.get("restored") is not None:  # it holds what it held before the run
            self.found = header["restored"]
            self.epoch += 1
        self._owner.on_done(header, results)

    # Its end.

    def thaw(self):
        self.is_frozen = False
        status, self._late_status = self._late_status, None
        if status is not None:
            self.on_ended(status)

    def on_ended(self, status):
        """A kernel may end in a run (crash, exit, kill) or between runs; there is always a next one."""
        if self.is_frozen:
            self._late_status = status
            return
        kernel = self.kernel
        if self._loop.is_watched(kernel.fileno()):
            self._on_last_words()
        for descriptor in {kernel.fileno(), kernel.writes_to}:
            if self._loop.is_watched(descriptor):
                self._loop.unwatch(descriptor)
        self._owner.before_next_kernel(kernel)
        self._died_unused = 0 if kernel.has_run or kernel.is_ready else self._died_unused + 1
        if self._died_unused >= MAX_DIED_UNUSED:
            raise RuntimeError("kernels end before they have run anything")
        try:
            self.start()
        except OSError:
            processes.send(-1, _signal.SIGKILL)  # the guest holds every process slot or all memory
            self.start()
        kernel.close()
        self._owner.on_kernel_ended(kernel, describe_end(kernel, status))

    def _on_last_words(self):
        """An answer sent just before the end counts: the run was over by then."""
        try:
            for header, payload in self.kernel.receive():
                self._on_frame(header, payload)
        except (EOFError, FrameError, KeyError, TypeError):
            pass  # it ended without a word, or with half of one


def describe_end(kernel, status):
    if kernel.broken:
        error = {"name": "KernelLost", "message": f"The kernel was replaced: {kernel.broken}", "traceback": ""}
        return {"outcome": "lost", "signal": None, "exit_code": 1, "error": error}
    if os.WIFSIGNALED(status):
        return {"outcome": "signalled", "signal": os.WTERMSIG(status), "exit_code": 128 + os.WTERMSIG(status)}
    return {"outcome": "exited", "signal": None, "exit_code": os.WEXITSTATUS(status)}
