"""``manage.py setup``: topics, partitions of tables, and the first operator. Safe to repeat."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError

from lepton_apps.accounts.models import Role
from lepton_apps.accounts.services import create_operator
from lepton_apps.common.commands import LeptonCommand
from lepton_apps.common.db import raw_connection
from lepton_apps.streaming.kafka import Admin
from lepton_apps.streaming.retention import keep_house
from lepton_apps.verticals import registry


class Command(LeptonCommand):
    help = (
        "Make the topics and table partitions that are missing and, where there is no account "
        "yet, an operator for every vertical with a one-time password that is printed."
    )
    examples = ("setup", "setup --operator olga")

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--operator",
            metavar="NAME",
            default="operator",
            help="the name of the first operator (default: operator)",
        )
        super().add_arguments(parser)

    def handle(self, *, operator: str, **options: Any) -> None:
        try:
            User.username_validator(operator)
        except ValidationError as exc:
            self.refuse(f"--operator {operator!r}: {' '.join(exc.messages)}")
        house = keep_house(raw_connection())
        busy = " A backup, or somebody else who keeps house, is at work." if house.was_busy else ""
        self.say(f"Table partitions: {len(house.made)} made, {len(house.dropped)} dropped.{busy}")
        topics = self._make_topics()
        facts: dict[str, Any] = {
            "partitions_made": house.made,
            "partitions_dropped": house.dropped,
            "topics_made": [topic for topic, made in topics.items() if made],
            "topics_there": [topic for topic, made in topics.items() if not made],
            "operator": None,
        }
        lines = []
        if not User.objects.exists():
            roles = {vertical.key: Role.ADMIN for vertical in registry.verticals()}
            _, password = create_operator(None, operator, roles, is_superuser=True)
            facts["operator"] = {"name": operator, "one_time_password": password}
            lines = [
                f"Operator {operator}, one-time password: {password}",
                "It is kept nowhere and serves once: to choose a password. Lost? "
                f"manage.py reset_password {operator} makes another.",
            ]
        self.answer(facts, *lines)

    def _make_topics(self) -> dict[str, bool]:
        """Each topic, and whether it was made just now."""
        topics: dict[str, bool] = {}
        admin = Admin()
        try:
            for vertical in registry.verticals():
                for stream in vertical.all_streams:
                    made = admin.ensure_topic(stream.topic, stream.partitions)
                    topics[stream.topic] = made
                    self.say(f"Topic {stream.topic}: {'made' if made else 'there'}.")
        finally:
            admin.close()
        return topics
