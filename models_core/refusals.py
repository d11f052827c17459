"""The one error of whatever judges foreign bytes."""

from __future__ import annotations


class ArtifactError(ValueError):
    """A refused artifact. ``code`` says why in one word, the message in a sentence.

    Codes: ``file_missing``, ``file_unexpected``, ``artifact_too_large``, ``pickle_refused``,
    ``manifest_invalid``, ``format_unknown``, ``file_corrupted``, ``weights_invalid``,
    ``engine_unsafe``.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
