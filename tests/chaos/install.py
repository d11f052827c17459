"""``python -m tests.chaos.install VERTICAL``: the load's model becomes champion of a database."""

from __future__ import annotations

import sys

import django

if __name__ == "__main__":
    django.setup()
    from tests.champions import install
    from tests.chaos.loads import LOADS

    load = LOADS[sys.argv[1]]
    install(load.stream, load.model())
