from __future__ import annotations

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from lepton_apps.accounts import services
from lepton_apps.common import clock
from lepton_apps.common.errors import LeptonError

MAX_DAYS = 3650


class Command(BaseCommand):
    help = "Create an API token of an account and print it; it is shown once and stored as a hash."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username", help="the account that the token acts as")
        parser.add_argument("name", help="what the token is for, to recognise it later")
        parser.add_argument(
            "--days",
            type=int,
            default=services.TOKEN_DAYS,
            help="days until it expires (default: %(default)s)",
        )
        parser.add_argument("--quiet", action="store_true", help="print the token alone")

    def handle(self, *, username: str, name: str, days: int, quiet: bool, **options: Any) -> None:
        if not 1 <= days <= MAX_DAYS:
            raise CommandError(f"--days {days} is not between 1 and {MAX_DAYS}.")
        if not 1 <= len(name) <= 100:
            raise CommandError("The name of a token has 1 to 100 characters.")
        try:
            token, text = services.create_token(
                None,
                services.account(username),
                name,
                expires_at=clock.now() + timedelta(days=days),
            )
        except LeptonError as exc:
            raise CommandError(exc.detail) from exc
        if quiet:
            self.stdout.write(text)
            return
        self.stdout.write(
            f"Token {token.pk} of {username!r} was created; valid until "
            f"{token.expires_at:%Y-%m-%d %H:%M} UTC. Shown this once:"
        )
        self.stdout.write(text)
