"""``manage.py grant_access USERNAME VERTICAL ROLE``: give a role, or take it away."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from lepton_apps.accounts import services
from lepton_apps.accounts.models import Role
from lepton_apps.common.commands import LeptonCommand
from lepton_apps.common.errors import NotFoundError


class Command(LeptonCommand):
    help = "Give an account a role in a vertical, or take it away."
    examples = ("grant_access ann ops operator", "grant_access ann ops --withdraw")

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("username", help="the account")
        parser.add_argument("vertical", help="the key of a registered vertical")
        parser.add_argument(
            "role", nargs="?", choices=Role.values, help="may do what the ones before it may"
        )
        parser.add_argument("--withdraw", action="store_true", help="take the role away")

    def handle(
        self, *, username: str, vertical: str, role: str | None, withdraw: bool, **options: Any
    ) -> None:
        if (role is None) != withdraw:
            self.refuse(f"Name a role ({', '.join(Role.values)}) or --withdraw, not both.")
        user = services.account(username)
        if role is not None:
            services.grant(None, user, vertical, Role(role))
            line = f"{username!r} is now {role} of {vertical!r}."
        elif services.withdraw(None, user, vertical):
            line = f"{username!r} has no role in {vertical!r} any more."
        else:
            raise NotFoundError(f"{username!r} has no role in {vertical!r}.")
        self.answer({"username": username, "vertical": vertical, "role": role}, line)
