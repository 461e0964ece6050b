"""
What kernels that start other programs have in common: requests in, answers out, descriptors, environment, signals.
"""

import _signal
import os
import time

import processes
import save_report
from kernel_process import Requests
from shell import describe
from text_state import TextState, forget_copy_mark
from wire import encode_frame

SIGINT, SIGTERM = 2, 15
OOM_PREFERENCE = b"900"
WORKSPACE = "/workspace"
# A save is told with the next answer, or alone when none comes; at once when the next run may have waited for it.
REPORT_AFTER_MS = 20
LONG_SAVE_SECONDS = 0.005


class NotKept(Exception):
    """What a run has left could not be taken in."""


class PlainKernel:
    """Subclasses say what a run does, and which names it leaves."""

    def __init__(self, line):
        self.line = line
        self.state = TextState()
        self.environment = dict(os.environ)
        self.child = 0  # pid of what the run in progress waits for
        self.was_signalled = False  # whether the run in progress was told to end
        self.lost = {}  # name -> why it could not be taken back
        self.version = 0  # of the run whose state is held; subclasses that hold some keep it
        self.fallback = None  # what the next answer tells of a run whose state was lost
        self.report = None  # of the last save, until the agent was told
        os.setsid()
        with open("/proc/self/oom_score_adj", "wb", buffering=0) as file:
            file.write(OOM_PREFERENCE)
        for number in (SIGINT, SIGTERM):
            _signal.signal(number, self.on_signal)
        os.chdir(WORKSPACE)

    def run(self, header, code, pipes):
        """
        Runs a program with its output on `pipes`, of which a third is its input; answers its exit status as waitpid()
        gives it.
        """
        raise NotImplementedError

    def values(self):
        """name -> (kind, text) of what outlives the kernel. Raises NotKept when that of the last run is lost."""
        return {}

    def restore(self, texts):
        """Takes back what values() gave."""

    def serve(self):
        self.take_back()
        requests = Requests(self.line)
        while (request := self.next_of(requests)) is not None:
            header, code, pipes = request
            if header["type"] == "save":
                self.report = None  # what comes now tells more
                self.tell({**self.save(header, None, durable=True, stage=False), "complete": True})
            elif header["type"] == "restore":
                self.take_back()
            elif header["type"] == "reseed":
                self.reseed()
            else:
                self.answer(header, code, pipes)

    def next_of(self, requests):
        if self.report is not None and requests.wait([], REPORT_AFTER_MS) is not None:
            self.tell(self.take_report())
        return requests.next()

    def take_report(self):
        report, self.report = self.report, None
        return report

    def reseed(self):
        """This process is a copy of another one."""

    def take_back(self):
        texts, told = self.state.restore()
        forget_copy_mark()
        self.restore(texts)
        self.tell({"type": "ready", "restored": told})

    def answer(self, header, code, pipes):
        for descriptor in pipes:
            os.set_inheritable(descriptor, False)
        try:
            result = describe(self.run(header, code, pipes))
        finally:
            for descriptor in pipes:
                os.close(descriptor)
        saved = self.take_report()
        if header["save"] == "sync":
            saved = self.save(header, result, durable=True, stage=True)
        restored, self.fallback = self.fallback, None
        self.tell({"type": "done", "run": header["run"], **result, "saved": saved, "restored": restored})
        if header["save"] == "async":
            started = time.monotonic()
            self.report = self.save(header, result, durable=False, stage=False)
            if time.monotonic() - started > LONG_SAVE_SECONDS:
                self.tell(self.take_report())

    def save(self, header, result, durable, stage):
        """Answers the report. Without a result it is that of the last run: before sleep and copies."""
        try:
            values = self.values()
        except NotKept as cause:
            self.fall_back([str(cause)])
            return self.state.failed(header["version"], str(cause))
        request = {"version": header["version"], "keep": header["keep"], "durable": durable, "stage": stage}
        of_run = self.state.header if result is None else {"run": header["run"], "result": result}
        return self.state.save({**request, "run": of_run["run"], "result": of_run["result"]}, values, self.lost)

    def fall_back(self, damage):
        """What the run has left is lost: the session goes on from what it held before."""
        self.fallback = save_report.of_restore({**save_report.NOTHING_SAVED, "version": self.version}, damage)

    def tell(self, header):
        self.line.sendall(encode_frame(header))

    @staticmethod
    def spawn(argv, env, pipes):
        """Starts a program; in a process group of its own, so that a signal reaches all that it starts."""
        with open(os.devnull, "rb") as null:
            actions = [
                (os.POSIX_SPAWN_DUP2, pipes[2] if len(pipes) > 2 else null.fileno(), 0),
                (os.POSIX_SPAWN_DUP2, pipes[0], 1),
                (os.POSIX_SPAWN_DUP2, pipes[1], 2),
            ]
            return os.posix_spawn(
                argv[0], argv, env, file_actions=actions, setpgroup=0, setsigdef=[SIGINT, SIGTERM, *processes.IGNORED]
            )

    def wait(self, pid):
        self.child = pid
        try:
            return os.waitpid(pid, 0)[1]
        finally:
            self.child = 0

    def on_signal(self, number, _frame):
        """Polite first, where there is a handler for it; any other program is interrupted."""
        self.was_signalled = True
        if number == SIGTERM and not self.wants_sigterm():
            number = SIGINT
        if self.child:
            try:
                os.killpg(self.child, number)
            except OSError:
                pass  # it has ended

    def wants_sigterm(self):
        return processes.catches(self.child, SIGTERM)

    def environment_of(self, header):
        return {**self.environment, **header["env"]}
