"""A second kernel of a sandbox that nobody uses yet, which has imported what sessions of this server use most.

The first run, or the session that moves in, gets it when it uses one of these modules and nothing of the session's own
has their names; else it is ended at once, so that whoever does not need it does not pay for it.
"""

import os
import select
import time

import processes
import state_versions
from kernel_process import ForkedKernel
from wire import FrameError

# A sandbox that is used at once must not share its processor with this.
AFTER_SECONDS = 0.5
READY_SECONDS = 30.0
SIGKILL = 9
# Where a module of the session's own would be found, before or in the place of the image's.
OWN_PLACES = ("/workspace", "/root/.local/lib/python3.13/site-packages")
# What modules of the image read where a session may have its own.
OWN_SETTINGS = ("/workspace/matplotlibrc", "/root/.config/matplotlib/matplotlibrc")


class PreparedKernel:
    """`serve(line, modules)` is what a kernel does; None where kernels are not forked."""

    def __init__(self, loop, serve):
        self._loop = loop
        self._serve = serve if callable(serve) else None
        self._modules = ()
        self._begins_at = None
        self._kernel: ForkedKernel | None = None
        self._imported = frozenset()  # names of all that it has, by their first parts
        self._ends_at = 0.0
        loop.add_clock(self)

    def plan(self, modules):
        """Makes one a moment later, if nothing has run by then."""
        if self._serve is not None and modules and self._kernel is None:
            self._modules = tuple(name for name in modules if type(name) is str)
            self._begins_at = time.monotonic() + AFTER_SECONDS

    def next_at(self):
        if self._begins_at is not None:
            return self._begins_at
        return self._ends_at if self._kernel is not None and not self._kernel.is_ready else None

    def on_time(self, now):
        if self._begins_at is not None and now >= self._begins_at:
            self._begins_at = None
            self._begin()
        elif self._kernel is not None and not self._kernel.is_ready and now >= self._ends_at:
            self.drop()

    def _begin(self):
        try:
            self._kernel = ForkedKernel(self._become)
        except OSError:
            return
        self._ends_at = time.monotonic() + READY_SECONDS
        self._loop.watch(self._kernel.fileno(), select.POLLIN, lambda _events: self._on_kernel())

    def _become(self, line):
        if self._serve is not None:
            self._serve(line, self._modules)

    def _on_kernel(self):
        """It says that it is ready, and nothing else."""
        kernel = self._kernel
        if kernel is None:
            return
        try:
            for header, _ in kernel.receive():
                kernel.is_ready = header["type"] == "ready" and header["restored"] is None
                self._imported = frozenset(header["modules"])
        except (EOFError, FrameError, KeyError, TypeError):
            self.drop()

    def take_for_code(self, code, env):
        """The kernel, for a first program that uses what it has imported; else it is ended."""
        is_wanted = all(name.startswith("ERA_") for name in env) and any(
            name.partition(".")[0].encode() in code for name in self._modules
        )
        return self._take() if is_wanted else self.drop()

    def take_for_state(self):
        """The same for a session that has moved in: its saved variables name modules, or values of their classes."""
        try:
            version = next(iter(state_versions.version_numbers()), None)
            if version is None:
                return None  # it has files only: its first program tells
            header = state_versions.read_header(version)
            used = {str(name).partition(".")[0] for name in header["modules"].values()}
        except Exception:
            used = set()  # damaged, or written by a guest
        return self._take() if used & {name.partition(".")[0] for name in self._modules} else self.drop()

    def _take(self):
        kernel = self._kernel
        if kernel is None or not kernel.is_ready or self._is_shadowed():
            return self.drop()
        self._loop.unwatch(kernel.fileno())
        self._kernel = self._begins_at = None
        return kernel

    def _is_shadowed(self):
        """Whether the session has anything of its own that an import would have found in the place of the image's."""
        if any(map(os.path.lexists, OWN_SETTINGS)):
            return True
        for place in OWN_PLACES:
            try:
                found = os.listdir(place)
            except OSError:
                continue
            if any(entry.partition(".")[0].partition("-")[0] in self._imported for entry in found):
                return True
        return False

    def drop(self):
        """Ends it; answers None."""
        kernel, self._kernel, self._begins_at = self._kernel, None, None
        if kernel is not None:
            self._loop.unwatch(kernel.fileno())
            processes.send(kernel.pid, SIGKILL)
            kernel.close()
