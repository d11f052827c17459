"""``manage.py tokens [USERNAME]``: which API tokens there are, and when they end."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import datetime
from typing import Any

from lepton_apps.accounts import selectors, services
from lepton_apps.accounts.models import ApiToken
from lepton_apps.common.commands import LeptonCommand


class Command(LeptonCommand):
    help = "List API tokens: whose, what for, how far they reach, last use and end. No secrets."
    examples = ("tokens", "tokens ann --all", "tokens --json")

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("username", nargs="?", help="of this account alone")
        parser.add_argument(
            "--all", action="store_true", dest="all_of_them", help="expired and revoked ones too"
        )

    def handle(self, *, username: str | None, all_of_them: bool, **options: Any) -> None:
        if username is not None:
            services.account(username)
        found = selectors.all_tokens(username, all_of_them=all_of_them)
        self.answer(
            {"tokens": [_facts(token) for token in found]},
            *([_line(token) for token in found] or ["No token counts. --all shows former ones."]),
        )


def _facts(token: ApiToken) -> dict[str, Any]:
    return {
        "id": token.pk,
        "username": token.user.get_username(),
        "name": token.name,
        "prefix": token.prefix,
        "state": selectors.state_of(token),
        "verticals": token.verticals,
        "role": token.role or None,
        "purpose": token.purpose or None,
        "created_at": token.created_at.isoformat(),
        "expires_at": token.expires_at.isoformat(),
        "last_used_at": token.last_used_at and token.last_used_at.isoformat(),
        "revoked_at": token.revoked_at and token.revoked_at.isoformat(),
    }


def _line(token: ApiToken) -> str:
    may = token.purpose or token.role or "any role"
    scope = f"{may} of {', '.join(token.verticals or ['everything'])}"
    return (
        f"{token.pk:>6}  {token.prefix}…  {token.user.get_username():16} {token.name:24} "
        f"{scope:32} used {_day(token.last_used_at)}, ends {_day(token.expires_at)}: "
        f"{selectors.state_of(token)}"
    )


def _day(at: datetime | None) -> str:
    return "never" if at is None else f"{at:%Y-%m-%d}"
