"""
What is said to bash, and how what it says is read: orders, quoting, and the text that it writes its state down in.
"""

import re

# Set anew by each shell.
OWN = frozenset(
    "BASH BASHOPTS BASHPID BASH_ALIASES BASH_ARGC BASH_ARGV BASH_ARGV0 BASH_CMDS BASH_COMMAND BASH_EXECUTION_STRING "
    "BASH_LINENO BASH_LOADABLES_PATH BASH_SOURCE BASH_SUBSHELL BASH_VERSINFO BASH_VERSION COMP_WORDBREAKS DIRSTACK "
    "EPOCHREALTIME EPOCHSECONDS EUID FUNCNAME GROUPS HISTCMD HOSTNAME HOSTTYPE LINENO MACHTYPE OLDPWD OPTERR OPTIND "
    "OSTYPE PIPESTATUS PPID PS4 PWD RANDOM SECONDS SHELLOPTS SHLVL SRANDOM UID _".split()
)
# Without any subshell, since each costs a fork; ends with a mark, since a shell may be killed in it. The shell writes
# each line by itself: of its options it says no more than the two variables that list those which are on. By names that
# no program may have taken, and quoted, since IFS is the program's.
SETUP = r"""
__era_dump() {
  {
    \builtin printf 'cwd\0\\builtin cd -- %q\0umask\0\\builtin umask ' "$PWD"; \builtin umask
    \builtin printf '\0options\0__era_options %q %q\0aliases\0' "$__era_on" "$BASHOPTS"; \builtin alias -p
    \builtin printf '\0positional\0'; (($#)) && \builtin printf ' %q' "$@"
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
  __era_dump "$@"
}
__era_end() {
  __era_status=$?
  __era_quiet
  \builtin echo "$__era_status" >&STATUS
}
__era_rest() {
  \exec >/dev/null 2>&1
  __era_dump "$@"
  \builtin echo >&STATUS
}
__era_each() {
  \builtin local "rest=$3:"
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
# A shell that goes on says the status first, since an answer waits for it. Nothing of it is traced.
RUN = r"\builtin . %s; \builtin . %s; { __era_end; } &>/dev/null"
# Ordered by itself: whoever waits for the status may have to wait, on the same processor, until the shell waits. No
# function and no file that is sourced is told of all traps.
REST = r'{ \builtin trap -p >|%s; \builtin trap - DEBUG ERR RETURN; } &>/dev/null; __era_rest "$@"'
# After one that ends with its program nothing follows, so that it ends as a script does.
RUN_ALONE = r"\builtin . %s; \builtin . %s"
# It says first in which functions it ends: within one it lists no trap of a watcher.
ENDED = "ended in "
SAY_ENDED = rf'\builtin echo "{ENDED}${{FUNCNAME[*]-}}" >|%s; \builtin trap -p >>%s'
EXIT = rf'{{ \unset -f builtin; {SAY_ENDED}; __era_exit "$@"; }} &>/dev/null'
OWN_FUNCTION = re.compile(r"^__era_\w+ \(\) \n\{.*?^\}\n", re.M | re.S)
FUNCTION = re.compile(r"^(?=(?:function )?(\S+) \(\) \n)", re.M)
VARIABLE = re.compile(r"declare -\S+ (\w+)")
TRAP = re.compile(r"^trap -- ('(?:[^']|'\\'')*') (\S+)\n?", re.M)
NOT_BEGUN = re.compile(r'^declare -\S+ __era_begun=""$', re.M)
PARTS = ("cwd", "umask", "options", "aliases", "positional", "functions", "variables")
# In an order in which nothing that comes later stands in the way of what came before.
ORDER = ("umask", "cwd", "variable", "traps", "aliases", "positional", "functions", "options")
# What a shell stands without between runs, so that nothing of the kernel's own shows in what a program prints: options,
# and traps of what is no signal. The last one is called before each command, so it is set last.
MODES = {"xtrace": "x", "verbose": "v", "functrace": "T"}
WATCHERS = ("ERR", "RETURN", "DEBUG")


def prefix(held):
    """What a program's first line begins with, so that its lines keep their numbers: what the shell stands without."""
    listed = held.get("options", "").partition(" ")[2].partition(" ")[0].split(":")
    letters = "".join(letter for name, letter in MODES.items() if name in listed)
    handlers = handlers_in(held)
    traps = [rf"\builtin trap -- {quote_in_line(handlers[name])} {name};" for name in WATCHERS if name in handlers]
    if not letters and not traps:
        return ""
    modes = rf"\builtin set -{letters};" if letters else ""
    return f"__era_begun=1; {modes}" + (f"{{ {' '.join(traps)} }} 2>/dev/null;" if traps else "")


def handlers_in(held):
    """The text of each trap that the session has."""
    return {name: unquote(text) for text, name in TRAP.findall(held.get("traps", ""))}


def exit_handler(held):
    """What the session wants done at the end of its shell."""
    handler = handlers_in(held).get("EXIT")
    return f"{handler}\n" if handler else ""


def ended_in(text):
    """
    The functions in which a shell ended, by what it said of its traps: "" outside of any, None of one that goes on.
    """
    first = text.partition("\n")[0]
    return first.removeprefix(ENDED) if first.startswith(ENDED) else None


def traps_after(text, own, held):
    """
    The session's traps after a run, by what `trap -p` said: without `own`, which the kernel puts at the end of that of
    EXIT.
    """
    handlers = {name: unquote(quoted) for quoted, name in TRAP.findall(text)}
    handlers["EXIT"] = handlers.get("EXIT", "").removesuffix(own).removesuffix("\n")
    if not handlers["EXIT"]:
        del handlers["EXIT"]
    functions = ended_in(text)
    if functions:
        handlers.update((name, handler) for name, handler in handlers_in(held).items() if name in WATCHERS)
    if functions is not None:
        handlers.pop("DEBUG", None)  # it may be what has ended the shell, and would end each run
    return "".join(f"trap -- {quote(handler)} {name}\n" for name, handler in handlers.items())


def restoring(kind, text):
    """What gives a new shell this part of what the last one held."""
    if kind == "functions":
        return restoring_functions(text)
    if kind == "positional":
        return rf"\builtin set --{text}"
    if kind == "traps":
        return TRAP.sub(lambda trap: "" if trap[2] in WATCHERS else trap[0], text)
    return text


def restoring_functions(text):
    """All of them at once; if the shell does not read them back, one by one, so that it is told which."""
    found = list(FUNCTION.finditer(text))
    ends = [*(match.start() for match in found[1:]), len(text)]
    pieces = [(match[1], text[match.start() : end]) for match, end in zip(found, ends, strict=True)]
    each = [f"\\builtin eval -- {quote(piece)} || __era_lost {quote(name)}" for name, piece in pieces]
    together = f"\\builtin eval -- {quote(text)} || {{\n" + "\n".join(each or [":"]) + "\n}"
    return f"\\builtin shopt -s extglob\n{together}"


def export(name, value):
    """All of it quoted: under `set -k` an argument that looks like an assignment is none."""
    return rf"\builtin export {quote(f'{name}={value}')}"


def quote(text):
    return "'" + text.replace("'", "'\\''") + "'"


def quote_in_line(text):
    """Without a line end: of a text that has some, those are escapes."""
    return quote(text).replace("\n", "'$'\\n''")


def unquote(text):
    return text[1:-1].replace("'\\''", "'")
