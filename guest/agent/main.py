"""Start of a sandbox's first process: loads the agent and the kernel's code, then runs the agent. usage: main.py LANGUAGE MEMORY_MIB

All of it gets a private copy of the builtins, so that a program which replaces `open` or `len` for its session does
not change how the kernel itself works, and leaves sys.modules again, so that a session may have an `output` module.
"""

import builtins
import sys
from _frozen_importlib_external import SourceFileLoader

AGENT, PYTHON = "/opt/era/agent", "/opt/era/python"
# In the order of their imports: each needs only those before it.
AGENT_PARTS = (
    AGENT,
    (
        *("wire", "processes", "workspace", "output", "kernel_process", "run", "shell", "mapping", "state_files", "results", "line"),
        *("relay", "ports", "egress", "server_side", "run_side", "kernel_side", "agent"),
    ),
)
PLAIN_PARTS = (AGENT, ("text_state", "plain_kernel"))
PLAIN_KERNELS = {"bash": ("/opt/era/bash", ("bash_text", "kernel")), "go": ("/opt/era/go", ("standard_build", "kernel"))}
PYTHON_PARTS = (PYTHON, ("environment", "workspace_modules", "after_import", "display", "matplotlib_support", "kernel"))
# Loaded when a session first has something to save: one-shot runs never do.
PERSISTENCE = (PYTHON, ("description", "surroundings", "pickling", "grouping", "saving", "restoring"))


def load(folder, name, private_builtins):
    module = type(sys)(name)
    module.__builtins__ = private_builtins
    sys.modules[name] = module
    exec(SourceFileLoader(name, f"{folder}/{name}.py").get_code(name), vars(module))
    return module


def load_all(parts, earlier, private_builtins):
    """Loads parts that may import each other and `earlier` ones, without leaving a name of theirs in sys.modules."""
    names = [*earlier, *(name for _, names in parts for name in names)]
    hidden = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    path, sys.path[:] = sys.path[:], [entry for entry in sys.path if not entry.startswith("/workspace")]
    sys.modules.update(earlier)
    try:
        return {name: load(folder, name, private_builtins) for folder, names in parts for name in names}
    finally:
        for name in names:
            sys.modules.pop(name, None)
        sys.modules.update(hidden)
        sys.path[:] = path


JAVASCRIPT = "/opt/era/javascript/kernel.mjs"
# Of the sandbox's memory; the rest is for what an engine keeps outside of its heap.
HEAP_SHARE = 0.7


def program_of(language, memory_mib):
    """The command of a kernel that is a program. Engines would take their heap's size from all of the host's memory."""
    heap = f"--max-old-space-size={max(32, int(memory_mib * HEAP_SHARE))}"
    if language == "deno":
        options = ("--quiet", "--allow-all", "--no-lock", "--no-config", f"--v8-flags={heap}")
        return ("/usr/local/bin/deno", "run", *options, JAVASCRIPT, language)
    options = ("--disable-warning=ExperimentalWarning", "--experimental-transform-types", heap)
    return ("/usr/local/bin/node", *options, JAVASCRIPT, language)


def main(language, memory_mib):
    private = dict(vars(builtins))
    if language in PLAIN_KERNELS:
        parts = load_all((AGENT_PARTS, PLAIN_PARTS, PLAIN_KERNELS[language]), {}, private)
        parts["agent"].run_agent(parts["kernel"].serve)
        return
    if language != "python":
        load_all((AGENT_PARTS,), {}, private)["agent"].run_agent(program_of(language, memory_mib))
        return
    parts = load_all((AGENT_PARTS, PYTHON_PARTS), {}, private)

    persistence = {}

    def load_persistence():
        if not persistence:
            persistence.update(load_all((PERSISTENCE,), parts, private))
        return persistence

    parts["agent"].run_agent(lambda line: parts["kernel"].serve(line, load_persistence))


main(sys.argv[1], int(sys.argv[2]))
