"""One look at the variables that a save covers: which of them share objects, and their data.

Each variable is pickled alone first; the pickler's memo then shows which objects it leads to. Variables that lead to
the same changeable object form a group and are pickled together, so that what is shared stays shared. A variable that
cannot be pickled is left out, with its reason; the others of its group are saved.
"""

import sys
import warnings

import state_files
import state_values
import state_versions
import surroundings
from by_name import NeedsChild, name_of_module
from description import name_of_kind
from outside import is_outside
from parts import InPlaceWriter, Part
from pickling import Pickler
from reductions import Module
from state_values import INLINE_BYTES, InlineData, ValueWriter
from verifying import MAX_BYTES, failure_of, is_dangerous, key_of

MAX_REASON = 300
MAX_TOLD_CHARS = 500
MAX_CHANGED = 100
MAX_SOURCE_BYTES = 1 << 20
# A version whose small groups lie in more files than this takes copies of them, so that old files can go.
MAX_SOURCES = 16
NOT_SAVED = {"at": [None, 0, 0, None]}
NOT_VARIABLES = frozenset(
    ("__name__", "__doc__", "__package__", "__loader__", "__spec__", "__builtins__", "__file__", "__warningregistry__")
)


class Snapshot:
    """`budget` is None in a child, which may take its time and run code of the session."""

    def __init__(self, saver, entry, budget):
        self.saver = saver
        self.entry = entry
        self.kernel = saver.kernel
        self.namespace = saver.kernel.namespace
        self.values = self.namespace  # and by their names what is outside of it, once that was looked for
        self.budget = budget
        self.in_place = budget is not None
        self.durable = False
        self.limit = saver.kept.keep["bytes"]
        self.allowance = state_values.Allowance(self.limit)
        self.groups = {name: group for group in saver.header["groups"] for name in group["names"]}
        self.parts = {}
        self.failures = {}
        self.newly_verified = []
        self.trouble = None  # why it is not known what is outside of the variables
        self.seen = set()
        self.looked_for = set()  # of what is outside of the variables

    def new_writer(self, before):
        if self.in_place:
            return InPlaceWriter(self.budget, self.allowance)
        return ValueWriter(self.durable, self.allowance, before)

    def take(self, durable):
        """The header of the new version and the data of its small groups."""
        self.durable = durable
        data = InlineData(self.entry["version"])
        around = self.saver.surroundings or surroundings.capture(
            self.kernel
        )  # with the program's own filters of warnings
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._pickle_touched()
            parts = self._verify(self._group())
            extras = self._extras(around)
        self._refuse_too_large(parts)
        carry = self._carrier(data)
        groups = [{**group, "at": carry(group["at"])} for group in self._untouched()]
        changed = self._removed()
        written = 0
        for part in parts:
            place, is_pieced, size = part.writer.finish(data)
            written += size
            groups.append(part.entry(place, is_pieced))
            changed += [name for name in part.values if self.groups.get(name, NOT_SAVED)["at"][3] != place[3]]
        extras, sources = data.add_inline(extras), self._sources(groups, carry, data)
        header = {
            **self.entry,
            "at": state_versions.now_ms(),
            "python": sys.version.partition(" ")[0],
            "changed": sorted(changed)[:MAX_CHANGED],
            "written": written + len(data.data),
            "bytes": sum(group["at"][2] for group in groups),
            "groups": groups,
            "extras": extras,
            "sources": sources,
            "modules": self._modules(),
            "not_kept": self._not_kept(around["unkept"]),
        }
        return header, bytes(data.data)

    def _carrier(self, data):
        """What makes the place of saved data good for the new version: small data is copied when it lies in too many
        files, or in the one that is about to be replaced."""
        own = f"versions/{self.entry['version']}"
        header = self.saver.header
        sources = {place[0] for place in state_versions.places_of(header) if place[0].startswith("versions/")}
        too_many = len(sources) > MAX_SOURCES
        if too_many and self.in_place:
            raise NeedsChild

        def carry(place):
            if place[0] != own and not (too_many and place[0] in sources):
                return place
            with state_values.open_value(place) as file:
                content = file.read()
                file.verify()
            return data.add_inline(content)

        return carry

    # Which variables, and their data.

    def _is_variable(self, name):
        if type(name) is not str or name in NOT_VARIABLES or name not in self.values:
            return False
        if is_outside(name):
            return True
        value = self.namespace[name]
        return type(value) is not Module or not _is_imported(value)

    def _pickle_touched(self):
        """The variables that can have changed, then what else can have, which may lead to more of them."""
        everything = self.saver.touched_all
        met = self._pickle(list(self.namespace) + list(self.groups) if everything else list(self.saver.touched))
        outside = self.kernel.outside
        found, places = self._look_outside(everything)
        met |= found.keys() | {name for name in self.groups if is_outside(name) and outside.was_looked_at(name, places)}
        if met:
            self.values = {**self.namespace, **found}
        while met:
            self.looked_for |= met
            for name in met - found.keys():
                self.values.update((name, value) for value in outside.value_of(name))
            met = self._pickle(list(met))

    def _look_outside(self, everything):
        """
        What programs have put where modules are looked for may be anything, which must not keep variables from being
        saved.
        """
        try:
            return self.kernel.outside.find(self.seen | self.saver.touched, everything)
        except Exception as error:
            self.trouble = f"what programs have changed of modules cannot be told: {_reason(error)}"
            return {}, ()

    def _pickle(self, pending):
        """These variables, and those that they lead to; answers which of what is outside must be looked for."""
        met = set()
        while pending:
            name = pending.pop()
            if name in self.seen or self.kernel.waits(name):
                continue
            if is_outside(name) and name not in self.looked_for and name not in self.namespace:
                met.add(name)
                continue
            self.seen.add(name)
            if is_outside(name) and name in self.namespace:
                self.failures[name] = "a variable with a colon in its name cannot be saved"
                continue
            if (group := self.groups.get(name)) is not None:
                if self.in_place and group["at"][2] > INLINE_BYTES:
                    raise NeedsChild
                pending += group["names"]
                pending += group["reaches"]
            if not self._is_variable(name):
                continue
            try:
                part = self.parts[name] = Part([name], self)
                pending += part.reaches
            except (NeedsChild, state_files.WriteFailed):
                raise
            except Exception as error:
                self.failures[name] = _reason(error)
        return met

    def _group(self):
        """Parts of which no two share anything changeable."""
        if len(self.parts) < 2:
            return list(self.parts.values())
        owners, leader = {}, {name: name for name in self.parts}

        def find(name):
            while leader[name] != name:
                name = leader[name]
            return name

        for name, part in self.parts.items():
            for key in part.changeable():
                leader[find(name)] = find(owners.setdefault(key, name))
        members = {}
        for name in self.parts:
            members.setdefault(find(name), []).append(name)
        lists = [sorted(names) for names in members.values() if len(names) > 1]
        for name in (name for names in lists for name in names):
            self.parts[name].writer.discard()  # all of them first: what they share was written once for each
        linked = [Part(names, self) for names in lists]
        return linked + [self._alone(names[0]) for names in members.values() if len(names) == 1]

    def _alone(self, name):
        """Again, if there was no room while parts that turned out to share objects were written once for each name."""
        part = self.parts[name]
        return Part([name], self) if part.writer.has_overflowed else part

    def _verify(self, parts):
        """
        Those that load again. A variable that does not is a failure; the others of its group are saved without it.
        """
        verified, sound, pending = self.saver.verified, [], list(parts)
        while pending:
            part = pending.pop()
            unknown = verified.unknown(part.kinds)
            if unknown and self.in_place:
                raise NeedsChild
            is_tried = part.writer.size <= MAX_BYTES and not part.writer.has_overflowed
            if not unknown or not is_tried or is_dangerous(part.kinds):
                sound.append(part)
            elif (reason := failure_of(part.writer.reader(), self.values.__getitem__)) is None:
                verified.add(map(key_of, unknown))
                self.newly_verified += map(key_of, unknown)
                sound.append(part)
            else:
                pending += self._without_failures(part, reason)
        return sound

    def _without_failures(self, part, reason):
        """What is left of a group that does not load: nothing, or a part of fewer variables."""
        part.writer.discard()
        names = list(part.values)
        if len(names) > 1:
            alone = {name: self._failure_of(name) for name in names}
            self.failures |= {name: why for name, why in alone.items() if why is not None}
            left = [name for name in names if alone[name] is None]
            if len(left) < len(names):
                return [Part(left, self)] if left else []
        self.failures |= dict.fromkeys(names, reason[:MAX_REASON])
        return []

    def _failure_of(self, name):
        part = Part([name], self)
        if part.writer.has_overflowed:
            return None  # there is no room to try it
        reason = failure_of(part.writer.reader(), self.values.__getitem__)
        part.writer.discard()
        return reason and reason[:MAX_REASON]

    def _refuse_too_large(self, parts):
        size = sum(part.writer.size for part in parts) + sum(group["at"][2] for group in self._untouched())
        if size <= self.limit:
            return
        for part in parts:
            part.writer.discard()
        raise state_files.TooLarge(size, self.limit)

    # What else a version holds.

    def _untouched(self):
        """Groups that stay as they were saved last."""
        return [
            group
            for group in self.saver.header["groups"]
            if self.kernel.waits(group["names"][0]) or self.seen.isdisjoint(group["names"])
        ]

    def _removed(self):
        return [name for name in self.groups if name in self.seen and name not in self.values]

    def _modules(self):
        modules = {
            name: name_of_module(value)
            for name, value in self.namespace.items()
            if type(value) is Module and type(name) is str and name not in NOT_VARIABLES and _is_imported(value)
        }
        return {**self.kernel.waiting_modules(), **modules}

    def _not_kept(self, settings):
        """
        What cannot be pickled now, settings by name with their reasons, and what was lost earlier and has no new value.
        """
        known = {item["name"]: item for item in self.saver.header["not_kept"]}
        lost = self.kernel.lost()
        if self.trouble is not None:
            settings = {**settings, "modules": self.trouble}
        found = [
            {"name": name, "type": name_of_kind(self.values[name]), "reason": reason}
            for name, reason in self.failures.items()
        ]
        found += [item for name, item in known.items() if name not in self.seen and self._is_held(name, item, lost)]
        found += [{"name": name, "type": "setting", "reason": reason} for name, reason in settings.items()]
        found += [item for name, item in lost.items() if name not in self.values and name not in settings]
        return sorted(map(_shortened, found), key=lambda item: item["name"])

    def _is_held(self, name, item, lost):
        """Whether what could not be kept before, and was not looked at now, is still there."""
        if is_outside(name) and item["type"] != "setting":
            return name not in lost
        return name in self.namespace

    def _extras(self, around):
        writer = _Bytes()
        Pickler(writer, self.namespace, False).dump({key: value for key, value in around.items() if key != "unkept"})
        return bytes(writer.content)

    def _sources(self, groups, carry, data):
        """The text of each program that a saved function comes from, newest first while there is room."""
        known = self.saver.header["sources"]
        names = {name for group in groups for name in group["files"]}
        places, room = {}, MAX_SOURCE_BYTES
        for name in sorted(names, reverse=True):
            place = known.get(name)
            if place is None and (text := self.kernel.sources.get(name)) is not None:
                place = data.add_inline(text.encode("utf-8", "surrogateescape"))
            elif place is not None:
                place = carry(place)
            if place is not None and (room := room - place[2]) >= 0:
                places[name] = place
        return places


class _Bytes:
    """A file of a few bytes, in memory."""

    def __init__(self):
        self.content = bytearray()

    def write(self, data):
        self.content += data
        return len(data)


def _is_imported(module):
    return sys.modules.get(name_of_module(module)) is module and getattr(module, "__spec__", None) is not None


def _reason(error):
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return str(error)[:MAX_REASON] or type(error).__name__


def _shortened(item):
    """A program may call its classes what it likes; each character may count twice where others read it."""
    return {**item, "type": item["type"][:MAX_TOLD_CHARS], "reason": item["reason"][:MAX_TOLD_CHARS]}
