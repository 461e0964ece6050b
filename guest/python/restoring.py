"""Restoring the variables of a saved version: each group when its first name is used, modules likewise.

The names in a program, and those that its functions use, are loaded before it runs; whatever else is looked up as a
global is found by `Lookup`, which stands in for the builtins of the session's code while anything waits.
"""

import builtins
import fcntl
import posix
import sys
import time
from _thread import _count as count_threads

import interpreter_settings
import state_files
import state_values
import state_versions
import streams
import surroundings
from outside import is_outside
from pickling import Unpickler
from saving import LOCK, REACH_ALL
from state_files import Damaged

LOCK_SECONDS = 130
RESEED = state_files.STATE + "/reseed"
MAX_REASON = 300
SHOW_ALL = REACH_ALL | {"dir", "__dict__", "pickle", "shelve", "unittest", "who", "whos"}
_SEPARATORS = {number: " " for number in range(128) if not (chr(number).isalnum() or chr(number) == "_")}


def words_of(text):
    """All that can be a name in a program, also inside its strings."""
    return set(text.translate(_SEPARATORS).split())


class Lookup(dict):
    """The builtins, and behind them what waits to be restored: asked for each global that a program does not find."""

    def __init__(self, restored):
        super().__init__(vars(builtins))
        self._restored = restored

    def __missing__(self, name):
        try:
            return vars(builtins)[name]
        except KeyError:
            pass
        if self._restored.waits(name):
            self._restored.load(name)
            if name in self._restored.namespace:
                return self._restored.namespace[name]
        if (item := self._restored.lost.get(name)) is not None:
            raise lost_name(item)
        raise KeyError(name)

    def __getattr__(self, name):
        return getattr(builtins, name)


def lost_name(item):
    error = NameError(f"name {item['name']!r} is not defined", name=item["name"])
    error.add_note(f"{item['name']!r} held a {item['type']} that could not be kept: {item['reason']}")
    return error


def _exists(path):
    try:
        posix.lstat(path)
    except OSError:
        return False
    return True


def wait_for_saver():
    """A kernel that has died may have left a child that is still writing the last version."""
    try:
        lock = posix.open(LOCK, posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_CLOEXEC)
    except OSError:
        return  # nothing was ever saved by a child
    until = time.monotonic() + LOCK_SECONDS
    while time.monotonic() < until:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError:
            time.sleep(0.005)
    posix.close(lock)


def newest_header():
    """The newest version that can be read, and why newer ones cannot: (header or None, [reason])."""
    damage = []
    for version in state_versions.version_numbers():
        try:
            return state_versions.read_header(version), damage
        except (Damaged, OSError) as error:
            damage.append(str(error))
    return None, damage


