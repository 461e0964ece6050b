"""The bash kernel: one live shell, fed line by line through a pipe; each run is a file that it sources.

Before a run the shell's output is put on the run's pipes; after it the shell writes down what it holds. That is read
here, saved, and sourced by the next shell: when this one exits, is killed, or the session wakes. What passes between
the two lies in memory of this process, where a program that empties or fills /tmp does not come to it.
"""

import _signal
import os
import select

import bash_text
import processes
import workspace
from bash_text import EXIT, ORDER, OWN, REST, RUN, RUN_ALONE, export, quote
from plain_kernel import SIGINT, SIGTERM, NotKept, PlainKernel

BASH = "/bin/bash"
FOLDER = "/tmp/era-bash"  # programs only: the shell names them in what it says of their errors
# Read by bash itself, byte by byte since it is a pipe: each line is executed as soon as it is there.
SCRIPT_FD, STATUS_FD = 198, 199
MAX_SAID_BYTES = 1 << 16
FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
MAX_LOST = 100
DUMP_MS = 5_000


class BashKernel(PlainKernel):
    def __init__(self, line):
        super().__init__(line)
        self.shell = 0
        self.said = b""  # by the shell, not yet taken
        self.owes_dump = self.names_sigterm = self.is_prefixed = False
        self.held: dict[str, str] = {}  # what the shell holds, as it wrote it down last
        self.overlaid = {}  # variables of the run only -> what the session had under the name
        names = ("dump", "traps", "begin", "start", "run")
        self.dump, self.traps, self.begin, self.start, self.spare = map(os.memfd_create, names)
        self.exit = EXIT % (path_of(self.traps), path_of(self.traps))

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
        if not self.shell and not header["whole"]:
            self.start_early()  # what was to be written down was not

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
        os.ftruncate(self.traps, 0)
        prefix = bash_text.prefix(self.held)
        self.is_prefixed = prefix != ""
        program = self.write_program(header["name"], encode(prefix) + code)
        mine = f"/proc/{os.getpid()}/fd"
        source = f"{mine}/{pipes[2]}" if len(pipes) > 2 else "/dev/null"
        begin = (
            f"\\exec <{source} >{mine}/{pipes[0]} 2>{mine}/{pipes[1]}",
            *self.environment_lines(header["env"]),
            # What is run as a program finds itself under its own name: "${BASH_SOURCE[0]}" == "$0".
            f"\\builtin trap -- {quote(bash_text.exit_handler(self.held) + self.exit)} EXIT; "
            f"__era_begun= BASH_ARGV0={program}\n",
        )
        put(self.begin, "\n".join(begin))
        self.order((RUN_ALONE if header["whole"] else RUN) % (path_of(self.begin), program))
        if header["whole"]:
            os.close(self.script)
            self.script = -1
        status = self.wait_for_run()
        if program.startswith(FOLDER):
            workspace.clear(program)
        # Named to the agent before the run's end is: what that then kills with the run, as young as it, is not this
        # shell.
        if not self.shell and not header["whole"]:
            self.start_early()
        return status

    def write_program(self, name, code):
        path = f"{FOLDER}/{name.strip('<>').replace(' ', '-')}"
        try:
            write(path, code)
        except OSError:  # no room in /tmp
            put(self.spare, code)
            return path_of(self.spare)
        return path

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
                lines.append(export(name, value))
        return lines

    def before(self, name):
        """What a variable of a run only goes back to, when the session has not set it."""
        return export(name, self.environment[name]) if name in self.environment else f"\\builtin unset {name}"

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
        setup = bash_text.SETUP.replace("DUMP", path_of(self.dump)).replace("STATUS", str(STATUS_FD))
        put(self.start, setup + self.restoring())
        self.order(f"\\builtin . {path_of(self.start)}")

    def restoring(self):
        """
        What a new shell is given: the state of the last one. Text that it does not take costs no more than itself.
        """
        lines = []
        for kind in ORDER:
            for name, text in self.held.items():
                if name.partition(" ")[0] == kind and text:
                    lines.append(bash_text.restoring(kind, text))
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
            if descriptor >= 0:
                os.close(descriptor)
        self.shell = self.child = 0
        self.said = b""
        return status

    def take_dump(self):
        """
        Takes in what the last run has left. An answer does not wait for it, what is done next does. Raises NotKept.
        """
        if not self.owes_dump:
            return
        self.owes_dump = False
        was_interrupted = self.shell == 0 and self.was_signalled
        if self.shell:
            self.order(REST % path_of(self.traps))
            if self.has_said(DUMP_MS) is None:
                processes.send(self.shell, processes.SIGCONT)  # something had it stand still
            if self.has_said(DUMP_MS) is None or self.listen() is None:
                self.end_shell()
        parts = take(self.dump).split("\0")
        if was_interrupted or tuple(parts[:-1:2]) != bash_text.PARTS or parts[-1] != "end":
            raise NotKept("the shell ended before it had written down what it held")
        held: dict[str, str] = dict(zip(bash_text.PARTS, parts[1::2], strict=True))
        self.version = self.run_version
        if self.is_prefixed and bash_text.NOT_BEGUN.search(held["variables"]):
            return  # bash could not read its first line: nothing of the program has run
        held["functions"] = bash_text.OWN_FUNCTION.sub("", held["functions"])
        traps = take(self.traps)
        held["traps"] = bash_text.traps_after(traps, self.exit, self.held)
        if bash_text.ended_in(traps):  # there traps and arguments are not the session's
            held["positional"] = self.held.get("positional", "")
        held.update(self.variables_in(held.pop("variables")))
        self.held = held
        self.lost = {name: reason for name, reason in self.lost.items() if f"{name} () \n" not in held["functions"]}

    def variables_in(self, text):
        """
        One declaration a line: bash writes line ends inside of values as escapes. The run's own are not the session's.
        """
        found = {}
        for line in text.split("\n"):
            match = bash_text.VARIABLE.match(line)
            name = match and match[1]
            if (
                name
                and name not in OWN
                and name not in self.overlaid
                and not name.startswith("__era_")
                and line != self.initial(name)
            ):
                found[f"variable {name}"] = line
        found.update({f"variable {name}": line for name, line in self.overlaid.items() if line is not None})
        return found

    def initial(self, name):
        """A variable as each new shell has it from its environment."""
        return f'declare -x {name}="{self.environment[name]}"' if name in self.environment else None


def become_shell(environment, script, status):
    """
    In the child: it ends with its kernel, and has a group of its own: an interrupt is for it and for what it waits for.
    """
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


def path_of(descriptor):
    return f"/proc/{os.getpid()}/fd/{descriptor}"


def encode(text):
    return text.encode("utf-8", "surrogateescape")


def take(descriptor):
    """Empties a file in memory."""
    content = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    os.ftruncate(descriptor, 0)
    return content.decode("utf-8", "surrogateescape")


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


def serve(line):
    BashKernel(line).serve()
