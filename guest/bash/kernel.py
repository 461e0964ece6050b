"""The bash kernel: one live shell, fed line by line through a pipe; each run is a file that it sources.

Before a run the shell's output is put on the run's pipes; after it the shell writes down what it holds. That is read here,
saved, and sourced by the next shell: when this one exits, is killed, or the session wakes.
"""

import os
import re

from plain_kernel import PlainKernel

BASH = "/bin/bash"
FOLDER = "/tmp/era-bash"
DUMP = FOLDER + "/dump"
# Read by bash itself, byte by byte since it is a pipe: each line is executed as soon as it is there.
SCRIPT_FD, STATUS_FD = 198, 199
# Set anew by each shell.
OWN = frozenset(
    "BASH BASHOPTS BASHPID BASH_ALIASES BASH_ARGC BASH_ARGV BASH_ARGV0 BASH_CMDS BASH_COMMAND BASH_EXECUTION_STRING "
    "BASH_LINENO BASH_LOADABLES_PATH BASH_SOURCE BASH_SUBSHELL BASH_VERSINFO BASH_VERSION COMP_WORDBREAKS DIRSTACK "
    "EPOCHREALTIME EPOCHSECONDS EUID FUNCNAME GROUPS HISTCMD HOSTNAME HOSTTYPE LINENO MACHTYPE OLDPWD OPTERR OPTIND "
    "OSTYPE PIPESTATUS PPID PS4 PWD RANDOM SECONDS SHELLOPTS SHLVL SRANDOM UID _".split()
)
# Without any subshell, since each costs a fork; ends with a mark, since a shell may be killed in it.
SETUP = r"""
__era_dump() {
  {
    \builtin printf 'cwd\0cd -- %q\0umask\0umask ' "$PWD"; \builtin umask
    \builtin printf '\0options\0'; \builtin set +o; \builtin shopt -p
    \builtin printf '\0aliases\0'; \builtin alias -p
    \builtin printf '\0traps\0'; \builtin trap -p
    \builtin printf '\0functions\0'; \builtin declare -f
    \builtin printf '\0variables\0'; \builtin declare -p
    \builtin printf '\0end'
  } 2>/dev/null >DUMP
}
""".replace("DUMP", DUMP)
DUMP_FUNCTION = re.compile(r"^__era_dump \(\) \n\{.*?^\}\n", re.M | re.S)
VARIABLE = re.compile(r"declare -\S+ (\w+)")
# In an order in which nothing that comes later stands in the way of what came before.
ORDER = ("functions", "variable", "aliases", "traps", "umask", "cwd", "options")


class BashKernel(PlainKernel):
    def __init__(self, line):
        super().__init__(line)
        os.makedirs(FOLDER, exist_ok=True)
        self.shell = 0
        self.held = {}  # what the shell holds, as it wrote it down last
        self.overlaid = {}  # variables of the run only -> what the session had under the name

    def restore(self, texts):
        self.held = dict(texts)

    def reseed(self):
        if self.shell:
            self.order(f"RANDOM={int.from_bytes(os.urandom(2))}")

    def values(self):
        return {name: (name.partition(" ")[0], text) for name, text in self.held.items()}

    def run(self, header, code, pipes):
        program = f"{FOLDER}/{header['name'].strip('<>').replace(' ', '-')}"
        with open(program, "wb") as file:
            file.write(code)
        if not self.shell:
            self.start_shell()
        mine = f"/proc/{os.getpid()}/fd"
        self.order(f"\\exec </dev/null >{mine}/{pipes[0]} 2>{mine}/{pipes[1]}")
        self.order(self.environment_lines(header["env"]))
        self.order("trap __era_dump EXIT")
        self.order(f"\\builtin . {program}\n__era_status=$?")
        self.order(f"__era_dump\n\\builtin echo $__era_status >&{STATUS_FD}\n\\exec >/dev/null 2>&1")
        status = self.wait_for_run()
        self.read_dump()
        os.unlink(program)
        return status

    def environment_lines(self, env):
        """Variables of this run only: those of the last one are gone, or what the session itself has set."""
        lines = [f"\\builtin unset {name}" if text is None else text for name, text in self.overlaid.items()]
        self.overlaid = {}
        for name, value in env.items():
            if name.isidentifier():
                self.overlaid[name] = self.held.get(f"variable {name}")
                lines.append(f"\\builtin export {name}={quote(value)}")
        return "\n".join(lines)

    def start_shell(self):
        script_reader, self.script = os.pipe()
        self.status, status_writer = os.pipe()
        actions = [(os.POSIX_SPAWN_DUP2, script_reader, SCRIPT_FD), (os.POSIX_SPAWN_DUP2, status_writer, STATUS_FD)]
        argv = [BASH, "--norc", "--noprofile", f"/dev/fd/{SCRIPT_FD}"]
        # A group of its own: an interrupt is for the shell and for what it waits for.
        self.shell = self.child = os.posix_spawn(BASH, argv, self.environment, file_actions=actions, setpgroup=0, setsigdef=[2, 15])
        for descriptor in (script_reader, status_writer):
            os.close(descriptor)
        self.order(SETUP)
        for kind in ORDER:
            for name, text in self.held.items():
                if name.partition(" ")[0] == kind and text:
                    self.order(text)

    def order(self, lines):
        data = (lines + "\n").encode("utf-8", "surrogateescape")
        try:
            while data:
                data = data[os.write(self.script, data) :]
        except BrokenPipeError:
            pass  # an earlier order has ended the shell; whoever waits for its status finds that out

    def wait_for_run(self):
        """Until the shell has said its status, or has ended: then it is started again with the next run."""
        self.child = self.shell
        said = b""
        while not said.endswith(b"\n"):
            part = os.read(self.status, 64)
            if not part:
                return self.end_shell()
            said += part
        self.child = 0
        return (int(said) & 0xFF) << 8

    def end_shell(self):
        status = os.waitpid(self.shell, 0)[1]
        os.close(self.script)
        os.close(self.status)
        self.shell = self.child = 0
        return status

    def read_dump(self):
        try:
            with open(DUMP, "rb") as file:
                parts = file.read().decode("utf-8", "surrogateescape").split("\0")
            os.unlink(DUMP)
        except OSError:
            return
        if parts[-1] != "end":
            return  # it was killed: the state before this run stays
        held = dict(zip(parts[:-1:2], parts[1::2]))
        held["functions"] = DUMP_FUNCTION.sub("", held["functions"])
        held["traps"] = "\n".join(line for line in held["traps"].splitlines() if "__era_dump" not in line)
        held.update(self.variables_in(held.pop("variables")))
        self.held = held

    def variables_in(self, text):
        """One declaration a line: bash writes line ends inside of values as escapes. The run's own are not the session's."""
        found = {}
        for line in text.splitlines():
            match = VARIABLE.match(line)
            name = match and match[1]
            if name and name not in OWN and name not in self.overlaid and not name.startswith("__era_") and line != self.initial(name):
                found[f"variable {name}"] = line
        found.update({f"variable {name}": line for name, line in self.overlaid.items() if line is not None})
        return found

    def initial(self, name):
        """A variable as each new shell has it from its environment."""
        return f'declare -x {name}="{self.environment[name]}"' if name in self.environment else None


def quote(text):
    return "'" + text.replace("'", "'\\''") + "'"


def serve(line):
    BashKernel(line).serve()
