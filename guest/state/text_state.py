"""Saved state of a kernel whose variables are texts of its language, or that has none: each name is a group of its own.

The same files as for Python (state_files.py): versions, so that sleep, rollback and copies are alike for all languages.
"""

import posix

import kept_versions
import state_files
import state_values
import state_versions
from state_files import Damaged
from state_values import InlineData

NOTHING_SAVED = {"version": 0, "run": "", "result": None, "groups": [], "extras": None, "sources": {}, "modules": {}, "not_kept": []}
MAX_CHANGED = 100
MAX_REASON = 300
MAX_TOLD = 100
MAX_REPR = 80


class TextState:
    def __init__(self):
        self.header = NOTHING_SAVED
        self._kept = kept_versions.KeptVersions()

    def restore(self):
        """The newest version that can be read: ({name: text}, what the agent is told), ({}, None) when nothing was saved."""
        damage = []
        for version in state_versions.version_numbers():
            try:
                header = state_versions.read_header(version)
                texts = {group["names"][0]: _read(group["at"]) for group in header["groups"]}
            except (Damaged, OSError, KeyError, IndexError, TypeError) as error:
                damage.append(str(error)[:MAX_REASON])
                continue
            self.header = header
            told = {key: header[key] for key in ("version", "run", "result", "not_kept")}
            return texts, {**told, "damage": damage[:MAX_TOLD]}
        return {}, {**_told_nothing(), "damage": damage[:MAX_TOLD]} if damage else None

    def save(self, request, result, values, lost, durable, stage):
        """
        `values`: name -> (kind, text). `lost`: name -> why it is not among them. `request`: version, run and how many versions
        to keep. Answers the report.
        """
        version = request["version"]
        self._kept.keep = request["keep"]
        durable = durable or self._kept.is_flush_due
        try:
            if self.header["version"] == 0:
                state_files.make_folders()
                state_files.remove_unfinished()
            header, data = self._next(request, result, values, lost)
            if len(data) > request["keep"]["bytes"]:
                raise state_files.TooLarge(len(data), request["keep"]["bytes"])
            durable = durable or self._kept.must_flush(header)
            state_versions.write_version(header, data, durable, stage, self._kept.on_disk)
        except OSError as error:
            return self.failed(version, f"its data cannot be written: {error.strerror}")
        except state_files.WriteFailed as error:
            return self.failed(version, str(error))
        self.header = header
        self._kept.add(header, stage, durable)
        return self._report(version, header["written"], None, stage)

    def failed(self, version, reason):
        return self._report(version, 0, reason, False)

    def _next(self, request, result, values, lost):
        data = InlineData(request["version"])
        before = {group["names"][0]: group["at"][3] for group in self.header["groups"]}
        groups = []
        for name, (kind, text) in sorted(values.items()):
            place = data.add_inline(text.encode("utf-8", "surrogateescape"))
            groups.append({"names": [name], "at": place, "types": [kind], "reprs": [text[:MAX_REPR]], "reaches": [], "files": []})
        changed = [group["names"][0] for group in groups if before.pop(group["names"][0], None) != group["at"][3]]
        header = {
            **NOTHING_SAVED,
            "version": request["version"],
            "run": request["run"],
            "result": result,
            "at": state_versions.now_ms(),
            "changed": sorted([*changed, *before])[:MAX_CHANGED],
            "bytes": len(data.data),
            "groups": groups,
            "written": len(data.data),
            "not_kept": [{"name": name, "type": "function", "reason": reason} for name, reason in lost.items()][:MAX_TOLD],
        }
        return header, bytes(data.data)

    def _report(self, version, written, failure, staged):
        return {
            "type": "saved",
            "version": version,
            "written": written,
            "bytes": self.header.get("bytes", 0),
            "not_kept": self.header["not_kept"],
            "failed": failure,
            "staged": staged and failure is None,
            "complete": False,
            "threads": 0,
        }


def _told_nothing():
    return {"version": 0, "run": "", "result": None, "not_kept": []}


def _read(place):
    with state_values.open_value(place) as file:
        content = file.read()
        file.verify()
    return content.decode("utf-8", "surrogateescape")


def forget_copy_mark():
    """A copy has no random generators of the session to start anew."""
    try:
        posix.unlink(state_files.STATE + "/reseed")
    except OSError:
        pass  # it is no copy
