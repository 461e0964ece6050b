"""The agent: first process of a sandbox. It owns the session's processes and pipes and speaks with the server.

One event loop over: the server's socket, the kernel's socket, the output pipes, and a pipe that wakes it on SIGCHLD.
Nothing here waits for user code. Being process 1, it cannot be signalled from inside, and its end ends the sandbox.
When its server is gone it lets the run in progress end, keeps the result, and dials again: a sandbox that has run
something to keep waits for a server for a while, then saves and ends.
Frames with the server are listed in docs/guest-protocol.md. What goes on is one phase: see phase.py.
"""

import _signal
import os
import select
import time

import processes
import save_report
import scratch
import state_listing
import state_versions
from current_run import CurrentRun
from egress import Egress
from kernel_host import KernelHost
from late_output import LateOutput
from line import Line
from loop import Loop
from phase import Phase
from ports import Ports
from programs import Programs
from run_records import RunRecords
from server_link import ServerLink
from shell import ShellCommand
from shell import describe as describe_shell
from wire import FrameError, to_json

MAX_LISTED = 1_000
MAX_DISPLAY_BYTES = 9 << 20
FREEZE_SECONDS = 5.0
# For the last save, of which a part may be a child with a limit of its own.
LEAVE_SECONDS = 150.0
# Longer than any image takes to be written or a copy of its files to be made; what waits for that stands still.
FROZEN_SECONDS = 900.0
# A sandbox that was imaged goes on by being dialled from, here or where it is restored.
HURRY_SECONDS = 2.0
# When a program may begin: it is not lost on the way to sleep.
STEADY = ("idle", "running", "mending")
DIED_IN_SAVE = "the interpreter ended while it saved: is memory short?"


