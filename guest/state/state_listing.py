"""What is saved, for people."""

from state_versions import is_whole, read_header, version_numbers

MAX_LISTED_VERSIONS = 100
OUTSIDE = ":"  # is in the names of what is saved like a variable and is none, such as an attribute of a module


def listing(limit):
    """What is saved, for people: variables of the newest version, and all versions. Reads headers only."""
    versions, variables, not_kept = [], [], []
    for version in version_numbers()[:MAX_LISTED_VERSIONS]:
        try:
            header = read_header(version)
            if not is_whole(header):
                continue  # only its small groups are there still, for later versions
            entry = {key: header[key] for key in ("version", "run", "at", "changed", "written", "bytes")}
            rows = variables_of(header)[:limit] if not versions else variables
        except Exception:
            continue  # damaged, or written by the guest: it is not listed
        if not versions:
            not_kept = header["not_kept"][:limit]
            variables = rows
        versions.append(entry)
    return {"versions": versions, "variables": variables, "not_kept": not_kept}


def compare(before, after, limit):
    """
    What differs between two kept versions: names with their groups' places, types and texts. Raises Damaged or OSError.
    """
    old, new = _described(read_header(before)), _described(read_header(after))
    shown = lambda name, place: {"name": name, "type": place[1], "repr": place[2]}  # noqa: E731
    changed = [name for name in new if name in old and new[name] != old[name]]
    return {
        "added": [shown(name, new[name]) for name in new if name not in old][:limit],
        "removed": [shown(name, old[name]) for name in old if name not in new][:limit],
        "changed": [
            {"name": name, "before": shown(name, old[name]), "after": shown(name, new[name])}
            for name in changed[:limit]
        ],
    }


def _described(header):
    """Name -> (digest of its group, type, text), in the order of the names."""
    found = {
        name: (group["at"][3], kind, text)
        for group in header["groups"]
        for name, kind, text in zip(group["names"], group["types"], group["reprs"], strict=True)
        if OUTSIDE not in name
    }
    found |= {name: (module, "module", f"<module {module!r}>") for name, module in header["modules"].items()}
    return dict(sorted(found.items()))


def variables_of(header):
    rows = [
        {"name": name, "type": kind, "repr": text, "bytes": group["at"][2], "shared_with": len(group["names"]) - 1}
        for group in header["groups"]
        for name, kind, text in zip(group["names"], group["types"], group["reprs"], strict=True)
        if OUTSIDE not in name
    ]
    rows += [
        {"name": name, "type": "module", "repr": f"<module {module!r}>", "bytes": 0, "shared_with": 0}
        for name, module in header["modules"].items()
    ]
    return sorted(rows, key=lambda row: row["name"])
