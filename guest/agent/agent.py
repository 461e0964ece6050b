"""The agent: first process of a sandbox. It owns the session's processes and pipes and speaks with the server.

One event loop over: the server's socket, the kernel's socket, the output pipes, and a pipe that wakes it on SIGCHLD.
Nothing here waits for user code. Being process 1, it cannot be signalled from inside, and its end ends the sandbox.
Frames with the server are listed in docs/guest-protocol.md.
"""

import _signal
import os
import select
import time
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM, socket

import processes
import workspace
from kernel_process import KernelProcess
from output import HOLD_SECONDS
from run import Run
from wire import FrameError, encode_frame, take_frame

PROTOCOL = 1
SOCKET_PATH = "/run/era/agent.sock"
READ_BYTES = 1 << 15
MAX_LATE_PIPES = 32
MAX_DIED_UNUSED = 10


class Agent:
    def __init__(self, serve_kernel):
        self.serve_kernel = serve_kernel
        self.poll = select.poll()
        self.handlers = {}
        self.incoming = bytearray()
        self.outgoing = bytearray()
        self.data = workspace.SessionData()
        self.run = None
        self.died_unused = 0  # kernels in a row
        self.seed_errors = []  # told on the standard error of the run that the files were for
        self.killed_since = None  # start of an earlier run whose processes were killed, in ticks since boot
        self.release_at = None  # when the beginning of a line that some pipe holds is to be forwarded
        self.late = {}
        self.kernel = None
        self.epoch = 0
        self.line = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
        self.line.connect(SOCKET_PATH)
        self.line.setblocking(False)
        self.watch(self.line.fileno(), select.POLLIN, self.on_line)
        self.watch_children()
        self.start_kernel()
        self.send({"type": "hello", "protocol": PROTOCOL, "epoch": self.epoch})

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

    def wait_ms(self):
        if self.run is None:
            return -1
        until = self.run.deadline if self.release_at is None else min(self.release_at, self.run.deadline)
        return max(0, (until - time.monotonic()) * 1000)

    def on_time(self, now):
        if self.release_at is not None and now >= self.release_at:
            self.release_at = None
            for pipe in self.run.pipes:
                pipe.release(self.forward_output)
        if now >= self.run.deadline:
            self.on_deadline()

    # The server's line.

    def on_line(self, events):
        if events & select.POLLOUT:
            self.flush()
        if events & ~select.POLLOUT:
            chunk = self.line.recv(READ_BYTES)
            if not chunk:
                os._exit(0)  # the server is gone, and with it the reason to run
            self.incoming += chunk
            while (frame := take_frame(self.incoming)) is not None:
                self.on_request(*frame)

    def on_request(self, header, payload):
        kind = header["type"]
        if kind == "run":
            self.start_run(header, payload)
        elif kind == "seed":
            self.write_seed(header["path"], payload)
        elif kind == "interrupt":
            if self.run is not None and self.run.id == header["run"]:
                self.run.end("interrupted", self.kernel)
        else:
            raise FrameError(f"unknown request {kind!r}")

    def write_seed(self, path, content):
        try:
            workspace.write_seed(path, content)
        except OSError as error:
            self.seed_errors.append(f"Cannot write {path!r}: {error.strerror}\n".encode(errors="backslashreplace"))

    def send(self, header, payload=b""):
        self.outgoing += encode_frame(header, payload)
        self.flush()

    def flush(self):
        try:
            while self.outgoing:
                del self.outgoing[: self.line.send(self.outgoing[:READ_BYTES])]
        except BlockingIOError:
            pass
        self.poll.modify(self.line.fileno(), select.POLLIN | (select.POLLOUT if self.outgoing else 0))

    # Runs.

    def start_run(self, header, payload):
        code_bytes = header["code_bytes"]
        self.data.put(payload[code_bytes:] if header["has_data"] else None)
        self.files_since = workspace.file_clock_ns()
        self.run = run = Run(header)
        for pipe in run.pipes:
            self.watch(pipe.reader, select.POLLIN, self.on_output)
        request = {"run": run.id, "name": header["name"], "env": header["env"], "reap": self.zombies()}
        try:
            self.kernel.send_run(request, payload[:code_bytes], [pipe.writer for pipe in run.pipes])
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
        self.send({"type": "output", "run": self.run.id, "stream": stream}, chunk)

    def on_deadline(self):
        if self.run.cause is None:
            self.run.end("timed_out", self.kernel)
        else:
            self.run.climb()

    def finish_run(self, report, results=b""):
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
        }
        if not run.keep_files:
            workspace.empty()
        self.run = self.release_at = None
        self.send(end, results + (data or b""))
        for pipe in run.pipes:
            self.keep_late(pipe, run.id)

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
        self.kernel = KernelProcess(self.become_kernel)
        self.watch(self.kernel.fileno(), select.POLLIN, self.on_kernel)

    def become_kernel(self, line):
        """In the child: drops all that is the agent's, then serves."""
        _signal.set_wakeup_fd(-1)
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
        keep = line.fileno()
        os.closerange(3, keep)
        os.closerange(keep + 1, 4096)
        processes.set_reachable(True)
        self.serve_kernel(line)

    def watch_kernel(self):
        if self.kernel.fileno() not in self.handlers:
            return  # its line is broken: it is on its way out
        events = select.POLLIN | (select.POLLOUT if self.kernel.has_outgoing else 0)
        self.poll.modify(self.kernel.fileno(), events)

    def on_kernel(self, events):
        try:
            if events & select.POLLOUT:
                self.kernel.flush()
                self.watch_kernel()
            frames = self.kernel.receive() if events & ~select.POLLOUT else []
            for header, results in frames:
                self.on_done(header, results)
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

    def on_done(self, header, results):
        if self.run is None or header["run"] != self.run.id:
            raise FrameError("an answer that nobody asked for")
        if header["outcome"] not in ("ok", "raised", "exited"):
            raise FrameError("an outcome that a kernel cannot have")
        self.finish_run({key: header[key] for key in ("outcome", "exit_code", "error")}, results)

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
        if kernel.fileno() in self.handlers:
            self.unwatch(kernel.fileno())
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
        if self.run is not None:
            self.finish_run(end)
        else:
            self.send({"type": "kernel", "epoch": self.epoch, **end})

    def on_last_words(self):
        """An answer sent just before the end counts: the run was over by then."""
        try:
            for header, results in self.kernel.receive():
                self.on_done(header, results)
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


def run_agent(serve_kernel):
    prepare()
    agent = Agent(serve_kernel)
    try:
        agent.loop()
    except BaseException as fault:
        import traceback

        agent.line.setblocking(True)
        text = "".join(traceback.format_exception(fault))[-8192:]
        agent.send({"type": "fault", "message": text})
        raise
