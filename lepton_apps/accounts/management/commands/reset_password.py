"""``manage.py reset_password USERNAME``: a new one-time password."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from lepton_apps.accounts import services
from lepton_apps.common.commands import LeptonCommand


class Command(LeptonCommand):
    help = (
        "Give an account a new one-time password, which is printed and kept nowhere. Its sessions "
        "end; its API tokens stay."
    )
    examples = ("reset_password ann",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("username", help="the account")

    def handle(self, *, username: str, **options: Any) -> None:
        password = services.replace_password(None, services.account(username))
        self.answer(
            {"username": username, "one_time_password": password},
            f"One-time password: {password}",
        )
