"""A sum of vectors of which nobody sees a part: pairwise masks that cancel (Bonawitz and others 2017).

Every two sites agree on a key of which the coordinator sees the public halves alone (X25519), and
draw the same mask from it (HKDF, ChaCha20); one adds it, the other takes it off. All numbers are
fixed-point and add up modulo 2**64, so that masks cancel to the bit. Each masked vector for itself
is uniform noise.

It protects against a coordinator that follows the protocol and is curious. One that sends sites
keys of its own would see through; and where there are two sites, each knows the other's part from
the sum. Needs ``cryptography``.

Shape suffixes: V = numbers of a vector.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

KEY_BYTES = 32
_FRACTION = 2.0**20  # steps of a fixed-point number to 1: what is lost is below 1e-6
_LARGEST = 2.0**62  # of all sites together, so that a sum keeps its sign
_MOST_SITES = 4096


class SecureSumError(ValueError):
    """Keys or vectors that do not belong to the round, or numbers too large for it."""


class Masks:
    """One site's secret of one try of one round. A secret never serves twice.

    Args:
        name: of the site.
        about: what the try is, the same for all its sites; keys of another try do not fit.
    """

    def __init__(self, name: str, about: str) -> None:
        self._name, self._about = name, about
        self._secret: X25519PrivateKey | None = X25519PrivateKey.generate()
        self.public_key = self._secret.public_key().public_bytes_raw()

    @property
    def secret(self) -> bytes:
        """32 bytes, for whoever has to put them away until ``again``; to be kept from everybody.

        Raises:
            SecureSumError: the secret was used.
        """
        if self._secret is None:
            raise SecureSumError("These masks were used. Each try needs keys of its own.")
        return self._secret.private_bytes_raw()

    @classmethod
    def again(cls, name: str, about: str, secret: bytes) -> Masks:
        """The masks of a secret that was put away. Raises ``SecureSumError``: it is none."""
        masks = cls(name, about)
        try:
            masks._secret = X25519PrivateKey.from_private_bytes(secret)
        except ValueError as error:
            raise SecureSumError(f"The secret is none: {error}.") from error
        masks.public_key = masks._secret.public_key().public_bytes_raw()
        return masks

    def hide(self, vector_V: NDArray[np.float64], keys: Mapping[str, bytes]) -> NDArray[np.uint64]:
        """``(V,)`` the vector under the masks of all other sites.

        Args:
            vector_V: finite.
            keys: the public key of every site of the try, also this one's own.

        Raises:
            SecureSumError: there is no other site, the own key is another one, a key is none, a
                number is too large, or the secret was used.
        """
        if self._secret is None:
            raise SecureSumError("These masks were used. Each try needs keys of its own.")
        if keys.get(self._name) != self.public_key:
            raise SecureSumError(f"The keys of the round lack that of {self._name}.")
        if not 2 <= len(keys) <= _MOST_SITES or len(set(keys.values())) != len(keys):
            raise SecureSumError(
                f"{len(keys)} sites, or two with one key, hide nothing. It takes at least 2."
            )
        hidden_V = _fixed(vector_V, len(keys))
        secret, self._secret = self._secret, None
        for other, key in keys.items():
            if other == self._name:
                continue
            mask_V = _mask(secret, key, self._label(other, keys), len(vector_V))
            hidden_V = hidden_V + mask_V if self._name < other else hidden_V - mask_V
        return hidden_V

    def _label(self, other: str, keys: Mapping[str, bytes]) -> bytes:
        """What a mask is bound to: the try, both names and the keys of all sites."""
        said = hashlib.sha256(self._about.encode())
        for name in sorted(keys):
            said.update(hashlib.sha256(name.encode()).digest() + keys[name])
        for name in sorted((self._name, other)):
            said.update(hashlib.sha256(name.encode()).digest())
        return said.digest()


def total(hidden: Sequence[NDArray[np.uint64]]) -> NDArray[np.float64]:
    """``(V,)`` the sum of what all sites of a try hid; noise if one is missing."""
    sum_V = np.zeros(hidden[0].shape, dtype=np.uint64)
    for part_V in hidden:
        if part_V.shape != sum_V.shape or part_V.dtype != np.uint64:
            raise SecureSumError(f"A part is {part_V.dtype} {part_V.shape}, not {sum_V.shape}.")
        sum_V = sum_V + part_V
    result_V: NDArray[np.float64] = sum_V.view(np.int64) / _FRACTION
    return result_V


def _fixed(vector_V: NDArray[np.float64], sites: int) -> NDArray[np.uint64]:
    scaled_V = np.rint(vector_V * _FRACTION)
    largest = float(np.abs(scaled_V).max(initial=0.0))
    if not largest * sites < _LARGEST:  # also where it is not a number
        raise SecureSumError(
            f"A number of an update is {largest / _FRACTION:.3g}, too large to be added. "
            "A smaller learning rate or fewer local steps keep updates small."
        )
    return scaled_V.astype(np.int64).view(np.uint64)


def _mask(secret: X25519PrivateKey, key: bytes, label: bytes, size: int) -> NDArray[np.uint64]:
    try:
        shared = secret.exchange(X25519PublicKey.from_public_bytes(key))
    except ValueError as error:
        raise SecureSumError(f"A key of the round is none: {error}.") from error
    seed = HKDF(algorithm=SHA256(), length=32, salt=None, info=label).derive(shared)
    # A seed serves one mask alone, so the nonce may be zero.
    stream = Cipher(ChaCha20(seed, bytes(16)), mode=None).encryptor()
    return np.frombuffer(stream.update(bytes(8 * size)), dtype="<u8")
