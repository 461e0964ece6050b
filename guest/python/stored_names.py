"""Under which names programs store attributes of anything but `self`: what they may have changed of modules and
classes."""

from _opcode_metadata import opmap  # pyright: ignore[reportMissingImports]  the interpreter has it

from by_name import Code, Function, global_names, name_of_module

# Who uses one of these may store under any name that stands as text in its code.
BY_TEXT = frozenset(("setattr", "delattr", "__setattr__", "__delattr__", "__dict__", "vars", "patch"))
# By an instruction, which may delete it; or perhaps, since the code has it as a text.
STORED, DELETED, BY_ITS_TEXT = 1, 2, 4
DELETES_BY_TEXT = frozenset(("delattr", "__delattr__"))
STORE, DELETE = opmap["STORE_ATTR"], opmap["DELETE_ATTR"]
EXTENDED = opmap["EXTENDED_ARG"]
# What may load the object whose attribute the next instruction stores, and the bits of its argument that tell which.
LOADERS = {opmap["LOAD_FAST"]: 255, opmap["LOAD_FAST_LOAD_FAST"]: 15, opmap["STORE_FAST_LOAD_FAST"]: 15}
STEP = 2  # bytes of an instruction


def stored_names(code):
    """Name -> how it is stored (below, added up), of a code object and all code inside it."""
    found, pending = {}, [code]
    while pending:
        part = pending.pop()
        instructions = part.co_code
        kinds = instructions[::STEP]
        for kind in (STORE, DELETE):
            at = kinds.find(kind)
            while at >= 0:
                if not _is_of_self(part, instructions, at):
                    name = part.co_names[_argument(instructions, at)]
                    found[name] = found.get(name, 0) | (DELETED if kind == DELETE else STORED)
                at = kinds.find(kind, at + 1)
        pending += [constant for constant in part.co_consts if type(constant) is Code]
    names = global_names(code)
    if not names.isdisjoint(BY_TEXT):
        by_text = BY_ITS_TEXT | (DELETED if not names.isdisjoint(DELETES_BY_TEXT) else 0)
        found |= {name: found.get(name, 0) | by_text for name in _texts(code)}
    if "register" in names:
        found.setdefault("register", STORED)
    return found


def stored_names_of_module(module):
    """Those of its functions and of its classes' methods: what its own text stores, its import stores again."""
    found = {}
    for item in list(vars(module).values()):
        members = list(type.__dict__["__dict__"].__get__(item).values()) if issubclass(type(item), type) else [item]
        for member in members:
            function = getattr(member, "__func__", member) if type(member) in (classmethod, staticmethod) else member
            if type(function) is Function and function.__module__ == name_of_module(module):
                merge(found, stored_names(function.__code__))
    return found


def merge(found, more):
    for name, how in more.items():
        found[name] = found.get(name, 0) | how


def _argument(instructions, at):
    argument, shift = instructions[at * STEP + 1], 8
    while at > 0 and instructions[(at - 1) * STEP] == EXTENDED:
        at -= 1
        argument |= instructions[at * STEP + 1] << shift
        shift += 8
    return argument


def _is_of_self(code, instructions, at):
    if at == 0 or not code.co_varnames or code.co_varnames[0] != "self":
        return False
    kind, argument = instructions[(at - 1) * STEP : at * STEP]
    return kind in LOADERS and argument & LOADERS[kind] == 0


def _texts(code):
    """What can be a name among its constants."""
    found, pending = set(), [code]
    while pending:
        item = pending.pop()
        if type(item) is Code:
            pending += item.co_consts
        elif type(item) in (tuple, frozenset):
            pending += item
        elif type(item) is str:
            found.update(part for part in item.split(".") if part.isidentifier())
    return found
