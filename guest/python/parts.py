"""One variable, or several that share objects, as pickled: its data, and to which objects and names it leads."""

import time

import state_files
from by_name import Code, Function, NeedsChild, is_importable
from description import describe, name_of_kind
from pickling import Pickler
from pieces import pieces_of
from reductions import Module
from state_values import INLINE_BYTES, ValueWriter

IN_PLACE_BYTES = 64 << 10
IN_PLACE_SECONDS = 0.005
BuiltinFunction = type(len)
ATOMS = frozenset((str, bytes, int, float, complex, bool, type(None), Code, BuiltinFunction, Module, range, slice))
IMMUTABLE_MODULES = frozenset(
    ("datetime", "decimal", "fractions", "uuid", "re", "zoneinfo", "ipaddress", "numpy.dtypes")
)


NONE_BEFORE = {"names": []}


class Budget:
    """What a save in the kernel itself may take; beyond it a child does the work."""

    def __init__(self):
        self._bytes = IN_PLACE_BYTES
        self._until = time.monotonic() + IN_PLACE_SECONDS

    def spend(self, size):
        self._bytes -= size
        if self._bytes < 0 or time.monotonic() > self._until:
            raise NeedsChild


class InPlaceWriter(ValueWriter):
    def __init__(self, budget, allowance):
        super().__init__(False, allowance)
        self._budget = budget

    def write(self, data):
        data = state_files.bytes_of(data)
        if self.size + len(data) > INLINE_BYTES:
            raise NeedsChild
        self._budget.spend(len(data))
        return super().write(data)


class Part:
    """One variable, or several that share objects, as pickled."""

    def __init__(self, names, snapshot):
        self.values = {name: snapshot.values[name] for name in names}
        before = snapshot.groups.get(names[0], NONE_BEFORE)
        is_same = set(before["names"]) == set(names)
        self.writer = snapshot.new_writer(_pieces_of(before) if is_same else ())
        pickler = Pickler(self.writer, snapshot.namespace, snapshot.in_place)
        try:
            pickler.dump(self.values)
        except BaseException:
            self.writer.discard()
            raise
        self.reaches, self.files, self.kinds = pickler.reaches, pickler.files, pickler.kinds
        self._pickler = pickler  # its memo keeps alive whatever it saw, so that no id is used twice

    def changeable(self):
        """Ids of the objects that make variables belong together when they share them."""
        memo = self._pickler.memo.copy()
        del memo[id(self.values)]
        return {key for key, (_, value) in memo.items() if not _is_immutable(value)}

    def entry(self, place, is_pieced):
        values = self.values.values()
        return {
            "names": list(self.values),
            "at": place,
            "types": [name_of_kind(value) for value in values],
            "reprs": [describe(value) for value in values],
            "reaches": sorted(self.reaches),
            "files": sorted(self.files),
            **({"is_pieced": True} if is_pieced else {}),
        }


def _pieces_of(group):
    try:
        return pieces_of(group["at"]) if group.get("is_pieced") else ()
    except (state_files.Damaged, OSError):
        return ()  # all of it is written again


def _is_immutable(value):
    kind = type(value)
    if kind in ATOMS or kind.__module__ in IMMUTABLE_MODULES:
        return True
    if kind is tuple:
        return all(type(item) in ATOMS for item in value)
    return (kind is Function or issubclass(type(value), type)) and is_importable(value)
