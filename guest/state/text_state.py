"""Saved state of a kernel whose variables are texts of its language, or that has none: each name is a group of its own.

The same files as for Python (state_files.py): versions, so that sleep, rollback and copies are alike for all languages.
"""

import posix

import kept_versions
import save_report
import state_files
import state_values
import state_versions
from save_report import MAX_TOLD, NOTHING_SAVED
from state_files import Damaged
from state_values import InlineData

MAX_CHANGED = 100
MAX_REPR = 80


class TextState:
    def __init__(self):
        self.header = NOTHING_SAVED
        self._kept = kept_versions.KeptVersions()

    def restore(self):
        """
        The newest version that can be read: ({name: text}, what the agent is told), ({}, None) when nothing was saved.
        """
        damage = []
        for version in state_versions.version_numbers():
            try:
                header = state_versions.read_header(version)
                texts = {group["names"][0]: _read(group["at"]) for group in header["groups"]}
            except (Damaged, OSError, KeyError, IndexError, TypeError) as error:
                damage.append(str(error))
                continue
            self.header = header
            return texts, save_report.of_restore(header, damage)
        return {}, save_report.of_restore(None, damage)

    def save(self, request, values, lost):
        """
        `request`: version, run, result, which versions to keep, and whether to write it durably and as a stage.
        `values`: name -> (kind, text). `lost`: name -> why it is not among them. Answers the report.
        """
        self._kept.keep = request["keep"]
        durable = request["durable"] or self._kept.is_flush_due
        try:
            if self.header["version"] == 0:
                state_files.make_folders()
                state_files.remove_unfinished()
            header, data = self._next(request, values, lost)
            if len(data) > request["keep"]["bytes"]:
                raise state_files.TooLarge(len(data), request["keep"]["bytes"])
            durable = durable or self._kept.must_flush(header)
            state_versions.write_version(header, data, request["stage"], self._kept.on_disk if durable else None)
        except OSError as error:
            return self.failed(request["version"], f"its data cannot be written: {error.strerror}")
        except state_files.WriteFailed as error:
            return self.failed(request["version"], str(error))
        self.header = header
        self._kept.add(header, request["stage"], durable)
        return save_report.of_save(header, header["version"], written=header["written"], staged=request["stage"])

    def failed(self, version, reason):
        return save_report.of_failure(version, reason, self.header)

    def _next(self, request, values, lost):
        data = InlineData(request["version"])
        before = {group["names"][0]: group["at"][3] for group in self.header["groups"]}
        groups = []
        for name, (kind, text) in sorted(values.items()):
            place = data.add_inline(text.encode("utf-8", "surrogateescape"))
            groups.append(
                {"names": [name], "at": place, "types": [kind], "reprs": [text[:MAX_REPR]], "reaches": [], "files": []}
            )
        changed = [group["names"][0] for group in groups if before.pop(group["names"][0], None) != group["at"][3]]
        header = {
            **NOTHING_SAVED,
            "version": request["version"],
            "run": request["run"],
            "result": request["result"],
            "at": state_versions.now_ms(),
            "changed": sorted([*changed, *before])[:MAX_CHANGED],
            "bytes": len(data.data),
            "groups": groups,
            "written": len(data.data),
            "not_kept": [{"name": name, "type": "function", "reason": reason} for name, reason in lost.items()][
                :MAX_TOLD
            ],
        }
        return header, bytes(data.data)


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
