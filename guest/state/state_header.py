"""Whether the header of a version is one that a kernel has written: a guest can write one of its own, with the right
digest. The same rules as in guest/javascript/state-header.mjs."""

MAX_SAFE = (1 << 53) - 1
ERROR_SIZES = {"name": 1024, "message": 8192, "traceback": 65_536}
RESULT = {"outcome", "exit_code", "error"}
NOT_KEPT = {"name", "type", "reason"}


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
    if not is_text(header["run"], 64):
        return "run"
    if header["result"] is not None and not is_result(header["result"]):
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


def is_text(value, most):
    """`most` counts as the server does, and JavaScript: a character beyond the first 65,536 is two."""
    return type(value) is str and len(value.encode("utf-16-le", "surrogatepass")) <= 2 * most


def is_size(value):
    return type(value) is int and 0 <= value <= MAX_SAFE


def _is_place(place):
    if type(place) is not list or len(place) != 4:
        return False
    name, offset, size, digest = place
    return is_text(name, 4096) and is_size(offset) and is_size(size) and is_text(digest, 64)


def _is_not_kept(item):
    return (
        item.keys() == NOT_KEPT
        and is_text(item["name"], 1 << 20)
        and all(is_text(item[key], 1024) for key in ("type", "reason"))
    )


def _is_group(group):
    lists = [group["names"], group["types"], group["reprs"]]
    if not all(type(items) is list and len(items) == len(group["names"]) for items in lists):
        return False
    if type(group.get("is_pieced", False)) is not bool:
        return False
    texts = [text for items in (*lists, group["reaches"]) for text in items]
    return group["names"] != [] and all(is_text(text, 1 << 20) for text in texts) and _is_place(group["at"])


def is_result(result):
    """As a run's end is told."""
    if type(result) is not dict or result.keys() != RESULT:
        return False
    status = result["exit_code"]
    is_status = is_size(status) and status < 256
    return result["outcome"] in ("ok", "raised", "exited") and is_status and _is_error(result["error"])


def _is_error(error):
    """As a run's error is told."""
    if error is None:
        return True
    is_whole = type(error) is dict and error.keys() == ERROR_SIZES.keys()
    return is_whole and all(is_text(error[key], most) for key, most in ERROR_SIZES.items())
