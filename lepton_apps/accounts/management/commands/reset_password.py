from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from lepton_apps.accounts import services
from lepton_apps.common.errors import NotFoundError


class Command(BaseCommand):
    help = (
        "Give an account a new one-time password, which is printed and kept nowhere. Its sessions "
        "end; its API tokens stay."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username")

    def handle(self, *, username: str, **options: Any) -> None:
        try:
            user = services.account(username)
        except NotFoundError as exc:
            raise CommandError(exc.detail) from exc
        self.stdout.write(f"One-time password: {services.replace_password(None, user)}")
