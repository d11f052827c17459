"""Texts to rows of tokens, and back: which words a model knows, in which order.

Shape suffixes: N = texts, T = tokens of a row.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from types import MappingProxyType
from typing import Final, Literal, get_args

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

Unit = Literal["words", "characters"]
PADDING: Final = 0  # what architectures take for the end of a row
UNKNOWN: Final = 1
_FIRST = 2  # the token of the most frequent word
MAX_WORDS = 2**20


class _Shape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The JSON of a vocabulary, checked strictly on the way in."""

    format: str
    unit: str
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Which token stands for which word: 0 for padding, 1 for every unknown word, then ``words``.

    Two vocabularies are equal if their words and their order are. Keep one beside the model that
    was trained with it: the same words under other numbers are another language.

    Args:
        words: each once, none empty; ``words[0]`` is token 2.
        unit: ``words``: runs of letters, digits and ``_``, and every other sign by itself, which
            suits languages with spaces, logs and code; ``characters``: every one by itself.

    Raises:
        ValueError: a word is empty or there twice, there are more than 2**20, or the unit is none.

    >>> known = Vocabulary.fit(["Disk full.", "disk replaced"])
    >>> known.words
    ('disk', '.', 'full', 'replaced')
    >>> known.encode(["DISK lost", "full."], length=3)
    array([[2, 1, 0],
           [4, 3, 0]])
    >>> known.decode([2, 1, 0])
    'disk ?'
    >>> Vocabulary.from_json(known.to_json()) == known
    True
    """

    words: tuple[str, ...]
    unit: Unit = "words"
    _token_of: Mapping[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.unit not in get_args(Unit):
            raise ValueError(f"unit={self.unit!r} is not {' or '.join(get_args(Unit))}.")
        if len(self.words) > MAX_WORDS:
            raise ValueError(f"{len(self.words)} words are more than {MAX_WORDS}.")
        token_of = {word: token for token, word in enumerate(self.words, start=_FIRST)}
        if "" in token_of or len(token_of) != len(self.words):
            raise ValueError("Words of a vocabulary are not empty, and each is there once.")
        object.__setattr__(self, "words", tuple(self.words))
        object.__setattr__(self, "_token_of", MappingProxyType(token_of))

    @classmethod
    def fit(
        cls, texts: Iterable[str], *, size: int = 20_000, min_count: int = 1, unit: Unit = "words"
    ) -> Vocabulary:
        """The most frequent words of the training texts; equally frequent ones in their own order.

        Args:
            texts: of training alone, or the model knows words that it has never learned.
            size: tokens at most, with padding and unknown: at least 3.
            min_count: how often a word must be there.

        Raises:
            ValueError: a number is out of range, or no word is left.
        """
        if not _FIRST < size <= MAX_WORDS + _FIRST or min_count < 1:
            raise ValueError(f"{size=} is not in 3..{MAX_WORDS + _FIRST}, or {min_count=} below 1.")
        count = Counter(word for text in texts for word in _split(text, unit))
        often = [word for word, times in count.items() if times >= min_count]
        if not often:
            raise ValueError(f"No word is there {min_count} times. Give more texts.")
        often.sort(key=lambda word: (-count[word], word))
        return cls(tuple(often[: size - _FIRST]), unit)

    def __len__(self) -> int:
        """Tokens: the words, padding and unknown. What ``Data`` takes as ``vocabulary``."""
        return len(self.words) + _FIRST

    def encode(self, texts: Sequence[str], length: int) -> NDArray[np.int64]:
        """``(N, length)`` tokens: longer texts lose their end, shorter ones are padded there.

        Raises:
            ValueError: ``length`` is below 1, or one string is given in place of a list.
        """
        if isinstance(texts, str):
            raise ValueError("encode takes a list of texts: [text].")
        if length < 1:
            raise ValueError(f"{length=} must be at least 1.")
        token_NT = np.full((len(texts), length), PADDING, dtype=np.int64)
        for row_T, text in zip(token_NT, texts, strict=True):
            for place, word in enumerate(islice(_split(text, self.unit), length)):
                row_T[place] = self._token_of.get(word, UNKNOWN)
        return token_NT

    def decode(self, tokens: ArrayLike) -> str:
        """The words of one row, for people; ``?`` for an unknown one."""
        said = (int(token) for token in np.asarray(tokens) if token != PADDING)
        words = ["?" if token < _FIRST else self.words[token - _FIRST] for token in said]
        return (" " if self.unit == "words" else "").join(words)

    @property
    def hash(self) -> str:
        """64 hex digits: sha256 of the JSON, as a ``Spec`` has."""
        return hashlib.sha256(self.to_json()).hexdigest()

    def to_json(self) -> bytes:
        """Canonical JSON: equal vocabularies give equal bytes."""
        return msgspec.json.encode(_Shape("lepton-vocabulary", self.unit, self.words))

    @classmethod
    def from_json(cls, body: bytes | str) -> Vocabulary:
        """Read what ``to_json`` wrote; raises ``ValueError`` for anything else."""
        try:
            shape = msgspec.json.decode(body, type=_Shape)
        except msgspec.MsgspecError as error:
            raise ValueError(f"Not a vocabulary: {error}.") from error
        if shape.format != "lepton-vocabulary":
            raise ValueError(f"Not a vocabulary but {shape.format!r}.")
        return cls(shape.words, shape.unit)  # type: ignore[arg-type]  # checked by the constructor


def _split(text: str, unit: str) -> Iterator[str]:
    """The words of a text, small and composed, so that one word is written in one way."""
    small = unicodedata.normalize("NFC", text).casefold()
    if unit == "characters":
        yield from small
        return
    begun = -1  # where the word that is being read starts; -1 between words
    for place, sign in enumerate(small):
        # A mark (a vowel of Hindi, an accent without a composed letter) belongs to its letter.
        if sign.isalnum() or sign == "_" or unicodedata.category(sign)[0] == "M":
            begun = place if begun < 0 else begun
            continue
        if begun >= 0:
            yield small[begun:place]
            begun = -1
        if not sign.isspace():
            yield sign
    if begun >= 0:
        yield small[begun:]
