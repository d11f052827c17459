"""``manage.py create_operator NAME``: an account, its roles, and its one-time password."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from lepton_apps.accounts import services
from lepton_apps.accounts.models import Role
from lepton_apps.common.commands import LeptonCommand
from lepton_apps.verticals import registry


class Command(LeptonCommand):
    help = "Create an account and print its one-time password, which is kept nowhere."
    examples = (
        "create_operator ann",
        "create_operator ann --vertical ops --role viewer",
        "create_operator root --superuser",
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("username", help="the new account's name")
        parser.add_argument(
            "--vertical",
            action="append",
            dest="verticals",
            metavar="KEY",
            help="a vertical where the account gets the role; may be repeated; default: every one",
        )
        parser.add_argument(
            "--role",
            choices=Role.values,
            default=Role.OPERATOR.value,
            help="in each of them (default: %(default)s)",
        )
        parser.add_argument("--superuser", action="store_true", help="may do everything everywhere")

    def handle(
        self,
        *,
        username: str,
        verticals: list[str] | None,
        role: str,
        superuser: bool,
        **options: Any,
    ) -> None:
        keys = verticals or [vertical.key for vertical in registry.verticals()]
        _, password = services.create_operator(
            None, username, {key: Role(role) for key in keys}, is_superuser=superuser
        )
        what = "superuser" if superuser else f"{role} of {', '.join(keys)}"
        self.answer(
            {
                "username": username,
                "is_superuser": superuser,
                "roles": dict.fromkeys(keys, role),
                "one_time_password": password,
            },
            f"Account {username!r} was created ({what}).",
            f"One-time password: {password}",
        )
