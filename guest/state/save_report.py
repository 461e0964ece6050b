"""What is told of saved state, in one form for all kernels: how a save went, and what a new kernel has found."""

from state_header import NOT_KEPT, is_size, is_text

MAX_TOLD = 100  # items of a list
MAX_REASON = 300  # characters
# What the server hears at most, as in src/protocol/guest.ts.
MAX_HEARD, MAX_HEARD_TYPE, MAX_HEARD_REASON = 200, 1024, 2048
NOTHING_SAVED = {
    "version": 0,
    "run": "",
    "result": None,
    "groups": [],
    "extras": None,
    "sources": {},
    "modules": {},
    "not_kept": [],
}
KINDS = {
    "version": int,
    "written": int,
    "bytes": int,
    "not_kept": list,
    "staged": bool,
    "complete": bool,
    "background": int,
}


def of_save(header, version, **told):
    """`header`: of the newest version that was saved. `told`: what is not as after a save of nothing."""
    return {
        "type": "saved",
        "version": version,
        "written": 0,
        "bytes": header.get("bytes", 0),
        "not_kept": header["not_kept"][:MAX_TOLD],
        "failed": None,
        "staged": False,
        "complete": False,
        "background": 0,
        **told,
    }


def of_failure(version, reason, header=NOTHING_SAVED, **told):
    return of_save(header, version, failed=reason[:MAX_REASON], **told)


def of_restore(header, damage):
    """`damage`: why newer versions than this one could not be read. None when there is nothing to tell."""
    if header is None:
        if not damage:
            return None
        header = NOTHING_SAVED
    told = {key: header[key] for key in ("version", "run", "result")}
    return {
        **told,
        "not_kept": header["not_kept"][:MAX_TOLD],
        "damage": [reason[:MAX_REASON] for reason in damage[:MAX_TOLD]],
    }


def is_sound(report):
    """Whether it has the form of a save's report: a program in the kernel's own process can make it write anything."""
    if (
        type(report) is not dict
        or {key: type(value) for key, value in report.items() if key not in ("type", "failed")} != KINDS
        or report.get("type") != "saved"
    ):
        return False
    if not all(is_size(report[key]) for key, kind in KINDS.items() if kind is int):
        return False
    failed = report.get("failed", 0)
    return are_lost_items(report["not_kept"]) and (failed is None or is_text(failed, MAX_HEARD_REASON))


def are_lost_items(items):
    return (
        type(items) is list
        and len(items) <= MAX_HEARD
        and all(type(item) is dict and item.keys() == NOT_KEPT and _is_lost_item(item) for item in items)
    )


def _is_lost_item(item):
    if not all(type(part) is str for part in item.values()):
        return False
    return is_text(item["type"], MAX_HEARD_TYPE) and is_text(item["reason"], MAX_HEARD_REASON)
