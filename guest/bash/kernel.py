"""The bash kernel: one live shell, fed line by line through a pipe; each run is a file that it sources.

Before a run the shell's output is put on the run's pipes; after it the shell writes down what it holds. That is read here,
saved, and sourced by the next shell: when this one exits, is killed, or the session wakes. What passes between the two lies
in memory of this process, where a program that empties or fills /tmp does not come to it.
"""

import _signal
import os
import re
import select

import processes
import workspace
from plain_kernel import SIGINT, SIGTERM, NotKept, PlainKernel

BASH = "/bin/bash"
FOLDER = "/tmp/era-bash"  # programs only: the shell names them in what it says of their errors
# Read by bash itself, byte by byte since it is a pipe: each line is executed as soon as it is there.
SCRIPT_FD, STATUS_FD = 198, 199
MAX_SAID_BYTES = 1 << 16
FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
MAX_LOST = 100
DUMP_MS = 5_000
# Set anew by each shell.
OWN = frozenset(
    "BASH BASHOPTS BASHPID BASH_ALIASES BASH_ARGC BASH_ARGV BASH_ARGV0 BASH_CMDS BASH_COMMAND BASH_EXECUTION_STRING "
    "BASH_LINENO BASH_LOADABLES_PATH BASH_SOURCE BASH_SUBSHELL BASH_VERSINFO BASH_VERSION COMP_WORDBREAKS DIRSTACK "
    "EPOCHREALTIME EPOCHSECONDS EUID FUNCNAME GROUPS HISTCMD HOSTNAME HOSTTYPE LINENO MACHTYPE OLDPWD OPTERR OPTIND "
    "OSTYPE PIPESTATUS PPID PS4 PWD RANDOM SECONDS SHELLOPTS SHLVL SRANDOM UID _".split()
)
# Without any subshell, since each costs a fork; ends with a mark, since a shell may be killed in it. The shell writes each
# line by itself: of its options it says no more than the two variables that list those which are on. By names that no
# program may have taken, and quoted, since IFS is the program's.
SETUP = r"""
__era_dump() {
  {
    \builtin printf 'cwd\0\\builtin cd -- %q\0umask\0\\builtin umask ' "$PWD"; \builtin umask
    \builtin printf '\0options\0__era_options %q %q\0aliases\0' "$__era_on" "$BASHOPTS"; \builtin alias -p
    \builtin printf '\0traps\0'; \builtin trap -p
    \builtin printf '\0functions\0'; \builtin declare -f
    \builtin printf '\0variables\0'; \builtin declare -p
    \builtin printf '\0end'
  } 2>/dev/null >|DUMP
}
__era_quiet() {
  \unset -f builtin exec
  __era_on=$SHELLOPTS
  \builtin set +xvT
}
__era_exit() {
  __era_quiet
  __era_dump
}
__era_end() {
  __era_status=$?
  __era_quiet
  \builtin echo "$__era_status" >&STATUS
}
__era_rest() {
  \exec >/dev/null 2>&1
  __era_dump
  \builtin echo >&STATUS
}
__era_each() {
  \builtin local rest=$3:
  while [[ ${rest%:} ]]; do \builtin "$1" "$2" "${rest%%:*}"; rest=${rest#*:}; done
}
__era_options() {
  __era_each shopt -u "$BASHOPTS"
  __era_each shopt -s "$2"
  __era_each set +o "$SHELLOPTS"
  __era_each set -o "$1"
  \builtin set +xvT
}
__era_lost() {
  \builtin printf 'lost %s\n' "$1" >&STATUS
}
"""
# Of a shell that goes on: the status first, since an answer waits for it. Nothing of it is traced.
RUN = r"\builtin . %s; \builtin . %s; { __era_end; } 2>/dev/null"
# Ordered by itself: whoever waits for the status may have to wait, on the same processor, until the shell waits.
REST = "__era_rest"
# Of one that ends with its program: nothing follows, so that it ends as a script does.
RUN_ALONE = r"\builtin . %s; \builtin . %s"
EXIT = "{ __era_exit; } 2>/dev/null"
OWN_FUNCTION = re.compile(r"^__era_\w+ \(\) \n\{.*?^\}\n", re.M | re.S)
FUNCTION = re.compile(r"^(?=(?:function )?(\S+) \(\) \n)", re.M)
VARIABLE = re.compile(r"declare -\S+ (\w+)")
TRAP = re.compile(r"^trap -- ('(?:[^']|'\\'')*') (\S+)\n?", re.M)
PARTS = ("cwd", "umask", "options", "aliases", "traps", "functions", "variables")
# In an order in which nothing that comes later stands in the way of what came before.
ORDER = ("umask", "cwd", "variable", "traps", "aliases", "functions", "options")
# What a shell stands without between runs, so that nothing of the kernel's own shows in what a program prints.
MODES = {"xtrace": "x", "verbose": "v", "functrace": "T"}


