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
