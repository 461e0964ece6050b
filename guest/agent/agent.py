"""The agent: first process of a sandbox. It owns the session's processes and pipes and speaks with the server.

One event loop over: the server's socket, the kernel's socket, the output pipes, and a pipe that wakes it on SIGCHLD.
Nothing here waits for user code. Being process 1, it cannot be signalled from inside, and its end ends the sandbox.
When its server is gone it lets the run in progress end, keeps the result, and dials again: a sandbox that has run
something to keep waits for a server for a while, then saves and ends.
Frames with the server are listed in docs/guest-protocol.md. One class in three parts: the server, runs, kernels.
"""

import os
import select
import time

import processes
import workspace
from egress import Egress
from kernel_side import KernelSide
from line import Line
from ports import Ports
from results import Results
from run_side import RunSide
from server_side import ServerSide


class Agent(ServerSide, RunSide, KernelSide):
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
        self.keep = {"versions": 20, "bytes": 1 << 30}  # of saved state: see state_files.py
        self.is_saving_all = False
        self.leaving = False  # saving for the last time
        self.leaves_at = 0.0  # then, whatever became of that
        self.rolling_back = None
        self.frozen = None  # processes that stand still, while an image of all may be made
        self.kernel_status = None  # of a kernel that ended while all stood still: replaced when they go on
        self.is_restoring = False  # a session that has just moved in
        self.died_unused = 0  # kernels in a row
        self.seed_errors = []  # told on the standard error of the run that the files were for
        self.killed_since = None  # start of an earlier run whose processes were killed, in ticks since boot
        self.release_at = None  # when the beginning of a line that some pipe holds is to be forwarded
        self.late = {}
        self.known_runs = {}  # those that this agent was given, in their order
        self.kernel = None
        self.epoch = 0
        self.ports = Ports(self, lambda ticket: self.send({"type": "refused", "ticket": ticket}))
        self.egress = Egress(self)
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
