"""``manage.py setup``: topics, partitions of tables, and the first operator. Safe to repeat."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError

from lepton_apps.accounts.models import Role
from lepton_apps.accounts.services import create_operator
from lepton_apps.common.db import raw_connection
from lepton_apps.streaming.kafka import Admin, BrokerUnavailableError
from lepton_apps.streaming.retention import keep_house
from lepton_apps.verticals import registry


class Command(BaseCommand):
    help = (
        "Make the topics and table partitions that are missing and, where there is no account "
        "yet, an operator for every vertical with a one-time password that is printed. "
        "Example: manage.py setup --operator olga"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--operator",
            metavar="NAME",
            default="operator",
            help="the name of the first operator (default: operator)",
        )

    def handle(self, *, operator: str, **options: Any) -> None:
        house = keep_house(raw_connection())
        self.stdout.write(
            f"Table partitions: {len(house.made)} made, {len(house.dropped)} dropped."
        )
        try:
            self._make_topics()
        except BrokerUnavailableError as exc:
            raise CommandError(exc.detail) from exc
        if not User.objects.exists():
            roles = {vertical.key: Role.ADMIN for vertical in registry.verticals()}
            _, password = create_operator(None, operator, roles, is_superuser=True)
            self.stdout.write(f"Operator {operator}, one-time password: {password}")
            self.stdout.write(
                "It is kept nowhere and serves once: to choose a password. Lost? "
                f"manage.py reset_password {operator} makes another."
            )

    def _make_topics(self) -> None:
        admin = Admin()
        try:
            for vertical in registry.verticals():
                for stream in vertical.all_streams:
                    made = admin.ensure_topic(stream.topic, stream.partitions)
                    self.stdout.write(f"Topic {stream.topic}: {'made' if made else 'there'}.")
        finally:
            admin.close()
