"""One kernel: a child process that holds the variables, and the socket on which the agent speaks with it.

    agent                                kernel
                                         <- ready {restored}
      run {run, name, env, ...} + code, [stdout, stderr] ->
                                         <- done {run, outcome, exit_code, error, saved} + results
                                         <- saving {pid}, saved {version, ...}
      save {version} ->                  <- saved {version, ...}
The kernel is forked from the agent, which has loaded its modules already, so a new one is there in milliseconds.
"""

import os
import time
from _socket import AF_UNIX, CMSG_SPACE, SCM_RIGHTS, SOCK_CLOEXEC, SOCK_STREAM, SOL_SOCKET, socketpair

import processes
from wire import FrameError, encode_frame, take_frame

READ_BYTES = 1 << 15
MAX_REPLY_BYTES = 24 << 20


class KernelProcess:
    def __init__(self, serve):
        """Forks a kernel; `serve(socket)` is its whole life."""
        ours, theirs = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)
        self.pid = os.fork()
        if self.pid == 0:
            _live(serve, theirs)
        theirs.close()
        ours.setblocking(False)
        self.socket = ours
        self.has_run = False
        self.is_ready = False
        self.saver_pid = 0  # of a child that saves: not part of any run
        self.broken = None  # why the agent had to end it, when its line could no longer be trusted
        self._incoming = bytearray()
        self._outgoing = bytearray()

    def fileno(self):
        return self.socket.fileno()

    @property
    def has_outgoing(self):
        return bool(self._outgoing)

    def send(self, header):
        self._outgoing += encode_frame(header)
        self.flush()

    def send_run(self, header, code, descriptors):
        """Starts a run. The pipes' ends travel with the first byte; a long program follows as the kernel reads it."""
        self.has_run = True
        self._outgoing += encode_frame(header, code)
        packed = b"".join(number.to_bytes(4, "little") for number in descriptors)
        sent = self.socket.sendmsg([self._outgoing[:READ_BYTES]], [(SOL_SOCKET, SCM_RIGHTS, packed)])
        del self._outgoing[:sent]

    def flush(self):
        try:
            while self._outgoing:
                del self._outgoing[: self.socket.send(self._outgoing[:READ_BYTES])]
        except BlockingIOError:
            pass

    def receive(self):
        """Frames that the kernel sent. Raises EOFError on a hung-up line, FrameError on anything but frames."""
        try:
            chunk = self.socket.recv(READ_BYTES)
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

    def signal(self, number):
        processes.send(self.pid, number)

    def close(self):
        self.socket.close()


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


def receive_request(line):
    """The kernel's end: waits for the next request as (header, code, descriptors); None when the agent is gone."""
    buffer = bytearray()
    descriptors = []
    while True:
        frame = take_frame(buffer)
        if frame is not None:
            return *frame, descriptors
        chunk, ancillary, _, _ = line.recvmsg(READ_BYTES, CMSG_SPACE(8))
        if not chunk:
            return None
        buffer += chunk
        for level, kind, data in ancillary:
            if level == SOL_SOCKET and kind == SCM_RIGHTS:
                descriptors += [int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data) - 3, 4)]
