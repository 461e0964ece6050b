"""One program that a client has started beside the runs: what it prints is kept, as much as there is room for."""

import _signal
import os
import select
import time
from _bisect import bisect_right
from _operator import itemgetter

import processes

KEPT_BYTES = 1 << 20
MAX_CHUNKS = 4_096
START_MS = 2_000
CHUNK_BYTES = 1 << 16
MAX_PENDING = 1 << 20
MAX_SHOWN_ARGV = 2_000
TERMINAL = "terminal"
SIGKILL = 9


class Refused(Exception):
    """What was asked for cannot be done; the message says why, the code which kind of refusal it is."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


class Output:
    """
    What a program has printed, the oldest dropped where there is no room: [place, stream, bytes], neighbours of one
    stream together, so that there are few however it was written.
    """

    def __init__(self):
        self._chunks = []
        self._kept = 0
        self.end = 0

    @property
    def first(self):
        return self._chunks[0][0] if self._chunks else self.end

    def add(self, stream, content):
        last = self._chunks[-1] if self._chunks else None
        if last is not None and last[1] == stream and len(last[2]) + len(content) <= CHUNK_BYTES:
            last[2] += content
        else:
            self._chunks.append([self.end, stream, bytearray(content)])
        self.end += len(content)
        self._kept += len(content)
        while self._kept > KEPT_BYTES or len(self._chunks) > MAX_CHUNKS:
            self._kept -= len(self._chunks.pop(0)[2])

    def read(self, after):
        """What comes next of one stream: (place of its first byte, stream, bytes); None while there is nothing."""
        if after >= self.end or not self._chunks:
            return None
        at = max(0, bisect_right(self._chunks, after, key=itemgetter(0)) - 1)
        place, stream, content = self._chunks[at]
        skipped = max(0, after - place)
        return place + skipped, stream, bytes(content[skipped:])


class Program:
    """One program. `on_change(program)` is called when it has printed something, or has ended."""

    def __init__(self, loop, name, spec, on_change):
        """Raises OSError when it cannot be started."""
        self._loop = loop
        self._on_change = on_change
        self.name = name
        self.argv = spec["argv"]
        self.has_terminal = spec["terminal"] is not None
        self.started_at = time.time()
        self.ended_at = None
        self.status: int | None = None  # as waitpid() gives it
        self.output = Output()
        self._pending = bytearray()
        self._input_ends = False
        self._readers = {}  # descriptor -> stream
        self._writer = -1
        self.pid = self._start(spec)

    def _start(self, spec):
        opened = set()  # which are closed when it cannot be started
        try:
            theirs = self._open_terminal(spec["terminal"], opened) if self.has_terminal else self._open_pipes(opened)
            told, tells = _pipe(opened)
            pid = os.fork()
            if pid == 0:
                _become(spec, theirs, tells, self.has_terminal)
            for descriptor in {*theirs, tells}:
                _close(descriptor, opened)
            failure = _read_failure(told)
            _close(told, opened)
            if failure:
                processes.send(pid, SIGKILL)
                os.waitpid(pid, 0)
                raise OSError(failure.decode("utf-8", "replace"))
        except OSError:
            for descriptor in opened:
                os.close(descriptor)
            raise
        for descriptor in opened:
            os.set_blocking(descriptor, False)
        for reader in self._readers:
            self._loop.watch(reader, select.POLLIN, self._on_events_of(reader))
        return pid

    def _open_pipes(self, opened):
        (stdin, self._writer), (out, stdout), (err, stderr) = (_pipe(opened) for _ in range(3))
        self._readers = {out: "stdout", err: "stderr"}
        return stdin, stdout, stderr

    def _open_terminal(self, size, opened):
        master, slave = os.openpty()  # its ends are not inherited
        opened.update((master, slave))
        _set_size(slave, size)
        self._writer = master
        self._readers = {master: TERMINAL}
        return slave, slave, slave

    # Its output.

    def _on_events_of(self, reader):
        def handle(events):
            if events & ~select.POLLOUT:
                self._read(reader)
            if events & select.POLLOUT:
                self._write()

        return handle

    def _read(self, reader):
        """Answers whether there was something."""
        try:
            content = os.read(reader, CHUNK_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            content = b""  # a terminal that nobody holds any more
        if not content:
            self._close_reader(reader)
            return False
        self.output.add(self._readers[reader], content)
        self._on_change(self)
        return True

    def _close_reader(self, reader):
        self._loop.unwatch(reader)
        del self._readers[reader]
        if reader == self._writer:
            self._writer = -1
        os.close(reader)

    # Its input.

    def put(self, content, end):
        if self._writer < 0 or self._input_ends:
            raise Refused("ended", "its input has ended")
        if len(self._pending) + len(content) > MAX_PENDING:
            raise Refused("full", "it has not read what it was given before")
        if self.has_terminal and end:
            content += b"\x04"  # as a key: a terminal has no end
        self._pending += content
        self._input_ends = end and not self.has_terminal
        self._write()

    def _write(self):
        try:
            while self._pending:
                del self._pending[: os.write(self._writer, self._pending[:CHUNK_BYTES])]
        except BlockingIOError:
            pass
        except OSError:
            self._pending.clear()  # nobody reads it any more
            self._input_ends = not self.has_terminal
        if not self._pending and self._input_ends:
            self._close_writer()
        elif self._writer < 0:
            return
        elif self.has_terminal:
            self._loop.change(self._writer, select.POLLIN | (select.POLLOUT if self._pending else 0))
        elif self._pending:
            self._loop.watch(self._writer, select.POLLOUT, lambda _events: self._write())
        elif self._loop.is_watched(self._writer):
            self._loop.unwatch(self._writer)

    def _close_writer(self):
        if self._writer >= 0:
            if self._loop.is_watched(self._writer):
                self._loop.unwatch(self._writer)
            os.close(self._writer)
            self._writer = -1

    def resize(self, size):
        if not self.has_terminal or self._writer < 0:
            raise Refused("no_terminal", "it has no terminal")
        _set_size(self._writer, size)

    # Its end.

    @property
    def is_alive(self):
        return self.status is None

    def end(self, status):
        """It has ended; what it has printed before is there by now."""
        for reader in list(self._readers):
            for _ in range(2 + KEPT_BYTES // CHUNK_BYTES):
                if not self._read(reader):
                    break
        self.status = status
        self.ended_at = time.time()
        if not self.has_terminal:
            self._close_writer()
        self._on_change(self)

    def close(self):
        """Nobody asks for it any more: it ends, with what it has started. Its number may be another's by now."""
        if self.is_alive or processes.is_exiting(self.pid):
            processes.kill_session(self.pid)
        for reader in list(self._readers):
            self._close_reader(reader)
        self._close_writer()

    def describe(self):
        exit_code = signal = None
        if self.status is not None and os.WIFSIGNALED(self.status):
            signal = os.WTERMSIG(self.status)
        elif self.status is not None:
            exit_code = os.WEXITSTATUS(self.status)
        return {
            "program": self.name,
            "argv": _shown(self.argv),
            "pid": self.pid,
            "terminal": self.has_terminal,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "exit_code": exit_code,
            "signal": signal,
            "first": self.output.first,
            "end": self.output.end,
        }


