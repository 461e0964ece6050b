"""The peers of persistence: what dill and cloudpickle take to save and load a whole namespace, in this process.

Reads one command a line, answers one JSON line of milliseconds.
commands: dill small|large N | cloudpickle small|large N | stop
"""

import json
import os
import sys
import tempfile
import time
import types

import cloudpickle
import dill
import numpy

SMALL = """
import json, math
counter = 41
items = [1, 2, 3]
table = {"a": items, "b": {"c": 1.5}}
def use(): return counter + len(items)
class Point:
    def __init__(self, x): self.x = x
point = Point(7)
"""


def namespace_of(size):
    module = types.ModuleType("session")
    sys.modules["session"] = module
    exec(SMALL, vars(module))
    if size == "large":
        module.big = numpy.arange(200 * (1 << 20) // 8)
    return module


def by_dill(module, path):
    dill.dump_module(path, module)
    yield
    dill.load_module(path, module)


def by_cloudpickle(module, path):
    content = {name: value for name, value in vars(module).items() if not name.startswith("__")}
    with open(path, "wb") as file:
        cloudpickle.dump(content, file)
    yield
    with open(path, "rb") as file:
        cloudpickle.load(file)


def measure(way, size, count):
    """Dump and load times, in turn."""
    module = namespace_of(size)
    times = []
    path = os.path.join(tempfile.mkdtemp(prefix="era-bench-"), "state")
    for _ in range(count):
        started = time.perf_counter()
        steps = way(module, path)
        next(steps)
        dumped = time.perf_counter()
        next(steps, None)
        times += [(dumped - started) * 1000, (time.perf_counter() - dumped) * 1000]
    os.unlink(path)
    return times


def main():
    ways = {"dill": by_dill, "cloudpickle": by_cloudpickle}
    for line in sys.stdin:
        command, *arguments = line.split()
        if command not in ways:
            break
        size, count = arguments
        print(json.dumps(measure(ways[command], size, int(count))), flush=True)


main()
