"""The Go kernel: each run is a whole program, built and run in the workspace. Nothing but files outlives a run.

The program is laid over the workspace as a file that is not there, so that its imports resolve by the workspace's go.mod
while the workspace stays as it is. The standard library is compiled in the image; the build cache is the session's own.
"""

import os

from plain_kernel import PlainKernel
from wire import to_json

GO = "/usr/bin/go"
BUILD = "/tmp/era-go"
NAME = "era_run.go"
# Has the standard library taken from where the image's build has put it.
BUILD_ENVIRONMENT = {"GODEBUG": "installgoroot=all", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=mod"}


class GoKernel(PlainKernel):
    def run(self, header, code, pipes):
        os.makedirs(BUILD, exist_ok=True)
        source, overlay, program = f"{BUILD}/{NAME}", f"{BUILD}/overlay.json", f"{BUILD}/program"
        _write(source, code)
        _write(overlay, to_json({"Replace": {f"/workspace/{NAME}": source}}))
        env = self.environment_of(header)
        # What the compiler says is not the program's output, but belongs to its standard error.
        build = [GO, "build", "-overlay", overlay, "-o", program, NAME]
        status = self.wait(self.spawn(build, {**env, **BUILD_ENVIRONMENT}, [pipes[1], pipes[1]]))
        if status != 0:
            return status
        # It stays: go does not link it again when nothing of it has changed.
        try:
            return self.wait(self.spawn([program], env, pipes))
        except OSError:
            os.write(pipes[1], b"go: what was built is no program: its package is not main\n")
            return 1 << 8


def _write(path, content):
    with open(path, "wb") as file:
        file.write(content)


def serve(line):
    os.chdir("/workspace")
    GoKernel(line).serve()