def _pipe(opened):
    ends = os.pipe2(os.O_CLOEXEC)
    opened.update(ends)
    return ends


def _close(descriptor, opened):
    opened.discard(descriptor)
    os.close(descriptor)


def _read_failure(told):
    """Why the program has not begun; empty when it has, which closes the other end. A guest may stop what starts."""
    waiter = select.poll()
    waiter.register(told, select.POLLIN)
    return os.read(told, 4_096) if waiter.poll(START_MS) else b"it was stopped before it began"


def _shown(argv):
    room, shown = MAX_SHOWN_ARGV, []
    for word in argv:
        shown.append(word if len(word) <= room else word[:room] + "...")
        room -= len(word)
        if room <= 0:
            break
    return shown


def _set_size(terminal, size):
    from fcntl import ioctl
    from struct import pack
    from termios import TIOCSWINSZ

    ioctl(terminal, TIOCSWINSZ, pack("HHHH", size["rows"], size["columns"], 0, 0))


def _become(spec, descriptors, tells, has_terminal):
    """In the child: leaves all that is the agent's, and becomes the program; says why when it cannot."""
    try:
        os.setsid()
        processes.leave_agent()
        for number in processes.IGNORED:
            _signal.signal(number, _signal.SIG_DFL)
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number, inheritable=True)
        tells = os.dup2(tells, 3, inheritable=False)
        os.closerange(4, 4_096)
        if has_terminal:
            from fcntl import ioctl
            from termios import TIOCSCTTY

            ioctl(0, TIOCSCTTY, 0)
        processes.limit_files(0, spec["file_bytes"])
        os.chdir(spec["cwd"])
        os.execvpe(spec["argv"][0], spec["argv"], {**os.environ, **spec["env"]})
    except BaseException as error:
        reason = getattr(error, "strerror", None) or repr(error)
        os.write(tells, reason.encode(errors="backslashreplace"))
    finally:
        os._exit(127)
