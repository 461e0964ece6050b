"""Mutated frames of a kernel, as the agent hears them: each is taken, or refused as what it is. usage: fuzz_frames.py
GUEST COUNT; prints what became of them as JSON."""

import hashlib
import json
import random
import resource
import sys
import types

GUEST, COUNT = sys.argv[1], int(sys.argv[2])
sys.path.insert(0, f"{GUEST}/agent")
sys.path.insert(0, f"{GUEST}/state")
# The sandbox's Python has this module; an older one on the host has another.
sys.modules["_sha2"] = types.ModuleType("_sha2")
vars(sys.modules["_sha2"])["sha256"] = hashlib.sha256

import kernel_host  # noqa: E402
import wire  # noqa: E402

REPORT = {
    "type": "saved", "version": 1, "written": 1, "bytes": 1, "failed": None, "staged": False, "complete": False,
    "background": 0, "not_kept": [{"name": "x", "type": "int", "reason": "r"}],
}  # fmt: skip
VALID = [
    {"type": "done", "run": "r", "outcome": "ok", "exit_code": 0, "error": None, "saved": None},
    {"type": "done", "run": "r", "outcome": "raised", "exit_code": 1, "error": {"name": "E"}, "saved": REPORT},
    {"type": "done", "run": "r", "outcome": "exited", "exit_code": 3, "error": None, "saved": None, "restored": {}},
    {"type": "saving", "pid": 1},
    {"type": "shell", "pid": -1},
    REPORT,
    {"type": "late", "run": "r", "stream": "stdout"},
    {"type": "ready", "restored": None},
]
VALUES = [None, True, 0, -1, 1.5, 1e308, 2**63, "", "x" * 1000, "\udcff", "__class__", [], {}, [[]], {"": 0}]


class Owner:
    """Takes what the agent's parts would be told."""

    def __getattr__(self, name):
        return lambda *_arguments: None


def mutated(value, rng):
    if isinstance(value, dict) and value and rng.random() < 0.8:
        key = rng.choice(list(value))
        kind = rng.random()
        if kind < 0.2:
            return {name: item for name, item in value.items() if name != key}
        if kind < 0.3:
            return {**value, str(rng.choice(VALUES)): rng.choice(VALUES)}
        return {**value, key: mutated(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.5:
        return [mutated(value[0], rng), *value[1:]]
    return rng.choice(VALUES)


def main():
    rng = random.Random(5)
    host = kernel_host.KernelHost.__new__(kernel_host.KernelHost)
    host.__dict__.update(_owner=Owner(), kernel=types.SimpleNamespace(is_ready=False, own_pid=0, pid=1), epoch=0)
    host.found = None
    tally = {"tried": 0, "accepted": 0, "refused": 0}
    before = 0
    for count in range(COUNT):
        valid = rng.choice(VALID)
        header = valid if rng.random() < 0.2 else mutated(valid, rng)
        text = json.dumps(header).encode()
        frame = bytearray(wire.LENGTHS.pack(len(text), 0) + text)
        if rng.random() < 0.2:
            frame[rng.randrange(len(frame))] = rng.randrange(256)
        tally["tried"] += 1
        try:
            taken = wire.take_frame(frame)
            if taken is not None:
                host._on_frame(*taken)
                tally["accepted"] += 1
        except (wire.FrameError, KeyError, TypeError):  # as the agent catches them
            tally["refused"] += 1
        if count == COUNT // 10:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps({**tally, "grown_kib": grown}))


main()
