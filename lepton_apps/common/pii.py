"""Pseudonyms: keyed tokens in place of what names a person, the same for the same value. Pure.

A token is ``tok.<key>.<26 characters>``: which key made it, and 130 bits of HMAC-SHA-256. Keys are a
chain: the second is applied to what the first one gave, and so on. So a stored token of an older
key is brought to the newest one without the value that it stands for (``renewed``), and whoever
has got hold of some keys, but not of all, can still not try values.
"""

from __future__ import annotations

import hmac
import re
from base64 import b32encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from lepton_apps.common.errors import LeptonError

PREFIX: Final = "tok"
_LENGTH: Final = 26  # characters of 5 bits
_SHORTEST_KEY: Final = 32  # characters
_KEY_NAME: Final = re.compile(r"[a-z0-9]{1,16}")
_TOKEN: Final = re.compile(rf"{PREFIX}\.([a-z0-9]{{1,16}})\.([a-z2-7]{{{_LENGTH}}})")


class PiiKeysRefusedError(LeptonError):
    """Keys that cannot be used. The sentence never holds one."""

    code = "pii_keys_refused"


class UnknownPiiKeyError(LeptonError):
    """A token was made by a key that is not there."""

    code = "pii_key_unknown"


@dataclass(frozen=True, slots=True, repr=False)
class Tokeniser:
    """Makes tokens by the newest key and brings older ones to it.

    Args:
        keys: secrets by name, the oldest first. None may ever be taken out or change its place
            while tokens are to stay the same; a new one is added at the end.

    >>> old = Tokeniser.of("a:" + "1" * 32)
    >>> new = Tokeniser.of("a:" + "1" * 32 + ",b:" + "2" * 32)
    >>> token = old.token("customer", "Ada")
    >>> new.renewed("customer", token) == new.token("customer", "Ada")
    True
    """

    keys: Mapping[str, bytes]

    @classmethod
    def of(cls, setting: str) -> Tokeniser:
        """Read ``NAME:SECRET,NAME:SECRET``, the oldest first.

        Raises:
            PiiKeysRefusedError: there is none, a name is used twice or not of ``a-z0-9``, or a
                secret is shorter than 32 characters.
        """
        keys: dict[str, bytes] = {}
        for place, part in enumerate(filter(None, map(str.strip, setting.split(","))), start=1):
            name, sign, secret = part.partition(":")
            if not sign or not _KEY_NAME.fullmatch(name):
                raise PiiKeysRefusedError(
                    f"PII_KEYS, part {place}, is not NAME:SECRET with a name of 1 to 16 of a-z0-9."
                )
            if name in keys:
                raise PiiKeysRefusedError(f"PII_KEYS has the key {name} twice.")
            if len(secret) < _SHORTEST_KEY:
                raise PiiKeysRefusedError(
                    f"The key {name} of PII_KEYS has {len(secret)} characters. "
                    f"It needs {_SHORTEST_KEY}: openssl rand -hex 32 makes one."
                )
            keys[name] = secret.encode()
        if not keys:
            raise PiiKeysRefusedError("PII_KEYS is not set: there is no key to make tokens by.")
        return cls(keys)

    @property
    def newest(self) -> str:
        """The name of the key that tokens are made by."""
        return list(self.keys)[-1]

    def token(self, field: str, value: str) -> str:
        """The token of a value. Tokens of different fields cannot be told to be of one value.

        What is a token already is renewed, so that rows may come twice.
        """
        if _TOKEN.fullmatch(value):
            return self.renewed(field, value)
        return self._through(field, value, list(self.keys))

    def tokens(self, field: str, value: str) -> list[str]:
        """Every token that the value has had, the newest first: to find what is stored."""
        names = list(self.keys)
        return [self._through(field, value, names[:count]) for count in range(len(names), 0, -1)]

    def renewed(self, field: str, token: str) -> str:
        """The token of the same value by the newest key.

        Raises:
            UnknownPiiKeyError: it is no token, or its key is not there.
        """
        found = _TOKEN.fullmatch(token)
        if found is None or found[1] not in self.keys:
            named = f"the key {found[1]}" if found else "no key"
            raise UnknownPiiKeyError(
                f"{token[:60]!r} is a token of {named}. PII_KEYS has: {', '.join(self.keys)}."
            )
        names = list(self.keys)
        later = names[names.index(found[1]) + 1 :]
        return self._through(field, found[2], later) if later else token

    def _through(self, field: str, body: str, names: list[str]) -> str:
        for name in names:
            digest = hmac.digest(self.keys[name], f"{field}\0{body}".encode(), "sha256")
            body = b32encode(digest).decode().lower()[:_LENGTH]
        return f"{PREFIX}.{names[-1]}.{body}"


def key_of(text: str) -> str | None:
    """The name of the key that made this token; None for what is no token."""
    found = _TOKEN.fullmatch(text)
    return found[1] if found else None
