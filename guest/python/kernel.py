"""The Python kernel: executes one program after another in the session's namespace, as the agent asks for them."""

import _signal
import builtins
import gc
import os
import sys

# By name, not through os: a program that replaces os.write for its session does not change how the kernel works.
from posix import WNOHANG, _exit, chdir, getcwd, getpid, setsid, waitpid

import save_report
import streams
import tracebacks
from display import Results
from environment import Environment, track
from evaluation import Evaluator, is_last, run_number
from handlers import Handlers
from kernel_process import Requests
from matplotlib_support import install
from mended_builtins import MendedBuiltins
from state_files import VERSIONS
from telling import Teller
from workspace_modules import WorkspaceModules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from outside import Outside
    from restoring import Restored
    from saving import Saver

OOM_PREFERENCE = b"900"
REPORT_AFTER_MS = 20  # a save is told with the next answer, or alone when none comes
LOAD_AFTER_MS = 200  # a kernel that nobody has used by then is a warm one: it gets ready to be woken into
USER_SITE = "/root/.local/lib/python3.13/site-packages"
SITES = [USER_SITE, "/usr/local/lib/python3.13/dist-packages", "/usr/lib/python3/dist-packages", "/opt/era/site"]


NO_INPUT = "EOF when reading a line"
LAST_HINT = "The last values of earlier runs are there while the session is awake: give one a name to keep it."
INPUT_HINT = "The run has no more input: give it all before, in the field 'stdin', or begin it with 'interactive'."


