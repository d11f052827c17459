from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings

from lepton_apps.common.commands import LeptonCommand
from lepton_apps.common.db import limit_transactions
from lepton_apps.common.metrics import serve_metrics
from lepton_apps.web import listening_socket, web_server

MAX_PORT = 65_535
SWITCH_S = 0.0005


class Command(LeptonCommand):
    help = "Serve the console, the REST API and the live feed until told to stop (SIGTERM, Ctrl-C)."
    examples = ("web", "web --host 0.0.0.0 --port 8000 --metrics-port 9100")
    speaks_json = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="default: %(default)s")
        parser.add_argument("--port", type=int, default=8000, help="0: any; default: %(default)s")
        parser.add_argument(
            "--metrics-port",
            type=int,
            default=settings.METRICS_PORT,
            help="Prometheus metrics of this process; 0: none; default: METRICS_PORT",
        )

    def handle(self, *, host: str, port: int, metrics_port: int, **options: Any) -> None:
        for name, value in (("--port", port), ("--metrics-port", metrics_port)):
            self.between(name, value, 0, MAX_PORT)
        limit_transactions()
        settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # WhiteNoise warns without it
        try:
            bound = listening_socket(host, port)
        except OSError as exc:
            self.refuse(f"--host {host} --port {port}: {exc.strerror or exc}.")
        try:
            serve_metrics(settings.METRICS_ADDRESS, metrics_port)
        except OSError as exc:
            self.refuse(f"--metrics-port {metrics_port}: {exc.strerror or exc}.")
        name = f"[{host}]" if ":" in host else host
        address = f"http://{name}:{bound.getsockname()[1]}"
        # A thread that computes must let the event loop in, which carries everybody else's bytes.
        sys.setswitchinterval(SWITCH_S)
        server = web_server(lambda: self.stdout.write(f"Lepton answers at {address}"))
        server.run(sockets=[bound])
        self.stdout.write("Web server stopped.")
