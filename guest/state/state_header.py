"""Whether the header of a version is one that a kernel has written: a guest can write one of its own, with the right
digest. The same rules as in guest/javascript/state-header.mjs."""

MAX_SAFE = (1 << 53) - 1
ERROR_SIZES = {"name": 1024, "message": 8192, "traceback": 65_536}


class WrongShape(Exception):
    """It is no header of a version."""


def check_header(header, version):
    """Raises WrongShape."""
    try:
        wrong = _wrong_part(header, version)
    except (KeyError, TypeError, AttributeError, ValueError) as cause:
        raise WrongShape("it has not what a header has") from cause
    if wrong is not None:
        raise WrongShape(f"its {wrong} is of another kind")


def _wrong_part(header, version):
    if header["version"] != int(version) or type(header["version"]) is not int:
        return "version"
    if not _is_text(header["run"], 64):
        return "run"
    if header["result"] is not None and not _is_result(header["result"]):
        return "result"
    if type(header["not_kept"]) is not list or not all(map(_is_not_kept, header["not_kept"])):
        return "list of what is not kept"
    if type(header["groups"]) is not list or not all(map(_is_group, header["groups"])):
        return "group"
    if header["extras"] is not None and not _is_place(header["extras"]):
        return "extras"
    if type(header["sources"]) is not dict or not all(map(_is_place, header["sources"].values())):
        return "sources"
    return None if type(header["modules"]) is dict else "modules"


def _is_text(value, most):
    return type(value) is str and len(value) <= most


def _is_size(value):
    return type(value) is int and 0 <= value <= MAX_SAFE


def _is_place(place):
    if type(place) is not list or len(place) != 4:
        return False
    name, offset, size, digest = place
    return _is_text(name, 4096) and _is_size(offset) and _is_size(size) and _is_text(digest, 64)


def _is_not_kept(item):
    return _is_text(item["name"], 1 << 20) and all(_is_text(item[key], 1024) for key in ("type", "reason"))


def _is_group(group):
    lists = [group["names"], group["types"], group["reprs"]]
    if not all(type(items) is list and len(items) == len(group["names"]) for items in lists):
        return False
    texts = [text for items in (*lists, group["reaches"]) for text in items]
    return group["names"] != [] and all(_is_text(text, 1 << 20) for text in texts) and _is_place(group["at"])


def _is_result(result):
    status = result["exit_code"]
    is_status = _is_size(status) and status < 256
    return result["outcome"] in ("ok", "raised", "exited") and is_status and _is_error(result["error"])


def _is_error(error):
    """As a run's error is told."""
    if error is None:
        return True
    return error.keys() == ERROR_SIZES.keys() and all(_is_text(error[key], most) for key, most in ERROR_SIZES.items())