class BashKernel(PlainKernel):
    def __init__(self, line):
        super().__init__(line)
        self.shell = 0
        self.said = b""  # by the shell, not yet taken
        self.owes_dump = self.names_sigterm = False
        self.held = {}  # what the shell holds, as it wrote it down last
        self.overlaid = {}  # variables of the run only -> what the session had under the name
        self.dump, self.begin, self.start, self.spare = (os.memfd_create(name) for name in ("dump", "begin", "start", "run"))

    def restore(self, texts):
        self.held = dict(texts)
        self.version = self.run_version = self.state.header["version"]
        if self.shell:
            self.end_shell()
        self.start_early()

    def reseed(self):
        if self.shell:
            self.order(f"RANDOM={int.from_bytes(os.urandom(2))}")

    def values(self):
        self.take_dump()
        return {name: (name.partition(" ")[0], text) for name, text in self.held.items()}

    def answer(self, header, code, pipes):
        super().answer(header, code, pipes)
        self.catch_up()
        if not self.shell:
            self.start_early()

    def catch_up(self):
        """Between runs, so that the next one need not."""
        try:
            self.take_dump()
        except NotKept as cause:
            self.fall_back([str(cause)])

    def run(self, header, code, pipes):
        self.run_version = header["version"]
        if self.shell and self.has_said(0) is False:
            self.end_shell()  # something has ended it since
        if not self.shell:
            self.start_shell()
        self.was_signalled = False
        self.names_sigterm = b"TERM" in code or "TERM" in self.held.get("traps", "")
        self.owes_dump = True
        os.ftruncate(self.dump, 0)
        program = self.write_program(header["name"], self.mode() + code)
        mine = f"/proc/{os.getpid()}/fd"
        begin = (
            f"\\exec </dev/null >{mine}/{pipes[0]} 2>{mine}/{pipes[1]}",
            *self.environment_lines(header["env"]),
            f"\\builtin trap -- {quote(self.exit_trap() + EXIT)} EXIT\n",
        )
        put(self.begin, "\n".join(begin))
        self.order((RUN_ALONE if header["whole"] else RUN) % (path_of(self.begin), program))
        if header["whole"]:
            os.close(self.script)
            self.script = None
        status = self.wait_for_run()
        if program.startswith(FOLDER):
            workspace.clear(program)
        return status

    def write_program(self, name, code):
        path = f"{FOLDER}/{name.strip('<>').replace(' ', '-')}"
        try:
            write(path, code)
        except OSError:  # no room in /tmp
            put(self.spare, code)
            return path_of(self.spare)
        return path

    def mode(self):
        """What a program's first line begins with, so that its lines keep their numbers: the modes that the session has on."""
        listed = self.held.get("options", "").partition(" ")[2].partition(" ")[0].split(":")
        letters = "".join(letter for name, letter in MODES.items() if name in listed)
        return f"\\builtin set -{letters};".encode() if letters else b""

    def exit_trap(self):
        return "".join(f"{unquote(text)}\n" for text, name in TRAP.findall(self.held.get("traps", "")) if name == "EXIT")

    def wants_sigterm(self):
        """Bash itself has a handler for it, whatever the program has: what the program says counts."""
        return self.names_sigterm

    def environment_lines(self, env):
        """Variables of this run only: those of the last one are gone, or what the session itself has set."""
        lines = [self.before(name) if text is None else text for name, text in self.overlaid.items()]
        self.overlaid = {}
        for name, value in env.items():
            if name.isidentifier():
                self.overlaid[name] = self.held.get(f"variable {name}")
                lines.append(f"\\builtin export {name}={quote(value)}")
        return lines

    def before(self, name):
        """What a variable of a run only goes back to, when the session has not set it."""
        return f"\\builtin export {name}={quote(self.environment[name])}" if name in self.environment else f"\\builtin unset {name}"

    def start_early(self):
        """Before a run waits for it. When a program holds every process slot, that run tries again."""
        try:
            self.start_shell()
        except OSError:
            self.shell = 0

    def start_shell(self):
        script_reader, self.script = os.pipe()
        self.status, status_writer = os.pipe()
        try:
            self.shell = os.fork()
        except OSError:
            for descriptor in (script_reader, self.script, self.status, status_writer):
                os.close(descriptor)
            raise
        if self.shell == 0:
            become_shell(self.environment, script_reader, status_writer)
        for descriptor in (script_reader, status_writer):
            os.close(descriptor)
        self.tell({"type": "shell", "pid": self.shell})  # it may be as young as the run that it is for
        # Its end shows here: what it has started may hold the pipe open for longer.
        self.ended = os.pidfd_open(self.shell)
        put(self.start, SETUP.replace("DUMP", path_of(self.dump)).replace("STATUS", str(STATUS_FD)) + self.restoring())
        self.order(f"\\builtin . {path_of(self.start)}")

    def restoring(self):
        """What a new shell is given: the state of the last one. Text that it does not take costs no more than itself."""
        lines = []
        for kind in ORDER:
            for name, text in self.held.items():
                if name.partition(" ")[0] == kind and text:
                    lines.append(restoring_functions(text) if kind == "functions" else text)
        return "\n".join(lines) + "\n"

    def order(self, lines):
        data = encode(lines + "\n")
        try:
            while data:
                data = data[os.write(self.script, data) :]
        except BrokenPipeError:
            pass  # an earlier order has ended the shell; whoever waits for its status finds that out

    def wait_for_run(self):
        """Until the shell has said its status, or has ended."""
        line = self.listen()
        while line is not None and line.startswith(b"lost ") and len(self.lost) < MAX_LOST:
            self.lost[line[5:].decode("utf-8", "replace")] = "the shell does not read back its own text of it"
            line = self.listen()
        if line is not None and line.isdigit():
            return (int(line) & 0xFF) << 8
        status = self.end_shell()
        try:
            self.take_dump()
        except NotKept:
            self.fall_back([])  # how the run has ended says why
        return status

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
            if descriptor is not None:
                os.close(descriptor)
        self.shell = self.child = 0
        self.said = b""
        return status

    def take_dump(self):
        """Takes in what the last run has left. An answer does not wait for it, what is done next does. Raises NotKept."""
        if not self.owes_dump:
            return
        self.owes_dump = False
        was_interrupted = self.shell == 0 and self.was_signalled
        if self.shell:
            self.order(REST)
            if self.has_said(DUMP_MS) is None:
                processes.send(self.shell, processes.SIGCONT)  # something had it stand still
            if self.has_said(DUMP_MS) is None or self.listen() is None:
                self.end_shell()
        content = os.pread(self.dump, os.fstat(self.dump).st_size, 0)
        os.ftruncate(self.dump, 0)
        parts = content.decode("utf-8", "surrogateescape").split("\0")
        if was_interrupted or tuple(parts[:-1:2]) != PARTS or parts[-1] != "end":
            raise NotKept("the shell ended before it had written down what it held")
        held = dict(zip(PARTS, parts[1::2]))
        held["functions"] = OWN_FUNCTION.sub("", held["functions"])
        held["traps"] = "".join(self.traps_in(held["traps"]))
        held.update(self.variables_in(held.pop("variables")))
        self.held, self.version = held, self.run_version
        self.lost = {name: reason for name, reason in self.lost.items() if f"{name} () \n" not in held["functions"]}

    @staticmethod
    def traps_in(text):
        for quoted, name in TRAP.findall(text):
            handler = unquote(quoted).removesuffix(EXIT).removesuffix("\n") if name == "EXIT" else unquote(quoted)
            if handler or name != "EXIT":
                yield f"trap -- {quote(handler)} {name}\n"

    def variables_in(self, text):
        """One declaration a line: bash writes line ends inside of values as escapes. The run's own are not the session's."""
        found = {}
        for line in text.split("\n"):
            match = VARIABLE.match(line)
            name = match and match[1]
            if name and name not in OWN and name not in self.overlaid and not name.startswith("__era_") and line != self.initial(name):
                found[f"variable {name}"] = line
        found.update({f"variable {name}": line for name, line in self.overlaid.items() if line is not None})
        return found

    def initial(self, name):
        """A variable as each new shell has it from its environment."""
        return f'declare -x {name}="{self.environment[name]}"' if name in self.environment else None


