"""``manage.py revoke_token ID``: make an API token worthless."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from lepton_apps.accounts import services
from lepton_apps.common.commands import LeptonCommand


class Command(LeptonCommand):
    help = "Make an API token worthless from now on; its sockets close. Ids: manage.py tokens"
    examples = ("revoke_token 7",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("token_id", type=int, metavar="ID", help="as manage.py tokens lists it")

    def handle(self, *, token_id: int, **options: Any) -> None:
        token = services.revoke_token(None, token_id)
        self.answer(
            {"id": token.pk, "revoked_at": token.revoked_at and token.revoked_at.isoformat()},
            f"Token {token.pk} ({token.name}) of {token.user.get_username()!r} is revoked.",
        )
