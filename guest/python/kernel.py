"""The Python kernel: executes one program after another in the session's namespace, as the agent asks for them."""

import _ast
import _signal
import builtins
import os
import sys
from _io import FileIO, TextIOWrapper

# By name, not through os: a program that replaces os.write for its session does not change how the kernel works.
from posix import O_RDONLY, WNOHANG, _exit, chdir, close, dup2, getcwd, getpid, setsid, waitpid, write
from posix import open as open_descriptor

from after_import import after_import
from display import Results
from environment import Environment, track
from kernel_process import Requests
from matplotlib_support import figure_to_png, install
from state_files import VERSIONS
from wire import encode_frame
from workspace_modules import WorkspaceModules

PARSE_ONLY, TOP_LEVEL_AWAIT = 0x400, 0x2000
COROUTINE = 0x80
# In characters; escaped in JSON they may take six times as many bytes, within the limits of a frame.
MAX_NAME, MAX_MESSAGE, MAX_TRACEBACK = 256, 2048, 16384
MAX_SOURCES = 2_000
MAX_TOLD = 100  # items of a list
OOM_PREFERENCE = b"900"
REPORT_AFTER_MS = 20  # a save is told with the next answer, or alone when none comes
LOAD_AFTER_MS = 200  # a kernel that nobody has used by then is a warm one: it gets ready to be woken into
USER_SITE = "/root/.local/lib/python3.13/site-packages"
SITES = [USER_SITE, "/usr/local/lib/python3.13/dist-packages", "/usr/lib/python3/dist-packages", "/opt/era/site"]


BUILTINS = dict(vars(builtins))
Code = type((lambda: 0).__code__)


class Descriptor(FileIO):
    """A file on a descriptor of the process; writes go out at once and whole."""

    def __init__(self, number):
        super().__init__(number, "w", closefd=False)

    def write(self, data):
        view = memoryview(data).cast("B")
        sent = 0
        while sent < len(view):
            sent += write(self.fileno(), view[sent:])
        return sent


class MendedBuiltins:
    """A program may have replaced some, which the modules that saving imports rely on: not while it saves."""

    def __enter__(self):
        self._theirs = dict(vars(builtins))
        vars(builtins).update(BUILTINS)

    def __exit__(self, *_error):
        vars(builtins).clear()
        vars(builtins).update(self._theirs)


