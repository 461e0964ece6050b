"""Whether what a kernel says has the form that the server expects: a program in the kernel's own process can make it
write anything. It costs the kernel then, and not the sandbox. The limits are those of src/protocol/guest.ts."""

import save_report
from wire import FrameError

OUTCOMES = ("ok", "raised", "exited")
MAX_EXIT_CODE = 255
MAX_ERROR = {"name": 1024, "message": 8192, "traceback": 65_536}
RESULT = {"outcome", "exit_code", "error"}
RESTORED = {"version", "run", "result", "not_kept", "damage"}
MAX_RUN = 64
MAX_DAMAGE = 100


def check_done(header):
    """Raises FrameError."""
    if not _is_result(header):
        raise FrameError("an outcome that a kernel cannot have")
    if header["saved"] is not None:
        check_report(header["saved"])
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
        save_report.is_count(restored["version"])
        and _is_text(restored["run"], MAX_RUN)
        and (result is None or (type(result) is dict and result.keys() == RESULT and _is_result(result)))
        and save_report.are_lost_items(restored["not_kept"])
        and type(restored["damage"]) is list
        and len(restored["damage"]) <= MAX_DAMAGE
        and all(_is_text(reason, save_report.MAX_HEARD_REASON) for reason in restored["damage"])
    )


def _is_result(result):
    """Raises KeyError for one that lacks a field."""
    code, error = result["exit_code"], result["error"]
    return (
        result["outcome"] in OUTCOMES
        and type(code) is int
        and 0 <= code <= MAX_EXIT_CODE
        and (error is None or _is_error(error))
    )


def _is_error(error):
    is_whole = type(error) is dict and error.keys() == MAX_ERROR.keys()
    return is_whole and all(_is_text(error[name], most) for name, most in MAX_ERROR.items())


def _is_text(value, most):
    return type(value) is str and save_report.length_of(value) <= most
