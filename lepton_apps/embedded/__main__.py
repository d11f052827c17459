"""`python -m lepton_apps.embedded run`: the whole server; `... servers`: database and broker alone."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from lepton_apps.common.env import EnvError, env_int, env_path, env_secret, env_str
from lepton_apps.common.errors import LeptonError
from lepton_apps.embedded.folder import DataFolder
from lepton_apps.embedded.logs import Terminal
from lepton_apps.embedded.servers import Named
from lepton_apps.embedded.supervisor import ROOT, RunOptions, Supervisor


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m lepton_apps.embedded", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="database, broker, web, workers and simulators")
    servers = commands.add_parser("servers", help="database and broker, until Ctrl-C")
    for each in (run, servers):
        each.add_argument(
            "--data", type=Path, metavar="DIR", help="data folder (LEPTON_DATA_DIR, .lepton)"
        )
    run.add_argument("--port", type=int, default=8000, help="of the web process (8000)")
    run.add_argument("--host", default="127.0.0.1", help="address it listens on (127.0.0.1)")
    run.add_argument("--workers", type=int, default=1, help="for each scored stream (1)")
    run.add_argument("--no-simulate", action="store_true", help="no simulated records")
    return top


def options_of(arguments: argparse.Namespace) -> RunOptions:
    if arguments.command == "servers":
        return RunOptions(servers_only=True)
    if not 1 <= arguments.port <= 65_535:
        raise EnvError(f"--port {arguments.port} is not between 1 and 65535.")
    if arguments.workers < 0:
        raise EnvError(f"--workers {arguments.workers} is below the minimum of 0.")
    return RunOptions(
        port=arguments.port,
        host=arguments.host,
        workers=arguments.workers,
        simulate=not arguments.no_simulate,
        metrics_port=env_int("METRICS_PORT", 0, minimum=0, maximum=65_000),
    )


def main() -> int:
    arguments = parser().parse_args()
    try:
        options = options_of(arguments)
        data = arguments.data or env_path("LEPTON_DATA_DIR") or ROOT / ".lepton"
        named = Named(
            database_url=env_secret("DATABASE_URL"),
            bootstrap_servers=env_str("KAFKA_BOOTSTRAP_SERVERS", "") or None,
            secret_key=env_secret("SECRET_KEY"),
            kafka_home=env_path("LEPTON_KAFKA_HOME"),
        )
        Supervisor(DataFolder(data), named, options, env=os.environ, terminal=Terminal()).run()
    except EnvError as exc:
        sys.stderr.write(f"{exc}\n")
        return 2
    except LeptonError as exc:
        sys.stderr.write(f"{exc}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