def become_shell(environment, script, status):
    """In the child: it ends with its kernel, and has a group of its own: an interrupt is for it and for what it waits for."""
    try:
        processes.end_with_parent()
        os.setpgid(0, 0)
        os.dup2(script, SCRIPT_FD)
        os.dup2(status, STATUS_FD)
        for number in (SIGINT, SIGTERM, *processes.IGNORED):
            _signal.signal(number, _signal.SIG_DFL)
        os.execve(BASH, [BASH, "--norc", "--noprofile", f"/dev/fd/{SCRIPT_FD}"], environment)
    finally:
        os._exit(127)


def restoring_functions(text):
    """All of them at once; if the shell does not read them back, one by one, so that it is told which."""
    starts = [match.start() for match in FUNCTION.finditer(text)]
    pieces = [text[start:end] for start, end in zip(starts, [*starts[1:], len(text)])]
    each = [f"\\builtin eval -- {quote(piece)} || __era_lost {quote(FUNCTION.match(piece)[1])}" for piece in pieces]
    together = f"\\builtin eval -- {quote(text)} || {{\n" + "\n".join(each or [":"]) + "\n}"
    return f"\\builtin shopt -s extglob\n{together}"


def path_of(descriptor):
    return f"/proc/{os.getpid()}/fd/{descriptor}"


def encode(text):
    return text.encode("utf-8", "surrogateescape")


def put(descriptor, content):
    """Makes a file in memory hold this."""
    os.ftruncate(descriptor, 0)
    data = encode(content) if type(content) is str else content
    for at in range(0, len(data), 1 << 20):
        os.pwrite(descriptor, data[at : at + (1 << 20)], at)


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


def unquote(text):
    return text[1:-1].replace("'\\''", "'")


def serve(line):
    BashKernel(line).serve()
