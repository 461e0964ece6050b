"""
One command in the workspace, beside the kernel: what a run of a shell command ends and interrupts in a kernel's place.
"""

import os

import processes

SIGINT, SIGTERM = 2, 15
SHELL = "/bin/bash"


class ShellCommand:
    def __init__(self, command, env, pipes, source):
        """Starts it, with a process group of its own, so that a signal reaches all that it waits for."""
        with open(os.devnull, "rb") as null:
            actions = [
                (os.POSIX_SPAWN_DUP2, null.fileno() if source is None else source, 0),
                (os.POSIX_SPAWN_DUP2, pipes[0].writer, 1),
                (os.POSIX_SPAWN_DUP2, pipes[1].writer, 2),
            ]
            argv = [SHELL, "-c", command]
            environment = dict(os.environ) | env
            self.pid = os.posix_spawn(
                SHELL, argv, environment, file_actions=actions, setpgroup=0, setsigdef=processes.IGNORED
            )

    def signal(self, number):
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            pass  # it ended by itself

    def interrupt(self):
        self.signal(SIGINT)

    def wants_sigterm(self):
        return processes.catches(self.pid, SIGTERM)


def describe(status):
    """How a command has ended, by waitpid()'s status; a signal counts as a shell counts it."""
    code = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    return {"outcome": "ok" if code == 0 else "exited", "exit_code": code, "error": None}