class Kernel:
    """Also what a Saver sees: the variables, and what of them still waits to be restored."""

    def __init__(self, line, load_persistence):
        self.line = line
        self.requests = Requests(line)
        self.load_persistence = load_persistence
        self.saver = self.restored = None
        self.has_user_site = False
        self.pid = getpid()
        self.interruptible = False
        self.loop = None
        self.linecache = None  # the module, once something has imported it
        self.sources = {}
        self.submodules = {}  # each "a.b" that a program has imported, in order
        self.environment = Environment()
        self.modules = WorkspaceModules()
        self.results = Results(figure_to_png)
        self.namespace = self._new_main()
        self._prepare_process()
        self.first_path = frozenset(sys.path)
        after_import("linecache", self._on_linecache)

    def _new_main(self):
        main = type(sys)("__main__")
        main.__builtins__ = builtins
        sys.modules["__main__"] = main
        return vars(main)

    def _prepare_process(self):
        setsid()
        with open("/proc/self/oom_score_adj", "wb", buffering=0) as file:
            file.write(OOM_PREFERENCE)
        os.register_at_fork(after_in_child=self.line.close)
        chdir("/workspace")
        track()
        install()
        import _sitebuiltins

        builtins.exit = _sitebuiltins.Quitter("exit", "Ctrl-D (i.e. EOF)")
        builtins.quit = _sitebuiltins.Quitter("quit", "Ctrl-D (i.e. EOF)")
        builtins.help = _sitebuiltins._Helper()
        builtins.display = self._display
        sys.dont_write_bytecode = True
        sys.argv = [""]
        sys.path[:] = ["/workspace", *(entry for entry in sys.path if not entry.startswith("/opt/era")), *SITES]
        self._add_user_site()

    def _add_user_site(self):
        """Once there is one: the session's own packages may be installed at any time."""
        if self.has_user_site or not os.path.isdir(USER_SITE):
            return
        import site

        self.has_user_site = True
        sys.path_importer_cache.pop(USER_SITE, None)
        site.addsitedir(USER_SITE)  # for its .pth files

    def _display(self, *values):
        """Adds each value to the run's results, in the richest form that it offers."""
        for value in values:
            self.results.add(value)

    def serve(self):
        self.tell({"type": "ready", "restored": self._restore()})
        self._load_at_leisure()
        while (request := self._next_request()) is not None:
            header, code, descriptors = request
            if header["type"] == "save":
                self._save_all(header)
                continue
            if header["type"] == "restore":
                self._restore_late()
                continue
            if header["type"] == "reseed":
                self.load_persistence()["surroundings"].reseed()
                continue
            text = code.decode("utf-8", "surrogateescape")
            reply = self.run(header, text, descriptors)
            if getpid() != self.pid:
                _exit(reply["exit_code"])  # a child that the program forked came to the program's end
            self.modules.note()
            self._answer(header, reply)

    def tell(self, header, payload=b""):
        self.line.sendall(encode_frame(header, payload))

    def _answer(self, header, reply):
        results = self.results.take()
        result = {key: reply[key] for key in ("outcome", "exit_code", "error")}
        saved = self.saver.take_report() if self.saver is not None else None
        if header["save"] == "sync":
            self._save(header, result, durable=True)
            saved = self.saver.take_report() if self.saver is not None else None
        self.tell({"type": "done", "run": header["run"], **reply, "saved": saved}, results)
        if header["save"] == "async":
            self._save(header, result, durable=False)

    # What outlives this process.

    def _load_at_leisure(self):
        """What saving and restoring need, when no request comes for a while: a one-shot run never waits for it."""
        if self.requests.wait([], LOAD_AFTER_MS) is not None:
            self.load_persistence()

    def _restore_late(self):
        """A session has moved in before anything has run here."""
        self._add_user_site()
        self.first_path = frozenset(sys.path)
        self.tell({"type": "ready", "restored": self._restore()})

    def _persistence(self, header=None):
        if self.saver is None:
            self.saver = self.load_persistence()["saving"].Saver(self, header)
        return self.saver

    def _restore(self):
        """The newest saved version, so that its variables are there when they are used: what of it, if any."""
        try:
            if not os.listdir(VERSIONS):
                return None
        except OSError:
            return None  # nothing was ever saved here
        restoring = self.load_persistence()["restoring"]
        restoring.wait_for_saver()
        header, damage = restoring.newest_header()
        if header is None:
            return {"version": 0, "run": "", "result": None, "not_kept": [], "damage": damage[:MAX_TOLD]}
        self.restored = restoring.Restored(self.namespace, header, self.first_path)
        self.sources.update(self.restored.sources)
        if self.linecache is not None:
            self._publish_sources(self.restored.sources)
        self.submodules.update(dict.fromkeys(self.restored.submodules))
        self._persistence(header)
        told = {key: header[key] for key in ("version", "run", "result", "not_kept")}
        return {**told, "not_kept": told["not_kept"][:MAX_TOLD], "damage": damage[:MAX_TOLD]}

    def _save(self, header, result, durable):
        try:
            with MendedBuiltins():
                saver = self._persistence()
                saver.note(self.codes)
                saver.save(header["version"], header["run"], result, durable, header["keep"])
        except Exception as error:
            if self.saver is not None:
                self.saver.report = _failed_save(header["version"], error)

    def _save_all(self, header):
        try:
            with MendedBuiltins():
                self._persistence().save_all(header["version"], header["keep"])
            report = self.saver.take_report()
        except Exception as error:
            report = _failed_save(header["version"], error)
        self.tell({**report, "complete": True})

    def waits(self, name):
        return self.restored is not None and self.restored.waits(name)

    def follow(self, header):
        if self.restored is not None:
            self.restored.follow(header)

    def waiting_modules(self):
        return self.restored.modules if self.restored is not None else {}

    def waiting_submodules(self):
        return self.restored.submodules if self.restored is not None else ()

    def lost(self):
        return self.restored.lost if self.restored is not None else {}

    def has_tasks(self):
        if self.loop is None or self.loop.is_closed():
            return False
        import asyncio

        return bool(asyncio.all_tasks(self.loop))

    def _next_request(self):
        """Waits for the agent; meanwhile ends a save by a child, and tells how the last save went."""
        saver = self.saver
        while saver is not None and (saver.child is not None or saver.report is not None):
            readers = [] if saver.child is None else [saver.child.reader]
            if self.requests.wait(readers, saver.wait_ms(REPORT_AFTER_MS)) is None:
                break
            if saver.child is not None:
                saver.finish_child()
            if saver.report is not None:
                self.tell(saver.take_report())
        return self.requests.next()

    def run(self, header, code, descriptors):
        self.codes = []
        _reap(header["reap"])
        self._attach(descriptors)
        self.environment.reset(header["env"])
        self._enter_workspace()
        self._add_user_site()
        self._remember_source(header["name"], code)
        _signal.signal(_signal.SIGINT, self._on_interrupt)
        try:
            reply = self._outcome_of(code, header["name"])
            if header["whole"]:
                self._end_as_process()
            return reply
        finally:
            self.interruptible = False
            self._flush()

    def _outcome_of(self, code, name):
        try:
            try:
                self.interruptible = True
                if self.restored is not None:
                    self.restored.prepare(code)
                    self.saver.look()
                self.modules.refresh(self.namespace)
                self._execute(code, name)
            finally:
                self.interruptible = False
            return {"outcome": "ok", "exit_code": 0, "error": None}
        except SystemExit as request:
            return {"outcome": "exited", "exit_code": _exit_code(request.code), "error": None}
        except BaseException as error:
            self.interruptible = False
            return {"outcome": "raised", "exit_code": 1, "error": self._report(error)}

    def _end_as_process(self):
        """Of a program that runs alone: waits for its threads, then calls what it has registered for its end."""
        try:
            self.interruptible = True
            if (threading := sys.modules.get("threading")) is not None:
                threading._shutdown()
            if (atexit := sys.modules.get("atexit")) is not None:
                atexit._run_exitfuncs()
        except BaseException:
            pass  # it was interrupted; what a function fails with, atexit itself tells

    def _remember_source(self, name, code):
        """Kept for tracebacks and inspect.getsource, oldest forgotten first."""
        self.sources[name] = code
        if len(self.sources) > MAX_SOURCES:
            del self.sources[next(iter(self.sources))]
        if self.linecache is not None:
            self._publish_sources({name: code})

    def _publish_sources(self, sources):
        for name, code in sources.items():
            self.linecache.cache[name] = _source_lines(name, code)

    def _on_linecache(self, linecache):
        if type(linecache.cache) is dict:  # else it is one of the program's own
            self.linecache = linecache
            self._publish_sources(self.sources)

    def _attach(self, descriptors):
        for target, source in zip((1, 2), descriptors, strict=True):
            dup2(source, target, inheritable=True)
            close(source)
        sys.stdout = sys.__stdout__ = self._text(1)
        sys.stderr = sys.__stderr__ = self._text(2)
        if sys.stdin is None or sys.stdin is not sys.__stdin__ or sys.stdin.closed:
            sys.stdin = sys.__stdin__ = open(open_descriptor("/dev/null", O_RDONLY))

    @staticmethod
    def _text(number):
        # Unbuffered: what a program prints is on its way before its next statement, also without a newline.
        return TextIOWrapper(Descriptor(number), "utf-8", "backslashreplace", write_through=True)

    @staticmethod
    def _enter_workspace():
        try:
            getcwd()
        except OSError:
            chdir("/workspace")  # the program removed the folder it was in

    def _on_interrupt(self, _number, _frame):
        if self.interruptible:
            raise KeyboardInterrupt

    def _execute(self, code, name):
        flags = PARSE_ONLY | TOP_LEVEL_AWAIT
        tree = compile(code, name, "exec", flags, True)
        body = tree.body
        last = body.pop() if body and type(body[-1]) is _ast.Expr else None
        self.codes = [compile(tree, name, "exec", TOP_LEVEL_AWAIT, True)]
        if last is not None:
            self.codes.append(compile(_ast.Expression(last.value), name, "eval", TOP_LEVEL_AWAIT, True))
        if "import" in code:
            for program in self.codes:
                self._note_submodules(program)
        if self.saver is not None:
            self.saver.before_run(self.codes)
        for program in self.codes:
            value = self._evaluate(program)
        if last is not None and value is not None:
            self.results.add(value, main=True)

    def _note_submodules(self, code):
        """Of names in code only those of modules have dots in them."""
        self.submodules.update((name, None) for name in code.co_names if "." in name)
        for constant in code.co_consts:
            if type(constant) is Code:
                self._note_submodules(constant)

    def _evaluate(self, code):
        if code.co_flags & COROUTINE:
            return self._event_loop().run_until_complete(eval(code, self.namespace))
        return eval(code, self.namespace)

    def _event_loop(self):
        """One loop for the session, so that what one run opened on it can be awaited in the next."""
        import asyncio

        if self.loop is None or self.loop.is_closed():
            self.loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self.loop)
        return self.loop

    def _report(self, error):
        """Prints the traceback without the kernel's frames, as the interpreter would, and answers it as data."""
        import traceback

        trace = error.__traceback__
        while trace is not None and not trace.tb_frame.f_code.co_filename.startswith("<run "):
            trace = trace.tb_next
        try:
            summary = traceback.TracebackException(type(error), error, trace)
            _hide_kernel_frames(summary)
            text = "".join(summary.format())
        except Exception as failure:
            text = f"{type(error).__name__} (its traceback cannot be shown: {type(failure).__name__})\n"
        self._flush()
        _print_error(text)
        return {"name": type(error).__name__[:MAX_NAME], "message": _message_of(error), "traceback": text[-MAX_TRACEBACK:]}

    @staticmethod
    def _flush():
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except Exception:
                pass  # the program put something else there; what it kept back is its own loss


