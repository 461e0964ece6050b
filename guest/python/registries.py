"""Registries of the standard library: dictionaries in which programs register what they have made or chosen."""

import sys

from library_state import is_of_session

# By module: those that hold objects, of which the session's own are kept, and those that hold texts.
OF_OBJECTS = {"copyreg": ("dispatch_table",), "_sqlite3": ("adapters", "converters")}
OF_TEXTS = {"xml.etree.ElementTree": ("_namespace_map",), "mimetypes": ("types_map", "common_types", "suffix_map")}
ALL = {**OF_OBJECTS, **OF_TEXTS}
NAMES = frozenset(f"{module}:{attribute}.registered" for module, attributes in ALL.items() for attribute in attributes)
PLACES = frozenset(name.rpartition(".")[0] + "." for name in NAMES)
USERS = frozenset(
    (
        *("copyreg", "pickle", "sqlite3", "register_adapter", "register_converter", "register_namespace"),
        *("mimetypes", "add_type", "guess_type", "init"),
    )
)


def may_use(names, _namespace):
    return not names.isdisjoint(USERS)


def found(_namespace):
    """By its name, what each registry has that is to be kept."""
    return {name: entries for name in NAMES if (entries := _entries(*name.partition(".registered")[0].split(":")))}


def _entries(module_name, attribute):
    module = sys.modules.get(module_name)
    registry = getattr(module, attribute, None)
    if type(registry) is not dict:
        return {}
    if module_name in OF_OBJECTS:
        return {key: value for key, value in registry.items() if _is_own(key) or is_of_session(value)}
    is_at_first = module_name == "mimetypes" and not vars(module).get("inited")
    return {} if is_at_first else dict(registry)


def _is_own(key):
    return any(map(is_of_session, key)) if type(key) is tuple else is_of_session(key)


def put(name, module, entries):
    if module.__name__ == "mimetypes" and not module.inited:
        module.init()
    getattr(module, name.partition(".registered")[0].partition(":")[2]).update(entries)
