"""The peer: drives a Jupyter Server for the benchmark. Reads one command a line, answers one JSON line with
milliseconds.

commands: start | run N | run_quick N | cycle SECONDS | memory | stop
A plain WebSocket client pays a 40 ms stall of delayed acknowledgements; `run_quick` sets TCP_NODELAY and TCP_QUICKACK.
usage: jupyter_peer.py URL TOKEN
"""

import http.client
import json
import socket
import sys
import time
import uuid

import websocket

HOST, _, PORT = sys.argv[1].removeprefix("http://").partition(":")
TOKEN = sys.argv[2]


def rest(method, path, body=None):
    connection = http.client.HTTPConnection(HOST, int(PORT), timeout=60)
    headers = {"Authorization": f"token {TOKEN}", "Content-Type": "application/json"}
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    response = connection.getresponse()
    text = response.read()
    connection.close()
    return json.loads(text) if text else None


class Kernel:
    def __init__(self, quick):
        self.quick = quick
        self.id = rest("POST", "/api/kernels", {"name": "python3"})["id"]
        options = (
            ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)) if quick else ()
        )
        url = f"ws://{HOST}:{PORT}/api/kernels/{self.id}/channels?token={TOKEN}"
        self.line = websocket.create_connection(url, timeout=60, sockopt=options)

    def run(self, code):
        """Milliseconds until both the reply and the idle status of this request are there."""
        started = time.perf_counter()
        request = uuid.uuid4().hex
        header = {
            "msg_id": request,
            "username": "",
            "session": "bench",
            "msg_type": "execute_request",
            "version": "5.3",
        }
        content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False, "stop_on_error": True}
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
        self.line.send(json.dumps(message))
        waiting = {"execute_reply", "idle"}
        while waiting:
            answer = json.loads(self.line.recv())
            if self.quick:
                # Not kept by the socket: it has to be set again for each acknowledgement.
                self.line.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            if answer["parent_header"].get("msg_id") == request:
                waiting.discard(answer["msg_type"])
                waiting.discard(answer["content"].get("execution_state"))
        return (time.perf_counter() - started) * 1000

    def stop(self):
        self.line.close()
        rest("DELETE", f"/api/kernels/{self.id}")


def start_to_first_result():
    started = time.perf_counter()
    kernel = Kernel(quick=True)
    kernel.run("x = 1")
    return kernel, (time.perf_counter() - started) * 1000


def cycle(seconds):
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        started = time.perf_counter()
        kernel, _ = start_to_first_result()
        kernel.stop()
        times.append((time.perf_counter() - started) * 1000)
    return times


def memory(kernel):
    """Proportional set size of the kernel's process, in KiB."""
    kernel.run("import os; open('/tmp/era-bench-pid', 'w').write(str(os.getpid()))")
    with open("/tmp/era-bench-pid") as file:
        pid = file.read()
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return [int(line.split()[1]) for line in file if line.startswith("Pss:")]


def main():
    kernels = {}

    def kernel(quick):
        if quick not in kernels:
            kernels[quick] = Kernel(quick)
            kernels[quick].run("x = 1")
        return kernels[quick]

    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        if command == "start":
            started, milliseconds = start_to_first_result()
            started.stop()
            answer = [milliseconds]
        elif command in ("run", "run_quick"):
            target = kernel(command == "run_quick")
            answer = [target.run("x = 1") for _ in range(int(argument))]
        elif command == "cycle":
            answer = cycle(float(argument))
        elif command == "memory":
            answer = memory(kernel(True))
        else:
            break
        print(json.dumps(answer), flush=True)
    for running in kernels.values():
        running.stop()


main()