def _failed_save(version, error):
    reason = f"{type(error).__name__}: {error}"[:MAX_NAME]
    counts = {"written": 0, "bytes": 0, "not_kept": [], "threads": 0}
    return {"type": "saved", "version": version, "failed": reason, "staged": False, "complete": False, **counts}


def _reap(pids):
    """Waits for children that the agent killed with an earlier run; the program never will."""
    for pid in pids:
        try:
            waitpid(pid, WNOHANG)
        except ChildProcessError:
            pass  # the program did


def _hide_kernel_frames(summary):
    """Leaves the program's own frames, also in the exceptions that led to this one."""
    seen = set()
    pending = [summary]
    while pending:
        part = pending.pop()
        if part is None or id(part) in seen:
            continue
        seen.add(id(part))
        part.stack[:] = [frame for frame in part.stack if not frame.filename.startswith("/opt/era/")]
        pending += [part.__cause__, part.__context__, *(part.exceptions or ())]


def _source_lines(name, code):
    return len(code), None, [line + "\n" for line in code.splitlines()], name


def _print_error(text):
    """Straight to the descriptor: the program may have replaced sys.stderr."""
    try:
        Descriptor(2).write(text.encode("utf-8", "backslashreplace"))
    except OSError:
        pass  # the program closed it; the text is in the answer too


def _message_of(error):
    try:
        return str(error)[:MAX_MESSAGE]
    except Exception:
        return ""


def _exit_code(code):
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    _print_error(f"{code}\n")
    return 1


def serve(line, load_persistence):
    Kernel(line, load_persistence).serve()
