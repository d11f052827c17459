"""System checks of what protects accounts: settings that are right on a laptop and wrong elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Tags, Warning, register

LOCAL: Final = frozenset({"localhost", "127.0.0.1", "[::1]", "::1", ".localhost", "testserver"})
MIN_SECRET_KEY: Final = 32  # characters; 32 of them by chance are 192 bits
MIN_SECRET_KEY_KINDS: Final = 8  # different characters: "aaaa..." is long and no secret


@register(Tags.security)
def the_site_is_protected(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    messages: list[CheckMessage] = []

    def warn(code: str, sentence: str, hint: str) -> None:
        messages.append(Warning(sentence, hint=hint, id=code))

    hosts = settings.ALLOWED_HOSTS
    public = [host for host in hosts if host not in LOCAL]
    if settings.DEBUG:
        warn(
            "lepton.W010", "DEBUG is on: error pages show settings and code.", "Leave DEBUG unset."
        )
    if public and not settings.SECURE_COOKIES:
        warn(
            "lepton.W011",
            f"ALLOWED_HOSTS names {public[0]}, and SECURE_COOKIES is off: sessions travel in clear.",
            "End TLS in front of the web process and set SECURE_COOKIES=true.",
        )
    if "*" in hosts:
        warn(
            "lepton.W012",
            "ALLOWED_HOSTS holds *: any name is taken for this site's, by sockets too.",
            "Name the hosts by which people reach this site.",
        )
    key = settings.SECRET_KEY
    if key and (len(key) < MIN_SECRET_KEY or len(set(key)) < MIN_SECRET_KEY_KINDS):
        warn(
            "lepton.W013",
            f"SECRET_KEY is no secret: {len(key)} characters, {len(set(key))} different ones.",
            f"Take at least {MIN_SECRET_KEY} characters by chance: openssl rand -base64 36",
        )
    if settings.SECURE_COOKIES and not settings.CSRF_TRUSTED_ORIGINS:
        warn(
            "lepton.W014",
            "SECURE_COOKIES is on and CSRF_TRUSTED_ORIGINS is empty: forms will be refused.",
            "Set CSRF_TRUSTED_ORIGINS to https:// and the name of the site.",
        )
    return messages
