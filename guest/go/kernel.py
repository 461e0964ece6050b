"""The Go kernel: each run is a whole program, built and run in the workspace. Nothing but files outlives a run.

For the go command the program is laid over the workspace as a file that is not there, so that its imports resolve by
the workspace's go.mod while the workspace stays as it is. The build cache is the session's own; the standard library is
compiled in the image.
"""

import errno
import os

import standard_build
from plain_kernel import SIGINT, WORKSPACE, PlainKernel
from wire import to_json

GO = "/usr/bin/go"
BUILD = "/tmp/era-go"
NAME = "era_run.go"
SOURCE = f"{BUILD}/{NAME}"
PROGRAM = f"{BUILD}/program"
# Has the standard library taken from where the image's build has put it.
GO_ENVIRONMENT = {"GODEBUG": "installgoroot=all", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=mod"}


class GoKernel(PlainKernel):
    def __init__(self, line):
        super().__init__(line)
        self.built = None  # of the program that is there: (source, identity), when it is built of nothing else

    def run(self, header, code, pipes):
        self.was_signalled = False
        env = self.environment_of(header)
        try:
            status = self.build(code, env, pipes)
        except OSError as cause:  # a full /tmp, or what a program has made of the folder
            return failure(pipes, cause)
        if status != 0:
            return status
        try:
            return self.step([PROGRAM], env, pipes)
        except OSError as cause:
            is_program = cause.errno not in (errno.EACCES, errno.ENOEXEC)
            return failure(pipes, cause if is_program else "what was built is no program: its package is not main")

    def build(self, code, env, pipes):
        """Leaves the program, or answers what the go command ended with."""
        is_plain = standard_build.is_plain(code, env)
        if is_plain and os.path.lexists(PROGRAM) and self.built == (code, identity(PROGRAM)):
            return 0
        self.built = None
        os.makedirs(BUILD, exist_ok=True)
        _write(SOURCE, code)
        if is_plain and self.build_plainly():
            self.built = code, identity(PROGRAM)
            return 0
        overlay = f"{BUILD}/overlay.json"
        _write(overlay, to_json({"Replace": {f"{WORKSPACE}/{NAME}": SOURCE}}))
        options = ["-ldflags", " ".join(standard_build.LINK_OPTIONS), "-overlay", overlay, "-o", PROGRAM]
        # What the compiler says is not the program's output, but belongs to its standard error.
        return self.step([GO, "build", *options, NAME], {**env, **GO_ENVIRONMENT}, [pipes[1], pipes[1]])

    def build_plainly(self):
        with open(os.devnull, "wb") as null:
            pipes = [null.fileno()] * 2
            steps = standard_build.steps(SOURCE, WORKSPACE, PROGRAM)
            return all(self.step(argv, standard_build.ENVIRONMENT, pipes) == 0 for argv in steps)

    def step(self, argv, env, pipes):
        """Runs one program to its end; none once the run was told to end."""
        if self.was_signalled:
            return SIGINT
        return self.wait(self.spawn(argv, env, pipes))


def identity(path):
    """Another one for each file, and each change of it."""
    info = os.lstat(path)
    return info.st_dev, info.st_ino, info.st_ctime_ns


def failure(pipes, cause):
    """Answers a status of 1, with the cause told."""
    os.write(pipes[1], f"go: {cause}\n".encode())
    return 1 << 8


def _write(path, content):
    with open(path, "wb") as file:
        file.write(content)


def serve(line):
    os.chdir(WORKSPACE)
    standard_build.read_ahead()
    GoKernel(line).serve()
