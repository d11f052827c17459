"""``manage.py create_token USERNAME NAME``: an API token, shown once."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from lepton_apps.accounts import services
from lepton_apps.accounts.models import Purpose, Role
from lepton_apps.common.commands import LeptonCommand


class Command(LeptonCommand):
    help = (
        "Create an API token of an account and print it; it is shown once and stored as a hash. "
        "It may do what its account may, or less: name verticals and the strongest role."
    )
    examples = (
        "create_token ann collector",
        "create_token ann scorer --vertical fintech --role viewer --days 30",
        "create_token ann north --federation --vertical fintech --days 30",
        "create_token ann my-program --quiet",
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("username", help="the account that the token acts as")
        parser.add_argument("name", help="what the token is for, to recognise it later")
        parser.add_argument(
            "--vertical",
            action="append",
            dest="verticals",
            metavar="KEY",
            help="a vertical that it is for; may be repeated; default: all that the account has",
        )
        parser.add_argument(
            "--role",
            choices=Role.values,
            help="the strongest role that it may use; default: whatever the account has",
        )
        parser.add_argument(
            "--days",
            type=int,
            default=services.TOKEN_DAYS,
            help="days until it expires (default: %(default)s)",
        )
        parser.add_argument(
            "--federation",
            action="store_true",
            help="for whoever coordinates a federation in the one --vertical, and for nothing else",
        )
        parser.add_argument("--quiet", action="store_true", help="print the token alone")

    def handle(
        self,
        *,
        username: str,
        name: str,
        verticals: list[str] | None,
        role: str | None,
        days: int,
        federation: bool,
        quiet: bool,
        **options: Any,
    ) -> None:
        if not 1 <= days <= services.MAX_TOKEN_DAYS:
            self.refuse(f"--days {days} is not between 1 and {services.MAX_TOKEN_DAYS}.")
        token, text = services.create_token(
            None,
            services.account(username),
            name,
            expires_at=services.expiry_after(days),
            verticals=verticals,
            role=Role(role) if role else None,
            purpose=Purpose.FEDERATION if federation else Purpose.ANYTHING,
        )
        if quiet and not self.as_json:
            self.stdout.write(text)
            return
        self.answer(
            {
                "id": token.pk,
                "username": username,
                "name": name,
                "verticals": token.verticals,
                "role": token.role or None,
                "purpose": token.purpose or None,
                "expires_at": token.expires_at.isoformat(),
                "token": text,
            },
            f"Token {token.pk} of {username!r} was created; valid until "
            f"{token.expires_at:%Y-%m-%d %H:%M} UTC. Shown this once:",
            text,
        )