class Kernel:
    """Also what a Saver sees: the variables, and what of them still waits to be restored."""

    def __init__(self, line, load_persistence, load_notebook):
        self.line = line
        self.requests = Requests(line)
        self.teller = Teller(line, self.requests)
        self.tell = self.teller.tell
        self.load_persistence = load_persistence
        self.load_notebook = load_notebook
        self.shell = None  # what get_ipython() answers, once it was asked for
        self.name = ""  # of the run in progress
        self.saver: Saver | None = None
        self.restored: Restored | None = None
        self.outside: Outside | None = None
        self.mended = MendedBuiltins()
        self.has_user_site = False
        self.pid = getpid()
        self.interruptible = False
        self.sources = tracebacks.Sources()
        self.environment = Environment()
        self.handlers = Handlers()
        self.modules = WorkspaceModules()
        self.results = Results(self._show)
        self.run_id = ""  # of the run in progress
        self.namespace = self._new_main()
        self.evaluator = Evaluator(self.namespace, self.results, load_notebook)
        self._prepare_process()
        self.first_path = frozenset(sys.path)

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
        builtins.__dict__["display"] = self.results.display
        builtins.__dict__["get_ipython"] = self._get_shell
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

    def _get_shell(self):
        """The shell of this session, as notebooks know it."""
        if self.shell is None:
            self.shell = self.load_notebook()["shell"].Shell(self)
        return self.shell

    def refresh_packages(self):
        """Some were installed just now."""
        self._add_user_site()
        sys.path_importer_cache.clear()

    def _show(self, result):
        """
        Tells of what a program displays as soon as it does: what it has printed before comes before it, and what it
        prints from now on after it.
        """
        streams.flush()
        self.teller.show(self.run_id, result)

    def serve(self, preload):
        self._preload(preload)
        prepared = {"modules": sorted({name.partition(".")[0] for name in list(sys.modules)})} if preload else {}
        self.tell({"type": "ready", "restored": self._restore(), **prepared})
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

    def _answer(self, header, reply):
        results, left_out = self.results.end()
        result = {key: reply[key] for key in ("outcome", "exit_code", "error")}
        saved = self.saver.take_report() if self.saver is not None else None
        if header["save"] == "sync":
            self._save(header, result, durable=True)
            saved = self.saver.take_report() if self.saver is not None else None
        done = {"type": "done", "run": header["run"], **reply, "saved": saved, "left_out": left_out}
        self.tell(done, results)
        if header["save"] == "async":
            self._save(header, result, durable=False)
        elif header["save"] == "none" and not header["whole"]:
            self._note()

    @staticmethod
    def _preload(names):
        for name in names:
            try:
                with streams.Muted():
                    __import__(name)
            except BaseException:
                continue  # whoever imports it is told why

    # What outlives this process.

    def _load_at_leisure(self):
        """What saving and restoring need, when no request comes for a while: a one-shot run never waits for it."""
        if self.requests.wait([], LOAD_AFTER_MS) is not None:
            self.load_persistence()
            if self.restored is None:
                gc.freeze()  # nothing of a session is there yet

    def _restore_late(self):
        """A session has moved in before anything has run here."""
        self._add_user_site()
        self.first_path = frozenset(sys.path)
        self.tell({"type": "ready", "restored": self._restore()})

    def _persistence(self, header=None):
        if self.saver is not None:
            return self.saver
        self._load_outside()
        saver: Saver = self.load_persistence()["saving"].Saver(self, header)
        self.saver = saver
        return saver

    def _load_outside(self):
        if self.outside is None:
            self.outside = self.load_persistence()["outside"].Outside(self)
        return self.outside

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
            return save_report.of_restore(None, damage)
        restored: Restored = restoring.Restored(self.namespace, header, self.first_path, self._load_outside())
        self.restored = restored
        self.sources.add(restored.sources)
        self.evaluator.submodules.update(dict.fromkeys(restored.submodules))
        self._persistence(header)
        return save_report.of_restore(header, damage)

    def _save(self, header, result, durable):
        try:
            with self.mended, streams.Muted():
                saver = self._persistence()
                saver.note(self.evaluator.codes)
                saver.save(header, result, durable)
        except Exception as error:
            if self.saver is not None:
                self.saver.report = _failed_save(header["version"], error)

    def _note(self):
        """What a program whose state is not saved now can have touched: sleep saves it."""
        try:
            with self.mended, streams.Muted():
                self._persistence().note(self.evaluator.codes)
        except Exception:
            pass  # before sleep everything is looked at again

    def _save_all(self, header):
        try:
            with self.mended, streams.Muted():
                saver = self._persistence()
                saver.save_all(header["version"], header["keep"])
            report = saver.take_report() or {}
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
        _reap(header["reap"])
        self.run_id = header["run"]
        self.name = header["name"]
        self.results.begin()  # first: what a thread of an earlier run displays from now on is no text
        streams.attach(descriptors)
        self.environment.reset(header["env"])
        self._enter_workspace()
        self._add_user_site()
        self.sources.add({header["name"]: code})
        _signal.signal(_signal.SIGINT, self._on_interrupt)
        try:
            reply = self._outcome_of(code, header["name"])
            if header["whole"]:
                self._end_as_process()
            return reply
        finally:
            self.interruptible = False
            streams.flush()
            self.run_id = ""
            if header["stdin"]:
                streams.empty_input()

    def _outcome_of(self, code, name):
        try:
            try:
                self.interruptible = True
                if self.restored is not None:
                    self.restored.prepare(code)
                    self._persistence().look()
                self.modules.refresh(self.namespace)
                self.evaluator.compile(code, name)
                if self.saver is not None:
                    self.saver.before_run(self.evaluator.codes)
                self.handlers.resume()
                self.evaluator.run(run_number(name))
            finally:
                self.handlers.rest()
                self.interruptible = False
            return {"outcome": "ok", "exit_code": 0, "error": None}
        except SystemExit as request:
            return {"outcome": "exited", "exit_code": _exit_code(request.code), "error": None}
        except BaseException as error:
            self.handlers.rest()  # a handler may have come in between
            self.interruptible = False
            return {"outcome": "raised", "exit_code": 1, "error": self._report(error)}

    def _report(self, error):
        if type(error) is EOFError and str(error) == NO_INPUT:
            error.add_note(INPUT_HINT)
        if isinstance(error, NameError) and type(error.name) is str and is_last(error.name):
            error.add_note(LAST_HINT)
        if self.restored is None or not isinstance(error, NameError):
            return tracebacks.report(error)
        waiting = self.restored.names()
        self.namespace.update(dict.fromkeys(waiting))  # the interpreter looks there for the name that was meant
        self.restored.put_in_order()
        try:
            return tracebacks.report(error)
        finally:
            for name in waiting:
                self.namespace.pop(name, None)

    def _end_as_process(self):
        """For a program that runs alone: waits for its threads, then calls what it has registered for its end."""
        try:
            self.interruptible = True
            self.handlers.resume()
            if (threading := sys.modules.get("threading")) is not None:
                threading._shutdown()
            if (atexit := sys.modules.get("atexit")) is not None:
                atexit._run_exitfuncs()
        except BaseException:
            pass  # it was interrupted; what a function fails with, atexit itself tells

    @staticmethod
    def _enter_workspace():
        try:
            getcwd()
        except OSError:
            chdir("/workspace")  # the program removed the folder it was in

    def _on_interrupt(self, _number, _frame):
        if self.interruptible:
            raise KeyboardInterrupt


def _failed_save(version, error):
    return save_report.of_failure(version, f"{type(error).__name__}: {error}")


def _reap(pids):
    """Waits for children that the agent killed with an earlier run; the program never will."""
    for pid in pids:
        try:
            waitpid(pid, WNOHANG)
        except ChildProcessError:
            pass  # the program did


def _exit_code(code):
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    streams.print_error(f"{code}\n")
    return 1


def serve(line, loaders, preload):
    """`preload`: modules that are to be there before the first run; what cannot be imported is not."""
    Kernel(line, *loaders).serve(preload)
