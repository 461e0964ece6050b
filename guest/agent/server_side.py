"""The agent towards its server: the line, what is asked on it, what is said, and what happens while nobody is there."""

import os
import select
import time

import processes
import state_files
import workspace
from wire import FrameError, encode_frame, to_json

PROTOCOL = 5
MAX_LISTED = 1_000
FREEZE_SECONDS = 5.0
# For the last save, of which a part may be a child with a limit of its own.
LEAVE_SECONDS = 150.0
# Longer than any image takes to be written or a copy of its files to be made; what waits for that stands still.
FROZEN_SECONDS = 900.0
# A sandbox that was imaged goes on by being dialled from, here or where it is restored.
HURRY_SECONDS = 2.0


class ServerSide:
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
        if not self.keeps_state or self.is_restoring:
            os._exit(0)  # the server is gone, and with it the reason to run
        self.unwatch(self.line.socket.fileno())
        self.line.hang_up()
        self.ports.close()
        self.egress.close()
        self.is_muted = True

    def freeze(self):
        """All other processes stand still, this one can be imaged, and the line is hung up: until somebody is there again."""
        if self.run is not None or self.frozen is not None:
            raise FrameError("a freeze while something runs")
        self.keeps_state = True
        try:
            if not self.kernel.is_ready:
                raise OSError("its interpreter is being replaced")
            self.frozen = processes.stop_all(FREEZE_SECONDS)
        except OSError as error:
            self.send({"type": "frozen", "error": str(error)[:1024]})
            return
        processes.set_reachable(True)  # CRIU asks for it; what others could reach by it is covered by mounts
        self.send({"type": "frozen", "error": None})
        self.on_hang_up()
        self.line.gives_up_at = time.monotonic() + FROZEN_SECONDS
        self.line.hurries_until = time.monotonic() + HURRY_SECONDS

    def thaw(self):
        processes.set_reachable(False)
        processes.go_on(self.frozen)
        self.frozen = None
        status, self.kernel_status = self.kernel_status, None
        if status is not None:
            self.on_kernel_ended(status)

    def on_nobody_there(self, now):
        if self.frozen is not None and now >= self.line.gives_up_at:
            self.thaw()
        if now >= self.line.gives_up_at and self.run is None and not self.leaving and self.kernel.is_ready:
            self.leaving = True
            self.leaves_at = now + LEAVE_SECONDS
            self.save_all(self.version, self.keep)
        if self.leaving and now >= self.leaves_at:
            os._exit(0)  # its last save does not end: the one before it stays
        if now >= self.line.dials_at:
            try:
                self.line.dial()
            except OSError:
                return
            self.watch_line()
            self.say_hello()

    def say_hello(self):
        running = self.run.id if self.run is not None else None
        self.send({"type": "hello", "protocol": PROTOCOL, "token": self.line.token, "running": running, **self.tell_state()})

    def say_restored(self):
        self.send({"type": "restored", **self.tell_state()})

    def tell_state(self):
        """What the session's folders hold, and the variables of it that the kernel has."""
        restored, self.restored = self.restored, None
        return {"epoch": self.epoch, "restored": restored, "unrecorded": self.results.unrecorded, "version": self.version}

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
            self.leaving = False
            if self.frozen is not None:
                self.thaw()
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
        elif kind == "freeze":
            self.freeze()
        elif kind == "reseed":
            self.reseed()
        elif kind == "restore":
            self.restore()
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
