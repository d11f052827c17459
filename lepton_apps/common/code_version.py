"""Which code this is: what a model's manifest says that it was trained by."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path

from django.conf import settings

TIMEOUT_S = 5.0
# Never a tag's name: the whole hash, and a mark when files differ from it.
DESCRIBE = ("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


@cache
def code_version() -> str:
    """The commit, with ``-dirty`` when tracked files differ from it; else the release's number.

    Asked of the checkout itself and once in a process: a variable could say anything.
    """
    return commit_of(Path(settings.BASE_DIR)) or str(settings.VERSION)


def commit_of(folder: Path) -> str | None:
    """The commit that is checked out in exactly this folder; None where there is none to tell."""
    if not (folder / ".git").exists():  # a checkout above us is of something else
        return None
    try:
        done = subprocess.run(  # noqa: S603 - fixed words and our own folder
            ["git", "-C", str(folder), *DESCRIBE],  # noqa: S607 - found by the system's own path
            env={"PATH": os.defpath},  # no GIT_DIR of whoever started us
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
