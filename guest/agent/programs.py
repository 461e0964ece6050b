"""Programs that a client has started beside the runs: servers, watchers, terminals.

They belong to the sandbox: they outlive runs, kernels and servers, and end with it. What one prints is kept here, as
much of it as there is room for; a server reads it by places, which are counts of bytes, and waits for more.
"""

import os

from program import Program, Refused
from wire import parse_json, to_json

MAX_ALIVE, MAX_KNOWN = 32, 64
MAX_WAITING = 256


class Programs:
    """`send(header, payload)` tells the server; each of its questions has a ticket, which the answer has, too."""

    def __init__(self, loop, send):
        self._loop = loop
        self._send = send
        self._programs = {}  # name -> Program, in the order of their beginnings
        self._waiting = {}  # ticket -> (name, place)
        self._acts = {
            "start": self._start,
            "list": lambda _header, _payload: [program.describe() for program in self._programs.values()],
            "input": lambda header, payload: self._find(header).put(payload, header["end"]),
            "signal": lambda header, _: self._signal(self._find(header), header["signal"]),
            "resize": lambda header, _: self._find(header).resize(header["terminal"]),
            "forget": self._forget,
        }

    @property
    def sessions(self):
        """Sessions of processes: what belongs to a program is no part of a run."""
        return {program.pid for program in self._programs.values() if program.is_alive}

    def ask(self, header, payload):
        act, ticket = header["act"], header["ticket"]
        if act == "read":
            self._read(ticket, header)
        elif act == "unread":
            self._waiting.pop(ticket, None)
        else:
            self._answer(ticket, self._acts[act], header, payload)

    def _answer(self, ticket, act, header, payload):
        try:
            answer = act(header, payload)
        except Refused as refusal:
            self._refuse(ticket, refusal.code, str(refusal))
        except OSError as failure:
            self._refuse(ticket, "failed", failure.strerror or str(failure))
        else:
            self._send({"type": "told", "ticket": ticket, "error": None}, b"" if answer is None else to_json(answer))

    def _refuse(self, ticket, code, message):
        self._send({"type": "told", "ticket": ticket, "error": {"code": code, "message": message[:1_024]}}, b"")

    def stop_telling(self):
        """Nobody is on the line: whoever comes asks anew."""
        self._waiting.clear()

    def refuse(self, header):
        """While the sandbox is between two states."""
        self._refuse(header["ticket"], "busy", "the session is about to sleep, or has just woken")

    def _start(self, header, payload):
        if header["program"] in self._programs:  # asked for again, by who has not heard the answer
            return self._find(header).describe()
        spec = {**header, **parse_json(payload)}
        alive = sum(program.is_alive for program in self._programs.values())
        if alive >= MAX_ALIVE:
            raise Refused("too_many", f"a session has {MAX_ALIVE} of them at the same time at most")
        for name in [name for name, program in self._programs.items() if not program.is_alive]:
            if len(self._programs) < MAX_KNOWN:
                break
            self._programs.pop(name).close()
        program = Program(self._loop, header["program"], spec, self._tell)
        self._programs[program.name] = program
        return program.describe()

    def _find(self, header):
        program = self._programs.get(header["program"])
        if program is None:
            raise Refused("unknown", "there is none with this id now")
        return program

    @staticmethod
    def _signal(program, number):
        if not program.is_alive:
            raise Refused("ended", "it has ended")
        try:
            os.killpg(program.pid, number)
        except ProcessLookupError:
            raise Refused("ended", "it has ended") from None

    def _forget(self, header, _payload):
        program = self._programs.pop(self._find(header).name)
        program.close()
        for ticket, after in self._waiting_for(program):
            self._tell_read(ticket, None, after)
        return program.describe()

    # Its output.

    def _read(self, ticket, header):
        try:
            program = self._find(header)
            if len(self._waiting) >= MAX_WAITING:
                raise Refused("too_many_readers", f"{MAX_WAITING} wait for output in this session")
        except Refused as refusal:
            self._refuse(ticket, refusal.code, str(refusal))
            return
        self._waiting[ticket] = program.name, header["after"]
        self._tell(program)

    def _waiting_for(self, program):
        return [(ticket, after) for ticket, (name, after) in self._waiting.items() if name == program.name]

    def _tell(self, program):
        """Answers those that wait for more of it, if there is more."""
        for ticket, after in self._waiting_for(program):
            found = program.output.read(after)
            if found is not None or not program.is_alive:
                self._tell_read(ticket, found, after)

    def _tell_read(self, ticket, found, after):
        """What there is; that it has ended, as output of no stream."""
        del self._waiting[ticket]
        place, stream, content = found or (after, None, b"")
        self._send({"type": "read", "ticket": ticket, "stream": stream, "at": place}, content)

    def on_ended(self, pid, status):
        """Answers whether the process was one of these."""
        for program in self._programs.values():
            if program.pid == pid and program.is_alive:
                program.end(status)
                return True
        return False
