from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from lepton_apps.accounts import services
from lepton_apps.accounts.models import Role
from lepton_apps.common.errors import LeptonError
from lepton_apps.verticals import registry


class Command(BaseCommand):
    help = "Create an account and print its one-time password, which is kept nowhere."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username")
        parser.add_argument(
            "--vertical",
            action="append",
            dest="verticals",
            metavar="KEY",
            help="a vertical where the account gets the role; may be repeated; default: every one",
        )
        parser.add_argument("--role", choices=Role.values, default=Role.OPERATOR.value)
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
        try:
            User.username_validator(username)
            _, password = services.create_operator(
                None, username, {key: Role(role) for key in keys}, is_superuser=superuser
            )
        except ValidationError as exc:
            raise CommandError(f"username {username!r}: {' '.join(exc.messages)}") from exc
        except LeptonError as exc:
            raise CommandError(exc.detail) from exc
        self.stdout.write(f"Account {username!r} was created ({role} of {', '.join(keys)}).")
        self.stdout.write(f"One-time password: {password}")
