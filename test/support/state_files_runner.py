"""Does with guest/state, on a folder of the test's, what it is asked: lines of JSON in, lines of JSON out."""

import hashlib
import json
import sys
import types

FOLDER, GUEST = sys.argv[1:]
PLACE = '"/run/era-state"'

# The sandbox's Python has this module; an older one on the host has another.
sys.modules["_sha2"] = types.ModuleType("_sha2")
vars(sys.modules["_sha2"])["sha256"] = hashlib.sha256


def load(folder, name):
    with open(f"{GUEST}/{folder}/{name}.py") as file:
        text = file.read().replace(PLACE, json.dumps(FOLDER))
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(text, name, "exec"), vars(module))
    return module


load("agent", "wire")
load("state", "mapping")
load("state", "state_files").make_folders()
load("state", "pieces")
load("state", "state_header")
versions = load("state", "state_versions")
values = load("state", "state_values")
kept = load("state", "kept_versions").KeptVersions()


def read(request):
    try:
        header = versions.read_header(request["version"])
        for group in header["groups"]:
            with values.open_group(group) as file:
                file.read()
                file.verify()
    except (versions.Damaged, OSError) as error:
        return {"damaged": str(error)}
    return {"run": header["run"]}


def save(request):
    header, staged, durable = request["header"], request["staged"], request["durable"]
    kept.keep = request["keep"]
    data = bytes(request["size"])
    must = kept.must_flush(header)
    durable = durable or must
    versions.write_version(header, data, staged, kept.on_disk if durable else None)
    kept.add(header, staged, durable)
    return {"must_flush": must}


def commit(request):
    versions.commit_version(request["version"], True)
    return {}


DO = {"read": read, "save": save, "commit": commit, "numbers": lambda _request: {"numbers": versions.version_numbers()}}
for line in sys.stdin:
    request = json.loads(line)
    print(json.dumps(DO[request["do"]](request)), flush=True)
