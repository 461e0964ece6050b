"""One kernel: a child process that holds the variables, and the socket on which the agent speaks with it.

    agent                                kernel
                                         <- ready {restored}
      run {run, name, env, ...} + code, [stdout, stderr] ->
                                         <- done {run, outcome, exit_code, error, saved} + results
                                         <- saving {pid}, saved {version, ...}, shell {pid}
      save {version} ->                  <- saved {version, ...}
A kernel in Python is forked from the agent, which has loaded its modules already, so a new one is there in
milliseconds. Any other is a program, with pipes in place of the socket; see ProgramKernel.
"""

import os
import time
from _socket import AF_UNIX, CMSG_SPACE, SCM_RIGHTS, SOCK_CLOEXEC, SOCK_STREAM, SOL_SOCKET, socketpair
from select import POLLIN, poll

import processes
import standard_input
from output import STREAMS, OutputPipe
from wire import FrameError, encode_frame, take_frame

SIGINT, SIGTERM = 2, 15
READ_BYTES = 1 << 15
MAX_REPLY_BYTES = 24 << 20


def open_pipes(limit):
    """A pair of pipes for one run."""
    return [OutputPipe(stream, limit) for stream in STREAMS]


class Kernel:
    """What the agent does with any kernel. Subclasses start one, and pass it the pipes of a run."""

    saves_itself = False  # with no other process to do it, for which the limit of a program's files does not hold

    def __init__(self, pid, reader, writer):
        self.pid = pid
        self.has_run = False
        self.is_ready = False
        self.own_pid = 0  # of a child that is not part of any run: it saves, or is the shell that holds the variables
        self.broken: str | None = None  # why the agent had to end it, when its line could no longer be trusted
        self.late_bytes = {}  # run -> bytes of late output that it has told
        self._reader, self._writer = reader, writer
        self._incoming = bytearray()
        self._outgoing = bytearray()
        for descriptor in {reader, writer}:
            os.set_blocking(descriptor, False)

    def fileno(self):
        return self._reader

    @property
    def writes_to(self):
        return self._writer

    @property
    def has_outgoing(self):
        return bool(self._outgoing)

    def open_pipes(self, limit):
        """The pipes of a run, of which at most `limit` bytes are forwarded."""
        raise NotImplementedError

    def send_run(self, header, code, pipes, source):
        """Starts a run, whose output goes into the pipes, and whose input comes from a descriptor, if there is one."""
        raise NotImplementedError

    def send(self, header, payload=b""):
        self._outgoing += encode_frame(header, payload)
        self.flush()

    def flush(self):
        try:
            while self._outgoing:
                del self._outgoing[: os.write(self._writer, self._outgoing[:READ_BYTES])]
        except (BlockingIOError, BrokenPipeError):
            pass  # full for now, or the kernel is on its way out

    def receive(self):
        """Frames that the kernel sent. Raises EOFError on a hung-up line, FrameError on anything but frames."""
        try:
            chunk = os.read(self._reader, READ_BYTES)
        except BlockingIOError:
            return []
        except OSError as cause:
            raise EOFError("the kernel's line broke") from cause
        if not chunk:
            raise EOFError("the kernel hung up")
        self._incoming += chunk
        if len(self._incoming) > MAX_REPLY_BYTES:
            raise FrameError("the kernel's reply is too long")
        frames = []
        while (frame := take_frame(self._incoming)) is not None:
            frames.append(frame)
        return frames

    def warm_up(self):
        """
        Has a kernel that is a program take the way of a run once, before a run waits for what that loads and compiles.
        """

    def signal(self, number):
        processes.send(self.pid, number)

    def interrupt(self):
        self.signal(SIGINT)

    def wants_sigterm(self):
        """Whether the program has a handler for it, and so may save its progress."""
        return processes.catches(self.pid, SIGTERM)

    def close(self):
        for descriptor in {self._reader, self._writer}:
            os.close(descriptor)


class ForkedKernel(Kernel):
    """A kernel in Python: its whole life is `serve(socket)`."""

    def __init__(self, serve):
        ours, theirs = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)
        pid = os.fork()
        if pid == 0:
            _live(serve, theirs)
        theirs.close()
        self._socket = ours
        super().__init__(pid, ours.fileno(), ours.fileno())

    def open_pipes(self, limit):
        return open_pipes(limit)

    def send_run(self, header, code, pipes, source):
        """Starts a run. The pipes' ends travel with the first byte; a long program follows as the kernel reads it."""
        self.has_run = True
        self._outgoing += encode_frame(header, code)
        descriptors = [pipe.writer for pipe in pipes] + ([] if source is None else [source])
        packed = b"".join(descriptor.to_bytes(4, "little") for descriptor in descriptors)
        sent = self._socket.sendmsg([self._outgoing[:READ_BYTES]], [(SOL_SOCKET, SCM_RIGHTS, packed)])
        del self._outgoing[:sent]

    def close(self):
        self._socket.close()