class Restored:
    """What of a version waits to be loaded into the namespace."""

    def __init__(self, namespace, header, first_path, outside):
        self.namespace = namespace
        self.outside = outside
        self.groups = {name: group for group in header["groups"] for name in group["names"]}
        self.modules = dict(header["modules"])
        self.lost = {item["name"]: item for item in header["not_kept"]}
        self.sources = {}
        self.submodules = ()
        self.order = ()  # names of all variables, as they were made
        self._loading = set()
        self._when_loaded = []
        self._users = {}
        for group in header["groups"]:
            for name in group["reaches"]:
                self._users.setdefault(name, []).append(group)
        self._restore_sources(header["sources"])
        self._restore_surroundings(header["extras"], first_path)
        self.show()
        for name in list(filter(is_outside, self.groups)):
            self.outside.when_imported(name, lambda name=name: self.when_loaded(lambda: self._load_outside(name)))

    def show(self):
        """Sets what the session's code finds its builtins in."""
        self.namespace["__builtins__"] = Lookup(self) if self.groups or self.modules or self.lost else builtins

    def follow(self, header):
        """What waits may have been copied into a newer version, and its old file be removed."""
        for group in header["groups"]:
            for name in group["names"]:
                if name in self.groups:
                    self.groups[name] = group

    def waits(self, name):
        return name in self.groups or name in self.modules

    def _restore_sources(self, places):
        for name, place in places.items():
            try:
                with state_values.open_value(place) as file:
                    text = file.read().decode("utf-8", "surrogateescape")
                    file.verify()
                self.sources[name] = text
            except (Damaged, OSError):
                continue  # tracebacks show no text of it

    def _restore_surroundings(self, place, first_path):
        is_copy = _exists(RESEED)
        try:
            with state_values.open_value(place) as file:
                state = Unpickler(file, self.find).load()
                file.verify()
            self.submodules = state.get("submodules", ())
            self.order = state.get("order", ())
            surroundings.restore(state, first_path, not is_copy, self)
        except Exception as error:
            self._lose("(surroundings)", "state", error)
        if is_copy:
            posix.unlink(RESEED)

    def prepare(self, text):
        """Loads what a program names, before it runs."""
        if not self.groups and not self.modules:
            return
        words = words_of(text)
        everything = not words.isdisjoint(SHOW_ALL)
        pending = list(self.groups) + list(self.modules) if everything else list(words)
        seen = set()
        while pending:
            name = pending.pop()
            if name in seen:
                continue
            seen.add(name)
            if (group := self.groups.get(name)) is not None:
                pending += group["reaches"]
            if self.waits(name):
                self.load(name)
        if not self.groups and not self.modules:
            self.put_in_order()
            if not self.lost:
                self.show()

    def put_in_order(self):
        """Gives the variables the order in which they were made, also those that came back later than others."""
        ordered = {name: self.namespace[name] for name in self.order if name in self.namespace}
        is_other = list(ordered) != [name for name in self.namespace if name in ordered]
        if is_other and count_threads() == 0:  # none may miss a name meanwhile
            ordered |= self.namespace
            self.namespace.clear()
            self.namespace.update(ordered)

    def names(self):
        """Names of variables that wait."""
        return [name for name in (*self.groups, *self.modules) if name not in self.namespace and not is_outside(name)]

    def find(self, name):
        """A variable that a pickle refers to by its name."""
        if name not in self.namespace and self.waits(name):
            self.load(name)
        try:
            return self.namespace[name]
        except KeyError as cause:
            raise Damaged(f"it needs {name!r}, which is not there") from cause

    def load(self, name):
        """
        Loads the group of a name. A group that cannot be loaded is lost, and told; an interrupt leaves it waiting.
        """
        if name in self.modules:
            self._load_module(name)
            return
        group = self.groups[name]
        if name in self._loading:
            raise Damaged(f"{name!r} cannot be loaded: it needs itself")
        self._loading.update(group["names"])
        try:
            with state_values.open_group(group) as file, streams.Muted():
                values = Unpickler(file, self.find).load()
                file.verify()
            if type(values) is not dict or set(values) != set(group["names"]):
                raise Damaged("its data is that of other variables")
        except Exception as error:
            for member, kind in zip(
                group["names"], group["types"], strict=False
            ):  # a guest may have written the header
                self._lose(member, kind, error)
            values = {}
        finally:
            self._loading.difference_update(group["names"])
        for member in group["names"]:
            self.groups.pop(member, None)
        for member, value in values.items():
            if is_outside(member):
                self._put(member, value)
            else:
                self.namespace.setdefault(member, value)
        while self._when_loaded and not self._loading:
            self._when_loaded.pop(0)()

    def _load_outside(self, name):
        if name in self.groups:
            self.load(name)

    def _put(self, name, value):
        try:
            self.outside.put(name, value)
        except Exception as error:
            self._lose(name, "attribute", error)
        if name.startswith("builtins:") and isinstance(scope := self.namespace.get("__builtins__"), Lookup):
            scope.update(vars(builtins))

    def when_loaded(self, act):
        """Does it now, or once the group has come that is being loaded: it may need its variables."""
        if self._loading:
            self._when_loaded.append(act)
        else:
            act()

    def _load_module(self, name):
        module = self.modules[name]
        filters = interpreter_settings.filters()
        try:
            with streams.Muted():
                __import__(module)
            self.namespace.setdefault(name, sys.modules[module])
        except Exception as error:
            self._lose(name, "module", error)
        self.modules.pop(name, None)
        self._load_submodules(module)
        interpreter_settings.keep_filters(filters)

    def _load_submodules(self, module):
        """What `import a.b` has added to `a`."""
        for submodule in self.submodules:
            if submodule.startswith(f"{module}."):
                try:
                    with streams.Muted():
                        __import__(submodule)
                except (Exception, SystemExit):
                    continue  # whoever uses it is told by the attribute that is not there

    def _lose(self, name, kind, error):
        reason = f"it could not be restored: {type(error).__name__}: {error}"
        if isinstance(error, Damaged):
            reason = f"its saved state is damaged: {error}"
        self.lost[name] = {"name": name, "type": kind, "reason": reason[:MAX_REASON]}
