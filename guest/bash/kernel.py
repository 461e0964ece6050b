"""The bash kernel: one live shell, fed line by line through a pipe; each run is a file that it sources.

Before a run the shell's output is put on the run's pipes; after it the shell writes down what it holds. That is read here,
saved, and sourced by the next shell: when this one exits, is killed, or the session wakes.
"""

import os
import re
import select

import processes
import workspace
from plain_kernel import PlainKernel

BASH = "/bin/bash"
FOLDER = "/tmp/era-bash"
DUMP = FOLDER + "/dump"
BEGIN = FOLDER + "/begin"  # what comes before a run, in a file, since that is read in one go
# Read by bash itself, byte by byte since it is a pipe: each line is executed as soon as it is there.
SCRIPT_FD, STATUS_FD = 198, 199
MAX_SAID_BYTES = 64
FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
DUMP_MS = 5_000
# Set anew by each shell.
OWN = frozenset(
    "BASH BASHOPTS BASHPID BASH_ALIASES BASH_ARGC BASH_ARGV BASH_ARGV0 BASH_CMDS BASH_COMMAND BASH_EXECUTION_STRING "
    "BASH_LINENO BASH_LOADABLES_PATH BASH_SOURCE BASH_SUBSHELL BASH_VERSINFO BASH_VERSION COMP_WORDBREAKS DIRSTACK "
    "EPOCHREALTIME EPOCHSECONDS EUID FUNCNAME GROUPS HISTCMD HOSTNAME HOSTTYPE LINENO MACHTYPE OLDPWD OPTERR OPTIND "
    "OSTYPE PIPESTATUS PPID PS4 PWD RANDOM SECONDS SHELLOPTS SHLVL SRANDOM UID _".split()
)
# Without any subshell, since each costs a fork; ends with a mark, since a shell may be killed in it. The shell writes each
# line by itself: of its options it says no more than the two variables that list those which are on.
SETUP = r"""
__era_dump() {
  {
    \builtin printf 'cwd\0cd -- %q\0umask\0umask ' "$PWD"; \builtin umask
    \builtin printf '\0options\0__era_options %q %q\0aliases\0' "$SHELLOPTS" "$BASHOPTS"; \builtin alias -p
    \builtin printf '\0traps\0'; \builtin trap -p
    \builtin printf '\0functions\0'; \builtin declare -f
    \builtin printf '\0variables\0'; \builtin declare -p
    \builtin printf '\0end'
  } 2>/dev/null >DUMP
}
__era_end() {
  \builtin echo $? >&STATUS
  \exec >/dev/null 2>&1
  __era_dump
  \builtin echo >&STATUS
}
__era_options() {
  \builtin local IFS=: name
  for name in $BASHOPTS; do \builtin shopt -u $name; done
  for name in $2; do \builtin shopt -s $name; done
  for name in $SHELLOPTS; do \builtin set +o $name; done
  for name in $1; do \builtin set -o $name; done
}
""".replace("DUMP", DUMP).replace("STATUS", str(STATUS_FD))
OWN_FUNCTION = re.compile(r"^__era_\w+ \(\) \n\{.*?^\}\n", re.M | re.S)
VARIABLE = re.compile(r"declare -\S+ (\w+)")
# In an order in which nothing that comes later stands in the way of what came before.
ORDER = ("functions", "variable", "aliases", "traps", "umask", "cwd", "options")