class Agent:
    """The parts of the agent, and what passes from one to another."""

    def __init__(self, kernel, line):
        """`kernel`: see KernelHost."""
        self.version = 0  # of the last run
        self.keep = {"versions": 20, "bytes": 1 << 30}  # of saved state: see state_files.py
        self.keeps_state = False  # whether anything of this sandbox is worth waiting for a server
        self._frozen = set()  # processes that stand still
        self._leaves_at = 0.0  # while it saves for the last time: then it ends, whatever became of that
        self.phase = Phase()
        self.loop = Loop()
        self.records = RunRecords()
        self.kernels = KernelHost(self.loop, kernel, self)
        self.runs = CurrentRun(self)
        self.server = ServerLink(self.loop, line, self)
        self.late = LateOutput(self.loop, self.server.send)
        self.ports = Ports(self.loop, lambda ticket: self.server.send({"type": "refused", "ticket": ticket}))
        self.egress = Egress(self.loop)
        self.programs = Programs(self.loop, self.server.send)
        self._requests = {
            "run": self._start_run,
            "seed": lambda header, payload: self.runs.seed(header["path"], payload),
            "stdin": lambda header, payload: self.runs.give_input(header["run"], payload, header["end"]),
            "interrupt": lambda header, _: self.runs.interrupt(header["run"]),
            "welcome": self._on_welcome,
            "replay": self._replay,
            "save": self._save,
            "inspect": lambda *_: self.server.send({"type": "inspected"}, to_json(state_listing.listing(MAX_LISTED))),
            "compare": self._compare,
            "connect": lambda header, _: self.ports.connect(header["port"], header["ticket"]),
            "program": self._on_program,
            "freeze": self._freeze,
            "reseed": lambda *_: self.kernels.send({"type": "reseed"}),
            "move_in": self._move_in,
            "rollback": self._roll_back,
        }

    def begin(self):
        self._restore_scratch()
        self.server.begin()
        self._watch_children()
        self.kernels.start()

    # The server.

    def on_request(self, header, payload):
        handle = self._requests.get(header["type"])
        if handle is None:
            raise FrameError(f"unknown request {header['type']!r}")
        handle(header, payload)

    def hello(self):
        return {"running": self.runs.id, **self._tell_state()}

    def on_hang_up(self):
        if not self.server.is_up:
            return  # it was noticed already
        if not self.keeps_state or self.phase == "moving_in":
            os._exit(0)  # the server is gone, and with it the reason to run
        self.server.hang_up()
        self.ports.close()
        self.egress.close()
        self.programs.stop_telling()
        self.runs.is_muted = True

    def on_nobody_there(self, now):
        has_waited = now >= self.server.line.gives_up_at
        if has_waited and self.phase == "frozen":
            self._thaw()
        if has_waited and self.phase == "idle" and self.kernels.is_ready:
            self.phase.move("leaving")
            self._leaves_at = now + LEAVE_SECONDS
            self._save_all(self.version, self.keep)
        if self.phase == "leaving" and now >= self._leaves_at:
            os._exit(0)  # its last save does not end: the one before it stays

    def _on_welcome(self, header, _payload):
        self.server.line.welcomed(header)
        if not self.keeps_state and self.phase == "idle":
            self.kernels.prepared.plan(header["preload"])
        if self.phase == "leaving":
            self.phase.move("saving")
        if self.phase == "frozen":
            self._thaw()

    def _tell_state(self):
        """What the session's folders hold, and the variables of it that the kernel has."""
        found, unrecorded = self.kernels.take_found(), self.records.unrecorded
        state = {"epoch": self.kernels.epoch, "restored": found, "unrecorded": unrecorded, "version": self.version}
        return {**state, "programs": True}

    def _start_run(self, header, payload):
        self.phase.move("running")
        if header["shell"]:
            self.kernels.prepared.drop()
        elif not self.kernels.kernel.has_run:
            code = payload[: header["code_bytes"]]
            self.kernels.use_prepared(self.kernels.prepared.take_for_code(code, header["env"]))
        scratch.forget()  # a copy of the session has it
        self.version, self.keep = header["version"], header["keep"]
        self.records.forget(header["recorded"])
        self.keeps_state = self.keeps_state or header["save"] != "none"
        if self.keeps_state:
            self.records.begin(header["run"])
        self.runs.start(header, payload)

    def _replay(self, header, _payload):
        """Says again all that was said of a run; if it is still in progress, its other frames follow by themselves."""
        frames = self.records.frames_of(header["run"])
        if frames is None:
            self.server.send({"type": "unknown", "run": header["run"]})
            return
        if self.runs.id == header["run"]:
            self.runs.is_muted = False
        self.server.put(frames)

    def _save(self, header, _payload):
        if self.phase != "saving":  # else an earlier server has asked for it, too
            self.phase.move("saving")
        self._save_all(header["version"], header["keep"])

    def _save_all(self, version, keep):
        """Has everything saved; whoever asked hears of it by the report that says it is complete."""
        self.kernels.send({"type": "save", "version": version, "keep": keep})

    def _move_in(self, _header, _payload):
        """A session has moved into the folders of this sandbox, in which nothing has run: its state is taken up."""
        if self.keeps_state or not self.kernels.is_ready:
            raise FrameError("a session moves into a sandbox that is not new")
        self.phase.move("moving_in")
        self.keeps_state = True
        self._restore_scratch()
        self.kernels.move_in()

    def _roll_back(self, header, _payload):
        """Makes an earlier version the newest, and replaces the kernel, which then restores it."""
        self.phase.move("rolling_back")
        if not self.kernels.is_ready:
            self._end_rollback("its interpreter is being replaced")
            return
        try:
            state_versions.copy_version(header["version"], header["to"])
        except Exception as error:  # a guest can have put anything there
            self._end_rollback(str(error)[:1024])
            return
        self.version = header["to"]
        self.kernels.replace()

    def _compare(self, header, _payload):
        """Reads headers only; a guest can have put anything there."""
        try:
            found, error = to_json(state_listing.compare(header["from"], header["to"], MAX_LISTED)), None
        except Exception as cause:
            found, error = b"", str(cause)[:1024] or type(cause).__name__
        self.server.send({"type": "compared", "error": error}, found)

    def _end_rollback(self, error):
        self.phase.move("idle")
        found = self.kernels.take_found()
        self.server.send({"type": "rolled_back", "error": error, "epoch": self.kernels.epoch, "restored": found})

    def _on_program(self, header, payload):
        if header["act"] == "start":
            if self.phase not in STEADY:
                self.programs.refuse(header)
                return
            self.keeps_state = True
        self.programs.ask(header, payload)

    def _freeze(self, _header, _payload):
        """
        All other processes stand still, this one can be imaged, and the line is hung up: until somebody is there again.
        """
        self.phase.move("frozen")
        self.keeps_state = True
        try:
            if not self.kernels.is_ready:
                raise OSError("its interpreter is being replaced")
            self._frozen = processes.stop_all(FREEZE_SECONDS)
        except OSError as error:
            self.phase.move("idle")
            self.server.send({"type": "frozen", "error": str(error)[:1024]})
            return
        self.kernels.is_frozen = True
        processes.set_reachable(True)  # CRIU asks for it; what others could reach by it is covered by mounts
        self.server.send({"type": "frozen", "error": None})
        self.on_hang_up()
        self.server.line.gives_up_at = time.monotonic() + FROZEN_SECONDS
        self.server.line.hurries_until = time.monotonic() + HURRY_SECONDS

    def _thaw(self):
        processes.set_reachable(False)
        processes.go_on(self._frozen)
        self._frozen = set()
        self.phase.move("idle")
        self.kernels.thaw()

    # The kernel.

    def on_ready(self):
        if self.phase != "moving_in":
            self.kernels.kernel.warm_up()
            self.kernels.watch_output()
        found = self.kernels.found
        self.keeps_state = self.keeps_state or found is not None
        if self.phase.end("starting"):
            self._take_up(found)
            self.server.say_hello()
        elif self.phase.end("moving_in"):
            self._take_up(found)
            self.server.send({"type": "moved_in", **self._tell_state()})
        elif self.phase == "rolling_back":
            self._end_rollback(None)
        elif self.phase == "mending":
            self.runs.finish_waiting()

    def _take_up(self, found):
        self.version = found["version"] if found is not None else 0
        self.records.find(self.version)

    def on_done(self, header, results):
        self.runs.answer(header, results)

    def on_saving(self):
        self.runs.allow_save()

    def on_saved(self, report):
        if report["complete"]:
            report = self._with_scratch(report)
            if self.phase == "leaving":
                os._exit(0)
            self.phase.end("saving")
        self.runs.begin()
        self.server.send(report)

    def _with_scratch(self, report):
        """The report of a save before sleep, or a copy, which covers /tmp, too."""
        try:
            scratch.keep()
        except (scratch.ScratchLost, OSError) as lost:
            item = {"name": "/tmp", "type": "folder", "reason": f"it could not be kept: {lost}"}
            return {**report, "not_kept": [*report["not_kept"][: save_report.MAX_TOLD - 1], item]}
        return report

    def _restore_scratch(self):
        try:
            scratch.restore()
        except (scratch.ScratchLost, OSError) as lost:
            self.runs.tell_next(f"Cannot put back /tmp as it was: {lost}\n")

    def on_display(self, run_id, content):
        if len(content) > MAX_DISPLAY_BYTES:
            raise FrameError("more is displayed at once than there may be")
        self.runs.show(run_id, content)

    def on_late(self, run_id, stream, payload):
        if not self.runs.is_known(run_id):
            raise FrameError("late output of no run")
        self.late.forward_of_kernel(self.kernels.kernel, run_id, stream, payload)

    def before_next_kernel(self, kernel):
        self.runs.lose_kernel(kernel)

    def on_kernel_ended(self, kernel, end):
        """There is a next one by now, which is not ready yet."""
        if self.phase == "leaving":
            os._exit(0)  # it died in its last save: the one before it stays
        if self.phase.end("saving"):
            self.server.send(save_report.of_failure(self.version, DIED_IN_SAVE, complete=True))
        run = self.runs.run
        if run is not None and run.target is kernel:
            if self.phase == "running":
                self.phase.move("mending")
            self.runs.wait_for_kernel(run, end)
        elif self.phase not in ("rolling_back", "starting"):
            self.server.send({"type": "kernel", "epoch": self.kernels.epoch, **end})

    # Children.

    def _watch_children(self):
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        _signal.signal(_signal.SIGCHLD, lambda *_: None)
        _signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        self.loop.watch(reader, select.POLLIN, lambda _events: self._on_children(reader))

    def _on_children(self, reader):
        os.read(reader, 4096)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            run = self.runs.run
            if pid == self.kernels.kernel.pid:
                self.kernels.on_ended(status)
            elif self.programs.on_ended(pid, status):
                pass
            elif run is not None and isinstance(run.target, ShellCommand) and pid == run.target.pid:
                self.runs.finish(describe_shell(status))


def prepare():
    """Own session, own standard streams, closed to others: nothing inherited from the host stays open."""
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor, inheritable=True)
    os.closerange(3, 256)
    if os.getpid() != os.getsid(0):
        os.setsid()
    # The guest's programs run as the same user: without this they could open /proc/1/mem and rewrite the agent.
    processes.set_reachable(False)
    processes.free_files()


def run_agent(kernel):
    prepare()
    agent = Agent(kernel, Line())
    agent.begin()
    try:
        agent.loop.run()
    except BaseException as fault:
        import traceback

        text = "".join(traceback.format_exception(fault))[-8192:]
        agent.server.line.say_last({"type": "fault", "message": text})
        raise
