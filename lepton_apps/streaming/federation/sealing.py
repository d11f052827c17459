"""A secret that waits in the database, under a key that is made of SECRET_KEY and in no backup.

ChaCha20-Poly1305; the key follows by HKDF, so that it serves nothing else. What a secret is of is
bound to it: put into another row it does not open.
"""

from __future__ import annotations

import secrets
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

from lepton_apps.streaming.federation.errors import FederationTryError

PURPOSE: Final = b"lepton federation try 1"
NONCE_BYTES: Final = 12


def sealed(secret: bytes, about: str) -> bytes:
    """A nonce and the secret, which opens again with the same ``about`` alone."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + _cipher().encrypt(nonce, secret, about.encode())


def opened(body: bytes, about: str) -> bytes:
    """Raises FederationTryError: SECRET_KEY was changed in between, or the row."""
    try:
        return _cipher().decrypt(body[:NONCE_BYTES], body[NONCE_BYTES:], about.encode())
    except InvalidTag:
        raise FederationTryError(
            f"The secret of {about} does not open; SECRET_KEY was changed since. Join again."
        ) from None


def _cipher() -> ChaCha20Poly1305:
    key = HKDF(algorithm=SHA256(), length=32, salt=None, info=PURPOSE).derive(
        settings.SECRET_KEY.encode()
    )
    return ChaCha20Poly1305(key)