class BashKernel(PlainKernel):
    def __init__(self, line):
        super().__init__(line)
        workspace.clear(DUMP)  # of the kernel before this one, which the session may not go on from
        self.shell = 0
        self.said = b""  # by the shell, not yet taken
        self.is_dumping = False
        self.held = {}  # what the shell holds, as it wrote it down last
        self.overlaid = {}  # variables of the run only -> what the session had under the name

    def restore(self, texts):
        self.held = dict(texts)

    def reseed(self):
        if self.shell:
            self.order(f"RANDOM={int.from_bytes(os.urandom(2))}")

    def values(self):
        self.take_dump()
        return {name: (name.partition(" ")[0], text) for name, text in self.held.items()}

    def run(self, header, code, pipes):
        self.take_dump()
        program = f"{FOLDER}/{header['name'].strip('<>').replace(' ', '-')}"
        write(program, code)
        if not self.shell:
            self.start_shell()
        mine = f"/proc/{os.getpid()}/fd"
        begin = (
            f"\\exec </dev/null >{mine}/{pipes[0]} 2>{mine}/{pipes[1]}",
            *self.environment_lines(header["env"]),
            "\\builtin trap __era_dump EXIT",
        )
        write(BEGIN, encode("\n".join(begin)))
        self.order(f"\\builtin . {BEGIN}\n\\builtin . {program}\n__era_end")
        status = self.wait_for_run()
        workspace.clear(program)
        return status

    def environment_lines(self, env):
        """Variables of this run only: those of the last one are gone, or what the session itself has set."""
        lines = [f"\\builtin unset {name}" if text is None else text for name, text in self.overlaid.items()]
        self.overlaid = {}
        for name, value in env.items():
            if name.isidentifier():
                self.overlaid[name] = self.held.get(f"variable {name}")
                lines.append(f"\\builtin export {name}={quote(value)}")
        return lines

    def start_shell(self):
        script_reader, self.script = os.pipe()
        self.status, status_writer = os.pipe()
        actions = [(os.POSIX_SPAWN_DUP2, script_reader, SCRIPT_FD), (os.POSIX_SPAWN_DUP2, status_writer, STATUS_FD)]
        argv = [BASH, "--norc", "--noprofile", f"/dev/fd/{SCRIPT_FD}"]
        # A group of its own: an interrupt is for the shell and for what it waits for.
        self.shell = self.child = os.posix_spawn(BASH, argv, self.environment, file_actions=actions, setpgroup=0, setsigdef=[2, 15])
        for descriptor in (script_reader, status_writer):
            os.close(descriptor)
        # Its end shows here: what it has started may hold the pipe open for longer.
        self.ended = os.pidfd_open(self.shell)
        self.order(SETUP)
        for kind in ORDER:
            for name, text in self.held.items():
                if name.partition(" ")[0] == kind and text:
                    self.order(text)

    def order(self, lines):
        data = encode(lines + "\n")
        try:
            while data:
                data = data[os.write(self.script, data) :]
        except BrokenPipeError:
            pass  # an earlier order has ended the shell; whoever waits for its status finds that out

    def wait_for_run(self):
        """Until the shell has said its status, or has ended: then it is started again with the next run."""
        status = self.listen()
        if status is None or not status.isdigit():
            return self.end_shell()
        self.is_dumping = True
        return (int(status) & 0xFF) << 8

    def listen(self):
        """The next line that the shell says; None when there is none to come."""
        self.child = self.shell
        while b"\n" not in self.said:
            if not self.has_said(None) or len(self.said) >= MAX_SAID_BYTES:
                return None
            self.said += os.read(self.status, MAX_SAID_BYTES)
        self.child = 0
        line, _, self.said = self.said.partition(b"\n")
        return line

    def has_said(self, timeout_ms):
        """Waits for the shell to say something; False when it has ended without, None when the time is up."""
        if b"\n" in self.said:
            return True
        waiter = select.poll()
        for descriptor in (self.status, self.ended):
            waiter.register(descriptor, select.POLLIN)
        ready = dict(waiter.poll(timeout_ms))
        return bool(ready.get(self.status, 0) & select.POLLIN) if ready else None

    def end_shell(self):
        processes.send(self.shell, processes.SIGKILL)  # it may be there, and have closed its end of the line
        status = os.waitpid(self.shell, 0)[1]
        for descriptor in (self.script, self.status, self.ended):
            os.close(descriptor)
        self.shell = self.child = 0
        self.said = b""
        return status

    def take_dump(self):
        """Takes in what the last run has left. An answer does not wait for it, what is done next does."""
        if self.is_dumping:
            self.is_dumping = False
            if self.has_said(DUMP_MS) is None:
                processes.send(self.shell, processes.SIGCONT)  # something had it stand still
            if self.has_said(DUMP_MS) is None or self.listen() is None:
                self.end_shell()
        try:
            with open(DUMP, "rb") as file:
                parts = file.read().decode("utf-8", "surrogateescape").split("\0")
        except OSError:
            return
        workspace.clear(DUMP)
        if parts[-1] != "end":
            return  # it was killed: the state before this run stays
        held = dict(zip(parts[:-1:2], parts[1::2]))
        held["functions"] = OWN_FUNCTION.sub("", held["functions"])
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


def encode(text):
    return text.encode("utf-8", "surrogateescape")


def write(path, content):
    """Whatever a program has made of the folder: it may have emptied /tmp."""
    try:
        descriptor = os.open(path, FLAGS, 0o600)
    except OSError:
        if not os.path.isdir(FOLDER):
            workspace.clear(FOLDER)
            os.mkdir(FOLDER)
        workspace.clear(path)
        descriptor = os.open(path, FLAGS, 0o600)
    try:
        while content:
            content = content[os.write(descriptor, content) :]
    finally:
        os.close(descriptor)


def quote(text):
    return "'" + text.replace("'", "'\\''") + "'"


def serve(line):
    BashKernel(line).serve()
