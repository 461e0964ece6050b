"""Whether a module of the workspace holds other data than when it was imported: after sleep it begins anew, which is told."""

import sys
from _frozen_importlib_external import FileFinder, SourceFileLoader, _get_supported_file_loaders

WORKSPACE = "/workspace"
MAX_LOOKED_AT = 20_000
Function, BuiltinFunction, Module = type(lambda: 0), type(len), type(sys)
ATOMS = frozenset((str, bytes, int, float, complex, bool, type(None)))
# The interpreter's own; the last one is what pickling leaves in a class.
OWN = frozenset(
    "__builtins__ __cached__ __doc__ __file__ __loader__ __name__ __package__ __path__ __spec__ "
    "__warningregistry__ __slotnames__".split()
)
MODULE = "(module "  # what is told of one has such a name, which no variable can have
REASON = "what it holds has changed: it is imported again, and begins anew"
_marks = {}  # name -> (module, mark when it was imported)


def install():
    """From now on what is imported from the workspace is looked at once it has run."""
    loaders = [(Loader if loader is SourceFileLoader else loader, suffixes) for loader, suffixes in _get_supported_file_loaders()]

    def hook(path):
        if path != WORKSPACE and not path.startswith(f"{WORKSPACE}/"):
            raise ImportError("not of the workspace")
        return in_folders(path)

    in_folders = FileFinder.path_hook(*loaders)
    sys.path_hooks.insert(0, hook)
    sys.path_importer_cache.pop(WORKSPACE, None)


class Loader(SourceFileLoader):
    def exec_module(self, module):
        super().exec_module(module)
        _marks[module.__name__] = module, mark_of(module)


def changed():
    """Modules that are there and hold something else than they began with, as what cannot be kept is told."""
    return [
        {"name": f"{MODULE}{name})", "type": "module", "reason": REASON}
        for name, (module, mark) in _marks.items()
        if sys.modules.get(name) is module and mark_of(module) != mark
    ]


def mark_of(module):
    """A number for the data in a module's variables, its classes and objects: for what is looked at, which has a bound."""
    try:
        return hash(_Look(module.__name__).at(vars(module)))
    except Exception:
        return 0  # an object that does not like to be looked at: nobody can tell


class _Look:
    def __init__(self, module):
        self._module = module
        self._seen = {}  # id -> its number
        self._kept = []  # so that no id is used twice

    def at(self, value):
        kind = type(value)
        if kind in ATOMS:
            return value
        if kind in (Function, BuiltinFunction):
            return id(value)
        if id(value) in self._seen or len(self._seen) > MAX_LOOKED_AT:
            return self._seen.get(id(value), 0)
        self._seen[id(value)] = len(self._seen)
        self._kept.append(value)
        if kind is dict:
            # A submodule becomes a variable of its package.
            items = [(name, item) for name, item in value.items() if name not in OWN and type(item) is not Module]
            return tuple((self.at(name), self.at(item)) for name, item in items)
        if kind in (list, tuple):
            return kind.__name__, *map(self.at, value)
        if kind in (set, frozenset):
            return frozenset(map(self.at, value))
        if issubclass(kind, type):
            return self.at(dict(type.__dict__["__dict__"].__get__(value))) if value.__module__ == self._module else id(value)
        try:
            return kind.__name__, id(value), self.at(object.__getattribute__(value, "__dict__"))
        except AttributeError:
            return id(value)
