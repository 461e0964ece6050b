"""Whether what a kernel says has the form that the server expects: a program in the kernel's own process can make it
write anything. It costs the kernel then, and not the sandbox. The limits are those of src/protocol/guest.ts."""

import save_report
from state_header import RESULT, is_result, is_size, is_text
from wire import FrameError

RESTORED = {"version", "run", "result", "not_kept", "damage"}
MAX_RUN = 64
MAX_DAMAGE = 100


def check_done(header):
    """Raises FrameError."""
    if not is_result({key: header[key] for key in RESULT}):
        raise FrameError("an outcome that a kernel cannot have")
    if header["saved"] is not None:
        check_report(header["saved"])
    if not is_size(header.get("left_out", 0)):
        raise FrameError("a number of results that is none")
    check_restored(header.get("restored"))


def check_report(report):
    """Raises FrameError."""
    if not save_report.is_sound(report):
        raise FrameError("a report of a save that is none")


def check_restored(restored):
    """Raises FrameError."""
    if restored is not None and not _is_restored(restored):
        raise FrameError("restored state that is none")


def _is_restored(restored):
    if type(restored) is not dict or restored.keys() != RESTORED:
        return False
    result = restored["result"]
    return (
        is_size(restored["version"])
        and is_text(restored["run"], MAX_RUN)
        and (result is None or is_result(result))
        and save_report.are_lost_items(restored["not_kept"])
        and type(restored["damage"]) is list
        and len(restored["damage"]) <= MAX_DAMAGE
        and all(is_text(reason, save_report.MAX_HEARD_REASON) for reason in restored["damage"])
    )
