"""The agent and its run: starting it in the kernel or in a shell, its output, its end, and what still comes after that."""

import select
import time

import processes
import state_files
import workspace
from kernel_process import open_pipes
from output import HOLD_SECONDS, LATE_BYTES, STREAMS
from run import Run
from shell import ShellCommand
from wire import FrameError, encode_frame

MAX_LATE_PIPES = 32
MAX_KNOWN_RUNS = 1_000


class RunSide:
    def start_run(self, header, payload):
        code_bytes = header["code_bytes"]
        self.data.put(payload[code_bytes:] if header["has_data"] else None)
        self.files_since = workspace.file_clock_ns()
        limit = header["output_bytes"]
        self.run = run = Run(header, open_pipes(limit) if header["shell"] else self.kernel.open_pipes(limit))
        self.known_runs[run.id] = None
        if len(self.known_runs) > MAX_KNOWN_RUNS:
            del self.known_runs[next(iter(self.known_runs))]
        self.version, self.keep = run.version, header["keep"]
        self.is_muted = False
        self.results.forget(header["recorded"])
        self.keeps_state = self.keeps_state or run.save != "none"
        if self.keeps_state:
            self.results.begin(run.id)
        for pipe in run.pipes:
            if pipe.open:
                self.late.pop(pipe.reader, None)
                self.watch(pipe.reader, select.POLLIN, self.on_output)
        for error in self.seed_errors:
            self.forward_output("stderr", error)
        self.seed_errors.clear()
        code = payload[:code_bytes]
        if header["shell"]:
            self.start_shell(run, header, code)
        else:
            self.start_in_kernel(run, header, code)

    def start_in_kernel(self, run, header, code):
        run.target = self.kernel
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
            "check": header["check"],
        }
        try:
            self.kernel.send_run(request, code, run.pipes)
        except OSError:
            pass  # the kernel died while idle; its end is handled when it is reaped
        self.watch_kernel()
        for pipe in run.pipes:
            pipe.hand_over()

    def start_shell(self, run, header, code):
        """One command beside the kernel, which goes on holding its variables."""
        try:
            run.target = ShellCommand(code.decode("utf-8", "surrogateescape"), header["env"], run.pipes)
        except (OSError, ValueError) as error:
            for pipe in run.pipes:
                pipe.hand_over()
            self.forward_output("stderr", f"Cannot start the command: {error}\n".encode(errors="backslashreplace"))
            self.finish_run({"outcome": "exited", "exit_code": 126})
            return
        for pipe in run.pipes:
            pipe.hand_over()

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
            "version": run.version,
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
        payload = results + (data or b"")
        frame = encode_frame(end, payload)
        self.results.add(run.id, frame)
        self.results.end(run.id)
        failure = self.settle(run, saved)
        if failure is not None:
            frame = encode_frame({**end, "saved": {**saved, "failed": failure}}, payload)
            self.results.replace_last(run.id, frame)
        if not self.is_muted:
            self.put(frame)
        self.run = self.release_at = None
        for pipe in run.pipes:
            self.keep_late(pipe, run.id)

    def settle(self, run, saved):
        """Makes an answer last that nobody may have heard. Answers why the run's state is not saved, when it turns out so."""
        staged = saved is not None and saved["staged"]
        durable = staged or (run.save == "sync" and run.target is not self.kernel)
        try:
            if durable:
                workspace.flush_files(self.files_since)
            if durable or (run.save != "none" and self.line.socket is None):
                self.results.store(run.id, run.version, durable)
        except OSError:
            pass  # a full disk: the record stays in memory for as long as this agent lives
        try:
            if staged:
                state_files.commit_version(run.version, durable=True)
        except OSError as error:
            return f"its data cannot be written: {error.strerror}"
        return None

    # Output that comes after its run has ended.

    def keep_late(self, pipe, run_id):
        if not pipe.open:
            self.unwatch_pipe(pipe)
            return
        pipe.end_run()
        self.late[pipe.reader] = pipe
        self.handlers[pipe.reader] = lambda _events: self.on_late(pipe, run_id)
        own = [each for each in self.late.values() if not each.lives_with_kernel]
        if len(own) > MAX_LATE_PIPES:
            self.drop_late(own[0])

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
        if not pipe.lives_with_kernel:
            pipe.close()
