#!/usr/bin/env python
"""Django's commands, with this project's settings."""

from __future__ import annotations

import os
import sys

WRONG_SETTING = 2  # as for wrong arguments
INTERRUPTED = 130  # as the shell has it for Ctrl-C


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lepton_apps.settings")
    try:
        from django.core.management import execute_from_command_line

        from lepton_apps.common.env import EnvError
    except ImportError as exc:
        raise SystemExit(
            "Django is not installed in this Python. Use .venv/bin/python, which `make setup` makes."
        ) from exc
    from lepton_apps.common.env import EnvError, note_errors

    if sys.argv[1:2] == ["doctor"]:
        note_errors()  # it tells of all of them, and of what else there is
    try:
        execute_from_command_line(sys.argv)
    except EnvError as exc:
        sys.stderr.write(f"{exc} See docs/settings.md, and `manage.py doctor`.\n")
        raise SystemExit(WRONG_SETTING) from None
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None


if __name__ == "__main__":
    main()
