"""``python -m tests.chaos.install``: the tests' payments model becomes champion of a database."""

from __future__ import annotations

import django

if __name__ == "__main__":
    django.setup()
    from tests.champions import PAYMENTS, install, payments_model

    install(PAYMENTS, payments_model())
