"""Start of a sandbox's first process: loads the agent and the kernel's code, then runs the agent. usage: main.py KIND
[ARGUMENT...], as src/protocol/languages.ts says for each language.

All of it gets a private copy of the builtins: a program that replaces `open` or `len` for its session does not change
how the kernel itself works. It leaves sys.modules again, so that a session may have an `output` module.
"""

import builtins
import gc
import sys
from _frozen_importlib_external import SourceFileLoader

AGENT, STATE, PYTHON = "/opt/era/agent", "/opt/era/state", "/opt/era/python"
# In the order of their imports: each needs only those before it.
STATE_PARTS = (
    STATE,
    "mapping state_files pieces state_header state_versions state_values save_report kept_versions state_listing",
)
AGENT_PARTS = (
    (AGENT, "wire processes workspace output standard_input kernel_process run_limits shell"),
    STATE_PARTS,
    (
        AGENT,
        "run_records line loop phase scratch server_link pipe ports egress program programs kernel_frames prepared "
        "kernel_host late_output current_run agent",
    ),
)
PLAIN_PARTS = ((STATE, "text_state"), (AGENT, "plain_kernel"))
PYTHON_PARTS = (
    PYTHON,
    "environment workspace_modules after_import mended_builtins matplotlib_support forms display streams handlers "
    "tracebacks evaluation telling kernel",
)
# Loaded when a session first has something to save: one-shot runs never do.
PERSISTENCE = (
    PYTHON,
    "description unkept interpreter_settings logging_settings settings surroundings open_files running_threads by_name "
    "reductions instances stored_names library_state workspace_state figures finalizers registries outside pickling "
    "verifying parts grouping saving restoring",
)

# Loaded when a program is no Python as it is, or asks for its shell.
NOTEBOOK = (PYTHON, "open_text cells magics exact_json values shell")


def load(folder, name, private_builtins):
    module = type(sys)(name)
    module.__builtins__ = private_builtins
    sys.modules[name] = module
    code = SourceFileLoader(name, f"{folder}/{name}.py").get_code(name)
    if code is None:
        raise ImportError(f"{folder}/{name}.py holds no program")
    exec(code, vars(module))
    return module


def load_all(parts, earlier, private_builtins):
    """
    Loads parts, each a folder and the names of its modules, which may import each other and `earlier` ones, without
    leaving a name of theirs in sys.modules.
    """
    parts = [(folder, names.split()) for folder, names in parts]
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


def main(kind, *rest):
    """
    `kind` says how the kernel is made: "python", "plain" with its folder and modules, or "program" with its command.
    """
    private = dict(vars(builtins))
    if kind == "plain":
        parts = load_for_good((*AGENT_PARTS, *PLAIN_PARTS, (rest[0], " ".join(rest[1:]))), private)
        parts["agent"].run_agent(parts["kernel"].serve)
    elif kind == "program":
        load_for_good(AGENT_PARTS, private)["agent"].run_agent(rest)
    elif kind == "python":
        run_python(private)
    else:
        raise ValueError(f"no kernel of the kind {kind!r}")


def load_for_good(parts, private):
    """What is loaded stays: no collection looks at it, or copies its pages, which agent and kernel share."""
    gc.disable()
    loaded = load_all(parts, {}, private)
    gc.freeze()
    gc.enable()
    return loaded


def run_python(private):
    parts = load_for_good((*AGENT_PARTS, PYTHON_PARTS), private)

    def when_asked(more):
        loaded = {}

        def load_once():
            if not loaded:
                loaded.update(load_all((more,), parts, private))
            return loaded

        return load_once

    loaders = when_asked(PERSISTENCE), when_asked(NOTEBOOK)
    parts["agent"].run_agent(lambda line, preload=(): parts["kernel"].serve(line, loaders, preload))


main(*sys.argv[1:])