class ProgramKernel(Kernel):
    """A kernel that is a program: requests on descriptor 3, answers on 4, and on 5 a byte for each interrupt. It cannot
    be passed descriptors, so one pair of pipes serves all its runs; it tells apart itself what an earlier run
    prints."""

    saves_itself = True

    def __init__(self, prepare, argv):
        pipes = [os.pipe2(os.O_CLOEXEC) for _ in range(3)]
        self._input = standard_input.open_text(b"")
        self._output = open_pipes(0)
        for pipe in self._output:
            pipe.lives_with_kernel = True
        (requests, writer), (reader, answers), (interrupts, self._interrupts) = pipes
        pid = os.fork()
        if pid == 0:
            _become(
                prepare, argv, (self._input, *(pipe.writer for pipe in self._output), requests, answers, interrupts)
            )
        for descriptor in (requests, answers, interrupts):
            os.close(descriptor)
        for pipe in self._output:
            pipe.hand_over()
        os.set_blocking(self._interrupts, False)
        super().__init__(pid, reader, writer)

    def open_pipes(self, limit):
        for pipe in self._output:
            pipe.begin_run(limit)
        return self._output

    def send_run(self, header, code, _pipes, source):
        """Its standard input is one file for all its runs, of which each has its own content."""
        self.has_run = True
        standard_input.fill(self._input, b"" if source is None else os.pread(source, os.fstat(source).st_size, 0))
        self.send(header, code)

    def warm_up(self):
        self.send({"type": "warm"})

    def wants_sigterm(self):
        return False  # such a program has handlers of its own; it tells the session's when it is interrupted

    def interrupt(self):
        super().interrupt()
        try:
            os.write(self._interrupts, b"!")
        except OSError:
            pass  # nobody reads it, or it has been told often enough

    def close(self):
        """Its output stays open for as long as something that it started may write there: see unwatch_pipe()."""
        super().close()
        os.close(self._interrupts)
        os.close(self._input)
        for pipe in self._output:
            pipe.lives_with_kernel = False
            if not self.has_run:
                pipe.close()


def _become(prepare, argv, descriptors):
    """In the child: puts descriptors at their numbers, and becomes the program."""
    try:
        prepare()
        # First out of the way of those numbers, then each to its own.
        moved = [descriptor if descriptor is None else _fcntl_dup(descriptor) for descriptor in descriptors]
        for number, descriptor in enumerate(moved):
            if descriptor is not None:
                os.dup2(descriptor, number, inheritable=True)
        os.closerange(len(moved), 4096)
        os.execv(argv[0], argv)
    finally:
        os._exit(127)


def _fcntl_dup(descriptor):
    from fcntl import F_DUPFD, fcntl

    return fcntl(descriptor, F_DUPFD, 64)


def _live(serve, line):
    """All that a forked process does: whatever happens, it must not return into the agent's own code."""
    try:
        serve(line)
        os._exit(0)
    except BaseException as error:
        try:
            line.close()
            os.write(2, f"The kernel failed: {error!r}\n".encode(errors="backslashreplace"))
        finally:
            # Not an exit of the program's own: the agent sees a process without a line, ends it and says why.
            while True:
                time.sleep(60)


class Requests:
    """The kernel's end of the line to the agent: one request after the other, also of those that come together."""

    def __init__(self, line):
        self._line = line
        self._incoming = bytearray()
        self._descriptors = []  # for the next run

    def next(self):
        """Waits for the next request as (header, code, descriptors); None when the agent is gone."""
        while (frame := self._take_request()) is None:
            chunk, ancillary, _, _ = self._line.recvmsg(READ_BYTES, CMSG_SPACE(12))
            if not chunk:
                return None
            self._incoming += chunk
            for level, kind, data in ancillary:
                if level == SOL_SOCKET and kind == SCM_RIGHTS:
                    self._descriptors += [
                        int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data) - 3, 4)
                    ]
        if frame[0]["type"] != "run":
            return *frame, []
        descriptors, self._descriptors = self._descriptors, []
        return *frame, descriptors

    def _take_request(self):
        while (frame := take_frame(self._incoming)) is not None and frame[0]["type"] == "shown":
            pass  # who waited for it was interrupted
        return frame

    def wait_shown(self, number):
        """During a run: waits until the agent has what was displayed. Nothing else is asked meanwhile."""
        while True:
            while (frame := take_frame(self._incoming)) is None:
                chunk = self._line.recv(READ_BYTES)
                if not chunk:
                    return
                self._incoming += chunk
            if frame[0].get("number") == number:
                return

    def wait(self, others, timeout_ms):
        """
        Waits for a request, or for one of `others` to have something to read. Answers which of them have; None as soon
        as there may be a request.
        """
        if self._incoming:
            return None
        waiter = poll()
        for descriptor in (self._line.fileno(), *others):
            waiter.register(descriptor, POLLIN)
        ready = [descriptor for descriptor, _ in waiter.poll(timeout_ms)]
        return None if self._line.fileno() in ready else ready
