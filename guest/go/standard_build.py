"""Which programs need nothing but the standard library, and how those are built: by compiler and linker alone.

To find out that nothing has changed, the go command reads each source file of all that a program imports: that takes
longer than to compile and to link. In the image each standard package is a file that stays as it is. What is asked for
here is what the go command asks for; where the two could differ, and for what to say of an error, the go command it is.
"""

import os

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
COMPILE, LINK = (f"/usr/lib/go/pkg/tool/linux_{ARCHITECTURE}/{name}" for name in ("compile", "link"))
# Made with the image: where the packages are that a program may import, and all; and the files of those that most need.
IMPORTABLE, LINKED, USUAL = (f"/usr/share/era/go/{name}" for name in ("importable", "linked", "usual"))
ENVIRONMENT = {"GOROOT": os.path.realpath("/usr/lib/go"), "PATH": "/usr/bin:/bin"}
# Without what only a debugger reads, as `go run` does.
LINK_OPTIONS = ["-s", "-w"]
# What the go command would read in the source, or tell the program of itself.
OF_THE_GO_COMMAND = (b"//go:debug", b"//go:embed", b"runtime/debug", b"debug/buildinfo")
# Where it would take its orders from.
FILES = ("/workspace/go.mod", "/workspace/go.work", "/workspace/default.pgo", "/go.mod", "/go.work")
ORDERS = (*FILES, os.path.expanduser("~/.config/go/env"))
# What the other variables whose names begin like its own are for does not depend on how a program is built.
NO_ORDERS = {
    "GOCACHE",
    "GODEBUG",
    "GOGC",
    "GOMAXPROCS",
    "GOMEMLIMIT",
    "GOMODCACHE",
    "GOPATH",
    "GOPROXY",
    "GOSUMDB",
    "GOTRACEBACK",
}


def is_plain(code, env):
    """Whether the go command would find nothing to heed but the source itself."""
    return not (
        any(word in code for word in OF_THE_GO_COMMAND)
        or any(os.path.lexists(path) for path in ORDERS)
        or any(name.startswith(("GO", "CGO_")) and name not in NO_ORDERS for name in env)
    )


def steps(source, shown_as, program):
    """The commands that build it, one after the other. `shown_as` is the folder that traces name."""
    compiled, trim = f"{program}.a", f"{os.path.dirname(source)}=>{shown_as}"
    return (
        [
            COMPILE,
            "-o",
            compiled,
            "-trimpath",
            trim,
            "-p",
            "main",
            "-complete",
            "-c=2",
            "-importcfg",
            IMPORTABLE,
            "-pack",
            source,
        ],
        [LINK, "-o", program, "-importcfg", LINKED, "-buildmode=exe", *LINK_OPTIONS, compiled],
    )


def read_ahead():
    """Asks the host for what most builds read, without waiting for it."""
    try:
        with open(USUAL) as usual:
            paths = usual.read().split()
        for path in (COMPILE, LINK, *paths):
            with open(path, "rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)
    except OSError:
        pass  # the image has it elsewhere: the go command finds it
