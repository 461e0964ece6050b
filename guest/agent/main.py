"""Start of a sandbox's first process: loads the agent and the kernel's code, then runs the agent.

All of it gets a private copy of the builtins, so that a program which replaces `open` or `len` for its session does
not change how the kernel itself works, and leaves sys.modules again, so that a session may have an `output` module.
"""

import builtins
import sys
from _frozen_importlib_external import SourceFileLoader

AGENT, PYTHON = "/opt/era/agent", "/opt/era/python"
# In the order of their imports: each needs only those before it.
PARTS = (
    (AGENT, ("wire", "processes", "workspace", "output", "kernel_process", "run", "agent")),
    (PYTHON, ("environment", "workspace_modules", "display", "matplotlib_support", "kernel")),
)


def load(folder, name, private_builtins):
    module = type(sys)(name)
    module.__builtins__ = private_builtins
    sys.modules[name] = module
    exec(SourceFileLoader(name, f"{folder}/{name}.py").get_code(name), vars(module))
    return module


def main():
    private = dict(vars(builtins))
    parts = {name: load(folder, name, private) for folder, names in PARTS for name in names}
    for name in parts:
        del sys.modules[name]
    parts["agent"].run_agent(parts["kernel"].serve)


main()
