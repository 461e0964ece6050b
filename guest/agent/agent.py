"""The agent: first process of a sandbox. It owns the session's processes and pipes and speaks with the server.

One event loop over: the server's socket, the kernel's socket, the output pipes, and a pipe that wakes it on SIGCHLD.
Nothing here waits for user code. Being process 1, it cannot be signalled from inside, and its end ends the sandbox.
When its server is gone it lets the run in progress end, keeps the result, and dials again: a sandbox that has run
something to keep waits for a server for a while, then saves and ends.
Frames with the server are listed in docs/guest-protocol.md.
"""

import _signal
import os
import select
import time

import processes
import state_files
import workspace
from kernel_process import ForkedKernel, ProgramKernel
from line import Line
from output import HOLD_SECONDS, LATE_BYTES, STREAMS
from ports import Ports
from results import Results
from run import Run
from wire import FrameError, encode_frame, to_json

PROTOCOL = 3
MAX_LATE_PIPES = 32
MAX_KNOWN_RUNS = 1_000
MAX_DIED_UNUSED = 10
MAX_LISTED = 1_000
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


class Agent:
    def __init__(self, kernel):
        """`kernel` is a function that serves one in a forked process, or the command of a program that is one."""
        self.kernel_source = kernel
        self.poll = select.poll()
        self.handlers = {}
        self.data = workspace.SessionData()
        self.results = Results()
        self.run = None
        self.version = 0  # of the last run
        self.has_said_hello = False
        self.keeps_state = False  # whether anything of this sandbox is worth waiting for a server
        self.is_muted = False  # the run in progress is recorded only, until a server asks for it
        self.unsent_end = None  # of a run whose kernel has died, until the next one is ready
        self.restored = None  # what a new kernel found, until the server was told
        self.keep = 20  # versions
        self.is_saving_all = False
        self.leaving = False  # saving for the last time
        self.rolling_back = None
        self.died_unused = 0  # kernels in a row
        self.seed_errors = []  # told on the standard error of the run that the files were for
        self.killed_since = None  # start of an earlier run whose processes were killed, in ticks since boot
        self.release_at = None  # when the beginning of a line that some pipe holds is to be forwarded
        self.late = {}
        self.known_runs = {}  # those that this agent was given, in their order
        self.kernel = None
        self.epoch = 0
        self.ports = Ports(self, lambda ticket: self.send({"type": "refused", "ticket": ticket}))
        self.line = Line()
        self.line.dial()
        self.watch_line()
        self.watch_children()
        self.start_kernel()

    def watch(self, descriptor, events, handler):
        self.handlers[descriptor] = handler
        self.poll.register(descriptor, events)

    def unwatch(self, descriptor):
        del self.handlers[descriptor]
        self.poll.unregister(descriptor)

    def loop(self):
        while True:
            for descriptor, events in self.poll.poll(self.wait_ms()):
                handler = self.handlers.get(descriptor)
                if handler is not None:
                    handler(events)
            if self.run is not None:
                self.on_time(time.monotonic())
            if self.line.socket is None:
                self.on_nobody_there(time.monotonic())

    def wait_ms(self):
        times = []
        if self.run is not None:
            times.append(self.run.deadline)
            if self.release_at is not None:
                times.append(self.release_at)
        if self.line.socket is None:
            times.append(self.line.dials_at)
        return max(0, (min(times) - time.monotonic()) * 1000) if times else -1

    def on_time(self, now):
        if self.release_at is not None and now >= self.release_at:
            self.release_at = None
            for pipe in self.run.pipes:
                pipe.release(self.forward_output)
        if now >= self.run.deadline:
            self.on_deadline()

    # The server's line.

    def watch_line(self):
        self.watch(self.line.socket.fileno(), select.POLLIN, self.on_line)

    def on_line(self, events):
        try:
            if events & select.POLLOUT:
                self.flush()
            if events & ~select.POLLOUT:
                for frame in self.line.receive():
                    self.on_request(*frame)
        except EOFError:
            self.on_hang_up()

    def on_hang_up(self):
        if not self.keeps_state:
            os._exit(0)  # the server is gone, and with it the reason to run
        self.unwatch(self.line.socket.fileno())
        self.line.hang_up()
        self.ports.close()
        self.is_muted = True

    def on_nobody_there(self, now):
        if now >= self.line.gives_up_at and self.run is None and not self.leaving and self.kernel.is_ready:
            self.leaving = True
            self.save_all(self.version, self.keep)
        if now >= self.line.dials_at:
            try:
                self.line.dial()
            except OSError:
                return
            self.watch_line()
            self.say_hello()

    def say_hello(self):
        hello = {
            "type": "hello",
            "protocol": PROTOCOL,
            "token": self.line.token,
            "epoch": self.epoch,
            "restored": self.restored,
            "unrecorded": self.results.unrecorded,
            "running": self.run.id if self.run is not None else None,
            "version": self.version,
        }
        self.restored = None
        self.send(hello)

    def on_request(self, header, payload):
        kind = header["type"]
        if kind == "run":
            self.start_run(header, payload)
        elif kind == "seed":
            self.write_seed(header["path"], payload)
        elif kind == "interrupt":
            if self.run is not None and self.run.id == header["run"]:
                self.run.end("interrupted", self.kernel)
        elif kind == "welcome":
            self.line.welcomed(header)
        elif kind == "recorded":
            self.results.forget(header["runs"])
        elif kind == "replay":
            self.replay(header["run"])
        elif kind == "save":
            self.save_all(header["version"], header["keep"])
        elif kind == "inspect":
            self.send({"type": "inspected"}, to_json(state_files.listing(MAX_LISTED)))
        elif kind == "connect":
            self.ports.connect(header["port"], header["ticket"])
        elif kind == "rollback":
            self.roll_back(header["version"], header["to"])
        else:
            raise FrameError(f"unknown request {kind!r}")

    def write_seed(self, path, content):
        try:
            workspace.write_seed(path, content)
        except OSError as error:
            self.seed_errors.append(f"Cannot write {path!r}: {error.strerror}\n".encode(errors="backslashreplace"))

    def send(self, header, payload=b""):
        self.put(encode_frame(header, payload))

    def put(self, frame):
        if self.line.socket is None:
            return
        self.line.put(frame)
        try:
            self.flush()
        except EOFError:
            self.on_hang_up()

    def flush(self):
        self.line.flush()
        events = select.POLLIN | (select.POLLOUT if self.line.outgoing else 0)
        self.poll.modify(self.line.socket.fileno(), events)

    def send_of_run(self, run_id, header, payload):
        """A frame of a run: recorded, and sent unless the server has yet to ask for the run."""
        frame = encode_frame(header, payload)
        self.results.add(run_id, frame)
        if not self.is_muted:
            self.put(frame)

    def replay(self, run_id):
        """Says again all that was said of a run; if it is still in progress, its other frames follow by themselves."""
        frames = self.results.frames_of(run_id)
        if frames is None:
            self.send({"type": "unknown", "run": run_id})
            return
        if self.run is not None and self.run.id == run_id:
            self.is_muted = False
        self.put(frames)

    # Runs.

    def start_run(self, header, payload):
        code_bytes = header["code_bytes"]
        self.data.put(payload[code_bytes:] if header["has_data"] else None)
        self.files_since = workspace.file_clock_ns()
        self.run = run = Run(header, self.kernel.open_pipes(header["output_bytes"]))
        self.known_runs[run.id] = None
        if len(self.known_runs) > MAX_KNOWN_RUNS:
            del self.known_runs[next(iter(self.known_runs))]
        self.version, self.keep = run.version, header["keep"]
        self.is_muted = False
        self.results.forget(header["recorded"])
        if run.save != "none":
            self.keeps_state = True
            self.results.begin(run.id)
        for pipe in run.pipes:
            self.late.pop(pipe.reader, None)
            self.watch(pipe.reader, select.POLLIN, self.on_output)
        request = {
            "type": "run",
            "run": run.id,
            "name": header["name"],
            "env": header["env"],
            "reap": self.zombies(),
            "version": run.version,
            "save": run.save,
            "keep": header["keep"],
            "whole": header["whole"],
        }
        try:
            self.kernel.send_run(request, payload[:code_bytes], run.pipes)
        except OSError:
            pass  # the kernel died while idle; its end is handled when it is reaped
        self.watch_kernel()
        for pipe in run.pipes:
            pipe.hand_over()
        for error in self.seed_errors:
            self.forward_output("stderr", error)
        self.seed_errors.clear()

    def zombies(self):
        """Children of the kernel that were killed with an earlier run: they count as processes until waited for."""
        if self.killed_since is None:
            return []
        pids = processes.zombies_since(self.killed_since, self.kernel.pid)
        if not pids:
            self.killed_since = None
        return pids

    def on_output(self, _events):
        for pipe in self.run.pipes if self.run else ():
            if pipe.open:
                pipe.read_once(self.forward_output)
                if not pipe.open:
                    self.unwatch(pipe.reader)
                if pipe.holds and self.release_at is None:
                    self.release_at = time.monotonic() + HOLD_SECONDS

    def forward_output(self, stream, chunk):
        self.send_of_run(self.run.id, {"type": "output", "run": self.run.id, "stream": stream}, chunk)

    def on_deadline(self):
        if self.run.cause is None:
            self.run.end("timed_out", self.kernel)
        else:
            self.run.climb()

    def finish_run(self, report, results=b"", saved=None):
        """Sends what is left of the output, then the end of the run: nothing of it follows that frame."""
        run = self.run
        for pipe in run.pipes:
            pipe.drain(self.forward_output)
        if run.cause is not None:
            run.kill_children(self.kernel)
            self.killed_since = run.started_ticks
        data = self.data.take()
        end = {
            "type": "end",
            "run": run.id,
            "outcome": report["outcome"],
            "cause": run.cause,
            "exit_code": report.get("exit_code"),
            "signal": report.get("signal"),
            "error": report.get("error"),
            "elapsed_us": int((time.monotonic() - run.started) * 1e6),
            "dropped": run.dropped(),
            "files": workspace.count_files(self.files_since),
            "results_bytes": len(results),
            "has_data": data is not None,
            "epoch": self.epoch,
            "saved": saved,
            "restored": self.restored,
        }
        self.restored = None
        if not run.keep_files:
            workspace.empty()
        frame = encode_frame(end, results + (data or b""))
        self.results.add(run.id, frame)
        self.results.end(run.id)
        self.settle(run, saved)
        if not self.is_muted:
            self.put(frame)
        self.run = self.release_at = None
        for pipe in run.pipes:
            self.keep_late(pipe, run.id)

    def settle(self, run, saved):
        """Makes an answer last that nobody may have heard."""
        staged = saved is not None and saved["staged"]
        try:
            if staged:
                workspace.flush_files(self.files_since)
            if staged or (run.save != "none" and self.line.socket is None):
                self.results.store(run.id, run.version, durable=staged)
            if staged:
                state_files.commit_version(run.version, durable=True)
        except OSError:
            pass  # a full disk: the record stays in memory for as long as this agent lives

    # Output that comes after its run has ended.

    def keep_late(self, pipe, run_id):
        if not pipe.open:
            self.unwatch_pipe(pipe)
            return
        pipe.end_run()
        self.late[pipe.reader] = pipe
        self.handlers[pipe.reader] = lambda _events: self.on_late(pipe, run_id)
        if len(self.late) > MAX_LATE_PIPES:
            self.drop_late(next(iter(self.late.values())))

    def on_late(self, pipe, run_id):
        def forward(stream, chunk):
            self.send({"type": "late", "run": run_id, "stream": stream}, chunk)

        pipe.read_once(forward)
        pipe.release(forward)
        if not pipe.open:
            self.drop_late(pipe)

    def on_kernel_late(self, run_id, stream, payload):
        """What a kernel itself tells apart as output of an earlier run."""
        if run_id not in self.known_runs or stream not in STREAMS:
            raise FrameError("late output of no run")
        counts = self.kernel.late_bytes
        kept = payload[: max(0, LATE_BYTES - counts.get(run_id, 0))]
        counts[run_id] = counts.get(run_id, 0) + len(kept)
        if kept:
            self.send({"type": "late", "run": run_id, "stream": stream}, kept)

    def drop_late(self, pipe):
        del self.late[pipe.reader]
        self.unwatch_pipe(pipe)

    def unwatch_pipe(self, pipe):
        if pipe.reader in self.handlers:
            self.unwatch(pipe.reader)
        pipe.close()

    # The kernel.

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
        elif kind == "saving":
            self.kernel.saver_pid = header["pid"]
            if self.run is not None and self.run.save == "sync":
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
        self.restored = restored
        if restored is not None:
            self.keeps_state = True
        if not self.has_said_hello:
            self.has_said_hello = True
            self.version = restored["version"] if restored is not None else 0
            self.results.find(self.version)
            self.say_hello()
        elif self.rolling_back is not None:
            self.end_rollback(None)
        elif self.unsent_end is not None:
            end, self.unsent_end = self.unsent_end, None
            self.finish_run(end)

    def save_all(self, version, keep):
        """Has everything saved; whoever asked hears of it by the report that says it is complete."""
        self.is_saving_all = True
        self.kernel.send({"type": "save", "version": version, "keep": keep})
        self.watch_kernel()

    def on_saved(self, report):
        if report["complete"]:
            if self.leaving:
                os._exit(0)
            self.is_saving_all = False
        self.send(report)

    def on_done(self, header, results):
        if self.run is None or header["run"] != self.run.id:
            raise FrameError("an answer that nobody asked for")
        if header["outcome"] not in ("ok", "raised", "exited"):
            raise FrameError("an outcome that a kernel cannot have")
        self.finish_run({key: header[key] for key in ("outcome", "exit_code", "error")}, results, header["saved"])

    def roll_back(self, version, to):
        """Makes an earlier version the newest, and replaces the kernel, which then restores it."""
        if self.run is not None or not self.kernel.is_ready:
            raise FrameError("a rollback while something runs")
        self.rolling_back = to
        try:
            state_files.copy_version(version, to)
        except (state_files.Damaged, OSError) as error:
            self.end_rollback(str(error))
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
            if pid == self.kernel.pid:
                self.on_kernel_ended(status)

    def on_kernel_ended(self, status):
        """A kernel may end in a run (crash, exit, kill) or between runs; there is always a next one."""
        kernel = self.kernel
        if kernel.fileno() in self.handlers:
            self.on_last_words()
        for descriptor in {kernel.fileno(), kernel.writes_to}:
            if descriptor in self.handlers:
                self.unwatch(descriptor)
        if self.run is not None:
            self.run.kill_children(kernel)
        self.died_unused = 0 if kernel.has_run else self.died_unused + 1
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
        if self.run is not None:
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


def describe_end(kernel, status):
    if kernel.broken:
        error = {"name": "KernelLost", "message": f"The kernel was replaced: {kernel.broken}", "traceback": ""}
        return {"outcome": "lost", "signal": None, "exit_code": 1, "error": error}
    if os.WIFSIGNALED(status):
        return {"outcome": "signalled", "signal": os.WTERMSIG(status), "exit_code": 128 + os.WTERMSIG(status)}
    return {"outcome": "exited", "signal": None, "exit_code": os.WEXITSTATUS(status)}


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


def run_agent(kernel):
    prepare()
    agent = Agent(kernel)
    try:
        agent.loop()
    except BaseException as fault:
        import traceback

        text = "".join(traceback.format_exception(fault))[-8192:]
        agent.line.say_last({"type": "fault", "message": text})
        raise
