"""What programs change outside their variables: attributes of libraries, data of modules in the workspace, and open
figures.

Each has a name that no variable has, `module:attribute`, under which it is saved and restored like a variable: with
what it shares, as soon as its module is imported.
"""

import sys

import figures
import finalizers
import library_state
import registries
import workspace_state
from after_import import after_import
from by_name import Function, is_class
from stored_names import merge, stored_names, stored_names_of_module

ALL = "*"
KNOWN = (figures, finalizers, registries)  # what libraries know by themselves: each has names of its own


def is_outside(name):
    return type(name) is str and ":" in name


def _parts(name):
    """The module, the place (as library_state.place_of() names it) and the attribute of a name."""
    module, _, path = name.partition(":")
    owner, dot, attribute = path.rpartition(".")
    return module, f"{module}:{owner}{dot}", attribute


def _known(name):
    return next((kind for kind in KNOWN if name in kind.NAMES), None)


class Outside:
    """`kernel` tells: the variables, the modules of the workspace, and the builtins that programs see."""

    def __init__(self, kernel):
        self._kernel = kernel
        self._waiting = {}  # what was loaded, but its module is not imported yet
        self._texts = {}  # module of the workspace -> its file as it was noted, and a digest of it
        self._saved_texts = {}  # digests by module, of the version that was restored
        self.deleted = set()  # names of attributes that were found to be gone
        self.stored = {}  # under which names programs have stored, and how: see stored_names.py

    def note(self, codes):
        """After programs have run; answers whether a module of the workspace was imported again with another text."""
        for code in codes:
            merge(self.stored, stored_names(code))
        is_changed = False
        for name, signature in self._kernel.modules.known():
            before = self._texts.get(name)
            module = sys.modules.get(name)
            if (before is None or before[0] != signature) and type(module) is type(sys):
                is_changed |= before is not None
                self._texts[name] = signature, workspace_state.digest_of(module)
                merge(self.stored, stored_names_of_module(module))
        return is_changed

    # What there is to save.

    def find(self, names, everything):
        """
        What programs that use these names can have changed, or with `everything` any: name -> value; and the places
        that were looked at.
        """
        found, places = dict(self._waiting), set()
        if self.stored and (everything or not names.isdisjoint(self.stored)):
            owners = library_state.reachable(names, self._kernel.namespace)
            places.update(owners)
            found |= library_state.set_attributes(owners, self.stored, self._kernel.mended.theirs)
            self.deleted |= library_state.deleted_attributes(owners, self.stored)
        found |= {name: library_state.GONE for name in self.deleted if name not in found and not self.value_of(name)}
        if self._texts and (everything or self._uses_workspace(names)):
            places.update(f"{module}:{ALL}" for module in self._texts)
            for module in self._texts:
                found |= {f"{module}:{name}": value for name, value in workspace_state.data_of(sys.modules.get(module))}
        for kind in KNOWN:
            if everything or kind.may_use(names, self._kernel.namespace):
                places |= kind.PLACES
                found |= kind.found(self._kernel.namespace)
        return found, places

    def _uses_workspace(self, names):
        namespace, modules = self._kernel.namespace, self._texts
        if not names.isdisjoint(modules):
            return True
        return any(workspace_state.is_of(namespace[name], modules) for name in names if name in namespace)

    @staticmethod
    def was_looked_at(name, places):
        module, place, _ = _parts(name)
        return place in places or f"{module}:{ALL}" in places

    def value_of(self, name):
        """(value,) of what has that name now, () if nothing has."""
        if name in self._waiting:
            return (self._waiting[name],)
        if (kind := _known(name)) is not None:
            return tuple(value for key, value in kind.found(self._kernel.namespace).items() if key == name)
        owner, attribute = self._owner(name)
        if type(owner) is Function and attribute == workspace_state.CLOSURE:
            return (workspace_state.closure_of(owner),)
        if type(owner) is Function:
            return (getattr(owner, attribute),) if hasattr(owner, attribute) else ()
        if type(owner) is not type(sys) and not is_class(owner):
            return ()
        if attribute == library_state.REGISTERED:
            return (library_state.registered_with(owner),) if "_abc_impl" in library_state.scope_of(owner) else ()
        scope = self._kernel.mended.theirs if name.startswith("builtins:") else library_state.scope_of(owner)
        return (scope[attribute],) if attribute in scope else ()

    @staticmethod
    def _owner(name):
        module, place, attribute = _parts(name)
        owner = sys.modules.get(module)
        for part in filter(None, place.partition(":")[2].split(".")):
            owner = getattr(owner, part, None)
        return owner, attribute

    def state(self):
        """What else is saved of it."""
        return {
            "stored": self.stored,
            "deleted": self.deleted,
            "texts": {name: digest for name, (_, digest) in self._texts.items()},
        }

    # What was saved.

    def restore(self, state):
        merge(self.stored, state.get("stored", {}))
        self.deleted |= state.get("deleted", set())
        self._saved_texts = state.get("texts", {})

    def when_imported(self, name, act):
        """Acts once the module of a name is imported, and all of the package that it belongs to."""
        module = name.partition(":")[0]
        package = module.partition(".")[0]

        def act_if_whole(_module):
            if not _is_initializing(package):
                act()

        if module in sys.builtin_module_names:
            __import__(module)
        after_import(package, lambda _module: act())
        if module != package:
            after_import(module, act_if_whole)

    def put(self, name, value):
        """Sets it as it was saved, at once or when its module is imported."""
        module = name.partition(":")[0]
        if module in sys.modules and not _is_initializing(module):
            self._put(name, value)
            return
        self._waiting[name] = value
        after_import(
            module, lambda _module: self._put(name, self._waiting.pop(name)) if name in self._waiting else None
        )

    def _put(self, name, value):
        module = sys.modules[name.partition(":")[0]]
        if (kind := _known(name)) is not None:
            kind.put(name, module, value)
            return
        text = self._saved_texts.get(module.__name__)
        if text is not None and text != workspace_state.digest_of(module):
            return  # its text is another one now: it begins anew, as in a session that goes on
        owner, attribute = self._owner(name)
        if attribute == workspace_state.CLOSURE:
            workspace_state.put_closure(owner, value)
        else:
            library_state.put(owner, attribute, value)


def _is_initializing(module):
    spec = getattr(sys.modules.get(module), "__spec__", None)
    return getattr(spec, "_initializing", False)
