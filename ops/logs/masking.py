"""One pass over the bytes of log lines: what varies becomes ``*``, and the rest names the template.

A line's template depends on that line alone: no tree, no neighbours, no order of arrival. So it is
the same in every worker, after a restart, and however records are cut into batches. What varies is
told by shape: a part of a word is a value when it holds a digit, a slash or an ``@``, stands behind
``=``, is a host name before a port, the name of a day or month, or an account's name behind
"user". Values in a row, with nothing but punctuation between them, are one value.

numba compiles the loop at the first call; ``docs/logs.md`` has the rules with examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

MAX_MASKED_BYTES = 4096  # of a line; what comes after does not shape its template


def _kernel() -> ModuleType:
    return import_module("ops.logs.masking_kernel")


def template_hashes(lines: Sequence[bytes]) -> NDArray[np.uint64]:
    """``(N,)`` 64-bit hashes of the masked lines; equal hashes are equal templates."""
    text, offset_N = _joined(lines)
    hash_N = np.empty(len(lines), np.uint64)
    longest = int(np.diff(offset_N).max(initial=0))
    scratch = np.empty(2 * min(longest, MAX_MASKED_BYTES) + 16, np.uint8)
    _kernel().hash_lines(text, offset_N, scratch, hash_N)
    return hash_N


def masked(line: bytes) -> str:
    """The template of one line, as text."""
    return split(line)[0]


def split(line: bytes) -> tuple[str, list[str]]:
    """The template of one line, and the values that its stars stand for, in order."""
    cut = line[:MAX_MASKED_BYTES]
    text = np.frombuffer(cut, np.uint8)
    out = np.empty(2 * len(cut) + 16, np.uint8)
    span_P2 = np.zeros((len(cut) + 2, 2), np.int64)
    state = np.zeros(5, np.int64)
    _kernel().mask_line(text, 0, len(cut), out, span_P2, state)
    size, num_values = state[:2].tolist()
    template = out[:size].tobytes().decode("utf-8", "replace")
    values = [
        cut[start:end].decode("utf-8", "replace") for start, end in span_P2[:num_values].tolist()
    ]
    return template, values


def _joined(lines: Sequence[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    offset_N = np.zeros(len(lines) + 1, np.int64)
    np.cumsum([len(line) for line in lines], out=offset_N[1:])
    return np.frombuffer(b"".join(lines), np.uint8), offset_N
