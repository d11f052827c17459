from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from lepton_apps.accounts import services
from lepton_apps.accounts.models import Role
from lepton_apps.common.errors import LeptonError


class Command(BaseCommand):
    help = "Give an account a role in a vertical, or take it away."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username")
        parser.add_argument("vertical", help="the key of a registered vertical")
        parser.add_argument("role", nargs="?", choices=Role.values)
        parser.add_argument("--withdraw", action="store_true", help="take the role away")

    def handle(
        self, *, username: str, vertical: str, role: str | None, withdraw: bool, **options: Any
    ) -> None:
        if (role is None) != withdraw:
            raise CommandError(f"Name a role ({', '.join(Role.values)}) or --withdraw, not both.")
        try:
            user = services.account(username)
            if role is not None:
                services.grant(None, user, vertical, Role(role))
                self.stdout.write(f"{username!r} is now {role} of {vertical!r}.")
            elif services.withdraw(None, user, vertical):
                self.stdout.write(f"{username!r} has no role in {vertical!r} any more.")
            else:
                raise CommandError(f"{username!r} has no role in {vertical!r}.")
        except LeptonError as exc:
            raise CommandError(exc.detail) from exc
