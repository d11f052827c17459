#!/usr/bin/env python
"""Django's commands, with this project's settings."""

from __future__ import annotations

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lepton_apps.settings")
    try:
        from django.core.management import execute_from_command_line

        from lepton_apps.common.env import EnvError
    except ImportError as exc:
        raise SystemExit(
            "Django is not installed in this Python. Use .venv/bin/python, which `make setup` makes."
        ) from exc
    try:
        execute_from_command_line(sys.argv)
    except EnvError as exc:
        sys.stderr.write(f"{exc}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
