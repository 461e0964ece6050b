"""The run in progress: begun in the kernel or in a shell, its output, its end, and what of it is kept for a server."""

import os
import select
import time

import processes
import state_versions
import workspace
from kernel_process import open_pipes
from output import HOLD_SECONDS
from run_limits import Run
from shell import ShellCommand
from standard_input import MAX_PENDING, StandardInput, open_text
from wire import FrameError, encode_frame

MAX_KNOWN_RUNS = 1_000
MAX_PROMPT = 1_024
# A save that the answer waits for is not the program's time.
SAVE_SECONDS = 130
# Nor is what a new kernel takes to restore what the run began with.
RESTORE_SECONDS = 300


class CurrentRun:
    def __init__(self, agent):
        self._agent = agent
        self._loop = agent.loop
        self._data = workspace.SessionData()
        self._known = {}  # runs that this agent was given, in their order
        self._seed_errors = []  # told on the standard error of the run that the files were for
        self._files_since = 0
        self._killed_since = None  # start of an earlier run whose processes were killed, in ticks since boot
        self._release_at = None  # when the beginning of a line that some pipe holds is to be forwarded
        self._line = b""  # what was printed last, and has no end of its line yet
        self._look_at = None  # when to look whether the run waits for input
        self._end = {}  # of a run whose kernel has died, until the next one is ready
        self.run: Run | None = None
        self.is_muted = False  # the run is recorded only, until a server asks for it
        self._loop.add_clock(self)

    @property
    def id(self):
        return self.run.id if self.run is not None else None

    def is_known(self, run_id):
        return run_id in self._known

    def is_in(self, target):
        return self.run is not None and self.run.target is target

    def seed(self, path, content):
        """Writes a file that the next run is given."""
        try:
            workspace.write_seed(path, content)
        except OSError as error:
            self.tell_next(f"Cannot write {path!r}: {error.strerror}\n")

    def tell_next(self, text):
        """Says something on the standard error of the next run."""
        self._seed_errors.append(text.encode(errors="backslashreplace"))

    # Its beginning.

    def start(self, header, payload):
        code_bytes = header["code_bytes"]
        data_at = code_bytes + header["stdin_bytes"]
        self._data.put(payload[data_at:] if header["has_data"] else None)
        self._files_since = workspace.file_clock_ns()
        limit = header["output_bytes"]
        kernel = self._agent.kernels.kernel
        if not kernel.saves_itself:
            processes.limit_files(kernel.pid, header["file_bytes"])
        pipes = open_pipes(limit) if header["shell"] else kernel.open_pipes(limit)
        self.run = run = Run(header, pipes, lambda: self._agent.programs.sessions)
        self._known[run.id] = None
        if len(self._known) > MAX_KNOWN_RUNS:
            del self._known[next(iter(self._known))]
        self.is_muted = False
        self._line = b""
        for pipe in run.pipes:
            if pipe.open:
                self._agent.late.forget(pipe)
                self._loop.watch(pipe.reader, select.POLLIN, self._on_output)
        for error in self._seed_errors:
            self._forward("stderr", error)
        self._seed_errors.clear()
        code = payload[:code_bytes]
        source = self._open_input(run, header["stdin"], payload[code_bytes:data_at])
        try:
            if header["shell"]:
                self._start_shell(run, header, code, source)
            else:
                self._start_in_kernel(run, header, code, source)
        finally:
            if run.input is not None:
                run.input.hand_over()
            elif source is not None:
                os.close(source)

    def _open_input(self, run, kind, content):
        """What its processes read from: a descriptor, or None for nothing."""
        if kind == "none":
            return None
        if kind == "text":
            return open_text(content)
        run.input = StandardInput(self._loop, content)
        self._look_later()
        return run.input.reader

    def _start_in_kernel(self, run, header, code, source):
        kernels = self._agent.kernels
        run.target = kernels.kernel
        request = {
            "type": "run",
            "run": run.id,
            "reap": self._zombies(),
            "stdin": source is not None,
            **{key: header[key] for key in ("name", "env", "version", "save", "keep", "whole", "check")},
        }
        try:
            kernels.kernel.send_run(request, code, run.pipes, source)
        except OSError:
            pass  # the kernel died while idle; its end is handled when it is reaped
        kernels.watch_output()
        for pipe in run.pipes:
            pipe.hand_over()

    def _start_shell(self, run, header, code, source):
        """One command beside the kernel, which goes on holding its variables."""
        try:
            command = code.decode("utf-8", "surrogateescape")
            with processes.LimitedStart(header["file_bytes"]):
                run.target = ShellCommand(command, header["env"], run.pipes, source)
        except (OSError, ValueError) as error:
            for pipe in run.pipes:
                pipe.hand_over()
            self._forward("stderr", f"Cannot start the command: {error}\n".encode(errors="backslashreplace"))
            self.finish({"outcome": "exited", "exit_code": 126})
            return
        for pipe in run.pipes:
            pipe.hand_over()

    def _zombies(self):
        """Children of the kernel that were killed with an earlier run: they count as processes until waited for."""
        if self._killed_since is None:
            return []
        pids = processes.zombies_since(self._killed_since, self._agent.kernels.kernel.pid)
        if not pids:
            self._killed_since = None
        return pids

    # While it runs.

    def interrupt(self, run_id):
        if self.run is not None and self.run.id == run_id:
            self.run.end("interrupted", self._agent.kernels.kernel)

    def give_input(self, run_id, content, end):
        """For the run in progress; what comes later is nobody's."""
        if self.run is not None and self.run.id == run_id and self.run.input is not None:
            dropped = self.run.input.put(content, end)
            if dropped:
                text = f"{dropped} bytes of input were dropped: at most {MAX_PENDING >> 20} MiB wait to be read\n"
                self._forward("stderr", text.encode())
            self._line = b""  # as on a terminal, where what is typed ends the line
            self._look_later()

    def _look_later(self):
        seconds = self.run.input.wait_seconds() if self.run is not None and self.run.input is not None else None
        self._look_at = None if seconds is None else time.monotonic() + seconds

    def _look_for_input(self):
        run = self.run
        if run is None or run.input is None:
            self._look_at = None
            return
        if run.input.begins_to_ask():
            for pipe in run.pipes:
                pipe.drain(self._forward)
            self._say({"type": "asks", "run": run.id}, self._line[-MAX_PROMPT:])
        self._look_later()

    def show(self, run_id, content):
        """Something that the run displays, after all that it has printed before."""
        if self.run is None or self.run.id != run_id:
            return  # a run that has ended displays nothing any more
        for pipe in self.run.pipes:
            pipe.drain(self._forward)
        if self.run.displays(content):
            self._say({"type": "display", "run": run_id}, content)

    def begin(self):
        """What the kernel had to save first is done."""
        if self.run is not None and self.is_in(self._agent.kernels.kernel):
            self.run.begin()

    def allow_save(self):
        """The answer waits for a save, which has a limit of its own."""
        if self.run is not None and self.run.save == "sync":
            self.run.deadline = time.monotonic() + SAVE_SECONDS

    def next_at(self):
        if self.run is None:
            return None
        return min(at for at in (self.run.deadline, self._release_at, self._look_at) if at is not None)

    def on_time(self, now):
        if self.run is None:
            return
        if self._release_at is not None and now >= self._release_at:
            self._release_at = None
            for pipe in self.run.pipes:
                pipe.release(self._forward)
        if self._look_at is not None and now >= self._look_at:
            self._look_for_input()
        if now < self.run.deadline:
            return
        if self.run.cause is None:
            self.run.end("timed_out", self._agent.kernels.kernel)
        else:
            self.run.climb()

    def _on_output(self, _events):
        for pipe in self.run.pipes if self.run else ():
            if pipe.open:
                pipe.read_once(self._forward)
                if not pipe.open:
                    self._loop.unwatch(pipe.reader)
                if pipe.holds and self._release_at is None:
                    self._release_at = time.monotonic() + HOLD_SECONDS

    def _forward(self, stream, chunk):
        if stream == "stdout":
            self._line = (b"" if b"\n" in chunk else self._line[-MAX_PROMPT:]) + chunk[chunk.rfind(b"\n") + 1 :]
        self._say({"type": "output", "run": self.id, "stream": stream}, chunk)

    def _say(self, header, payload):
        """A frame of the run: recorded, and sent unless the server has yet to ask for the run."""
        frame = encode_frame(header, payload)
        self._agent.records.add(self.id, frame)
        if not self.is_muted:
            self._agent.server.put(frame)

    # Its end.

    def lose_kernel(self, kernel):
        """When its kernel has died: what the program has left running goes, before there is a next one."""
        if self.run is not None and self.run.target is kernel:
            self.run.kill_children(kernel)

    def wait_for_kernel(self, run, end):
        """Its end is told when the next kernel is ready."""
        self._end = self._end or end
        run.deadline = time.monotonic() + RESTORE_SECONDS

    def finish_waiting(self):
        end, self._end = self._end, {}
        self.finish(end)

    def answer(self, header, results):
        """The kernel says that it is done."""
        if self.run is None or header["run"] != self.run.id:
            raise FrameError("an answer that nobody asked for")
        self.run.left_out = header.get("left_out", 0)
        self.finish({key: header[key] for key in ("outcome", "exit_code", "error")}, results, header["saved"])

    def finish(self, report, results=b"", saved=None):
        """Sends what is left of the output, then the end of the run: nothing of it follows that frame."""
        run, agent = self.run, self._agent
        if run is None:
            raise RuntimeError("no run is in progress")
        for pipe in run.pipes:
            pipe.drain(self._forward)
        if run.input is not None:
            run.input.close()
        if run.cause is not None:
            run.kill_children(agent.kernels.kernel)
            self._killed_since = run.started_ticks
        data = self._data.take()
        end = {
            **self._describe(run, report),
            "results_bytes": len(results),
            "has_data": data is not None,
            "saved": saved,
        }
        if not run.keep_files:
            workspace.empty()
        payload = results + (data or b"")
        frame = encode_frame(end, payload)
        agent.records.add(run.id, frame)
        agent.records.end(run.id)
        failure = self._settle(run, saved)
        if saved is not None and failure is not None:
            frame = encode_frame({**end, "saved": {**saved, "failed": failure}}, payload)
            agent.records.replace_last(run.id, frame)
        if not self.is_muted:
            agent.server.put(frame)
        self.run = self._release_at = self._look_at = None
        agent.phase.move("idle")
        for pipe in run.pipes:
            agent.late.keep(pipe, run.id)

    def _describe(self, run, report):
        kernels = self._agent.kernels
        return {
            "type": "end",
            "run": run.id,
            "version": run.version,
            "outcome": report["outcome"],
            "cause": run.cause,
            "exit_code": report.get("exit_code"),
            "signal": report.get("signal"),
            "error": report.get("error"),
            "elapsed_us": int((time.monotonic() - run.started) * 1e6),
            "dropped": run.dropped(),
            "files": workspace.look_at_files(self._files_since),
            "epoch": kernels.epoch,
            "restored": kernels.take_found(),
        }

    def _settle(self, run, saved):
        """
        Makes an answer last that nobody may have heard. Answers why the run's state is not saved, when it turns out so.
        """
        staged = saved is not None and saved["staged"]
        durable = staged or (run.save == "sync" and run.target is not self._agent.kernels.kernel)
        try:
            if durable:
                workspace.flush_files(self._files_since)
            if durable or (run.save != "none" and not self._agent.server.is_up):
                self._agent.records.store(run.id, run.version, durable)
        except OSError:
            pass  # a full disk: the record stays in memory for as long as this agent lives
        try:
            if staged:
                state_versions.commit_version(run.version, durable=True)
        except OSError as error:
            return f"its data cannot be written: {error.strerror}"
        return None
