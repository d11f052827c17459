"""A stand-in for manage.py: what the supervisor starts, without what they would do.

``DIARY`` names a file that gets a line for each start and each end that was asked for.
``FAIL`` names a command that fails.
"""

from __future__ import annotations

import http.server
import json
import os
import signal
import sys
import time
from types import FrameType

STREAMS = {
    "streams": [
        {"name": "toy.records", "kind": "scored"},
        {"name": "toy.labels", "kind": "labels"},
    ],
    "simulators": ["toy"],
}


class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()


def note(text: str) -> None:
    with open(os.environ["DIARY"], "a", encoding="utf-8") as diary:
        diary.write(f"{text} {os.getpid()}\n")


def main() -> None:
    command, *arguments = sys.argv[1:]
    name = " ".join([command, *arguments[:1]]) if command in {"worker", "simulate"} else command
    note(f"start {name}")
    if command == os.environ.get("FAIL"):
        sys.exit(1)
    if command == "streams":
        sys.stdout.write(json.dumps(STREAMS))
    if command == "setup":
        sys.stdout.write("Operator ann, one-time password: opensesame\n")
    if command not in {"web", "worker", "simulate"}:
        return

    def end(signum: int, frame: FrameType | None) -> None:
        note(f"end {name}")
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    if command == "web":
        port = int(arguments[arguments.index("--port") + 1])
        http.server.HTTPServer(("127.0.0.1", port), Ready).serve_forever()
    while True:
        time.sleep(60)


if __name__ == "__main__":
    main()
