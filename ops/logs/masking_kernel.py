"""The compiled loop behind ``masking``. Works on bytes; touches only the arrays it is given."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from ops.logs.masking import MAX_MASKED_BYTES

LETTER, DIGIT, SPACE, SEPARATOR, VALUE_MARK, OTHER = 0, 1, 2, 3, 4, 5
STAR, EQUALS, DOT, COLON, ESCAPE = 42, 61, 46, 58, 27

_KIND = np.full(256, LETTER, np.uint8)  # bytes of 128 and above belong to letters in UTF-8
_KIND[:33] = SPACE  # control characters too
_KIND[127] = SPACE
_KIND[33:48] = OTHER
_KIND[48:58] = DIGIT
_KIND[58:65] = OTHER
_KIND[91:97] = OTHER
_KIND[123:127] = OTHER
_KIND[ord("_")] = LETTER
for _character in "=:,;()[]{}<>\"'|#":
    _KIND[ord(_character)] = SEPARATOR
for _character in "/\\@":
    _KIND[ord(_character)] = VALUE_MARK
KIND = _KIND

_DAYS_AND_MONTHS = "MonTueWedThuFriSatSunJanFebMarAprMayJunJulAugSepOctNovDec"
NAMES_OF_TIME = np.frombuffer(_DAYS_AND_MONTHS.encode(), np.uint8).reshape(-1, 3).copy()
UNITS = np.frombuffer(b"B KBMBGBTBkB", np.uint8).reshape(-1, 2).copy()
_LEVELS = (
    "trace debug info notice warn warning err error crit critical alert emerg fatal panic severe"
)
LEVELS = np.zeros((len(_LEVELS.split()), 9), np.uint8)  # the size, then the letters
for _row, _word in enumerate(_LEVELS.split()):
    LEVELS[_row, : 1 + len(_word)] = (len(_word), *_word.encode())
OFFSET_BASIS = np.uint64(14695981039346656037)
PRIME = np.uint64(1099511628211)
MIX_1 = np.uint64(0xFF51AFD7ED558CCD)
MIX_2 = np.uint64(0xC4CEB9FE1A85EC53)
SHIFT = np.uint64(33)


# Where the loop stands within a line.
SIZE, VALUES, STAR_END, AFTER_EQUALS, AFTER_USER = range(5)


@numba.njit(cache=True)
def hash_lines(text: Any, offset_N: Any, scratch: Any, hash_N: Any) -> None:
    """FNV-1a over each masked line, stirred once so that its low bits are as good as any."""
    no_spans = np.zeros((0, 2), np.int64)
    state = np.zeros(5, np.int64)
    for line in range(len(hash_N)):
        start = offset_N[line]
        end = min(offset_N[line + 1], start + MAX_MASKED_BYTES)
        mask_line(text, start, end, scratch, no_spans, state)
        value = OFFSET_BASIS
        for place in range(state[SIZE]):
            value = (value ^ np.uint64(scratch[place])) * PRIME
        value = (value ^ (value >> SHIFT)) * MIX_1
        value = (value ^ (value >> SHIFT)) * MIX_2
        hash_N[line] = value ^ (value >> SHIFT)


@numba.njit(cache=True)
def mask_line(text: Any, start: int, end: int, out: Any, span_P2: Any, state: Any) -> None:
    """Write the template into ``out``; ``state`` then has its size and the number of values.

    ``span_P2`` takes start and end of each value within the line, as far as it has room.
    """
    state[:] = 0
    state[STAR_END] = -1  # where out was after the last star, while no letter has followed it
    pending_space = False
    at = start
    while at < end:
        kind = KIND[text[at]]
        if kind == SPACE:
            if text[at] == ESCAPE:
                at = _after_escape(text, at, end)
                continue
            if state[AFTER_EQUALS]:
                _star(out, span_P2, state, at - start, at - start)
            state[AFTER_EQUALS] = 0
            pending_space = state[SIZE] > 0
            at += 1
            continue
        if pending_space:
            _put(out, state, 32)
            pending_space = False
        if kind == SEPARATOR:
            at = _take_separator(text, at, start, end, out, span_P2, state)
        else:
            at = _take_part(text, at, start, end, out, span_P2, state)
    if state[AFTER_EQUALS]:
        _star(out, span_P2, state, end - start, end - start)


@numba.njit(cache=True)
def _take_separator(
    text: Any, at: int, start: int, end: int, out: Any, span_P2: Any, state: Any
) -> Any:
    """A character that parts words, or a whole quoted value; returns the place behind it."""
    byte = text[at]
    if state[AFTER_EQUALS] and (byte == 34 or byte == 39):
        closing = _closing_quote(text, at, end)
        if closing > at and not _is_level(text, at + 1, closing):
            _put(out, state, byte)
            _star(out, span_P2, state, at + 1 - start, closing - start)
            _put(out, state, byte)
            state[AFTER_EQUALS] = 0
            return closing + 1
    if (state[AFTER_EQUALS] and _ends_value(byte)) or _closes_nothing(text, at, start):
        _star(out, span_P2, state, at - start, at - start)
    state[AFTER_EQUALS] = byte == EQUALS
    _put(out, state, byte)
    return at + 1


@numba.njit(cache=True)
def _take_part(text: Any, at: int, start: int, end: int, out: Any, span_P2: Any, state: Any) -> Any:
    """A part of a word: a value, a unit that belongs to one, or a word of the template."""
    part_end, is_value, has_letter = _part(text, at, end)
    plain = not is_value
    is_value = bool(is_value or state[AFTER_EQUALS] or state[AFTER_USER])
    is_value = is_value and not (state[AFTER_EQUALS] and _is_level(text, at, part_end))
    if not is_value:
        is_value = _is_time_name(text, at, part_end) or _is_host(text, at, part_end, end)
    state[AFTER_EQUALS] = 0
    state[AFTER_USER] = 0
    if is_value:
        _star(out, span_P2, state, at - start, part_end - start)
        return part_end
    behind_number = state[STAR_END] >= 0 and _only_space(out, state[STAR_END], state[SIZE])
    if behind_number and _is_unit(text, at, part_end):
        state[SIZE] = state[STAR_END]
        return part_end
    state[AFTER_USER] = plain and _is_user(text, at, part_end, end)
    for place in range(at, part_end):
        _put(out, state, text[place])
    if has_letter:
        state[STAR_END] = -1
    return part_end


@numba.njit(cache=True)
def _is_level(text: Any, start: int, end: int) -> Any:
    """Whether it says how bad the line is: ``level=error`` and ``level=info`` are two templates."""
    for row in range(len(LEVELS)):
        size = LEVELS[row, 0]
        if size != end - start:
            continue
        place = 0
        while place < size and (text[start + place] | 32) == LEVELS[row, 1 + place]:
            place += 1
        if place == size:
            return True
    return False


@numba.njit(cache=True)
def _put(out: Any, state: Any, byte: int) -> None:
    out[state[SIZE]] = byte
    state[SIZE] += 1


@numba.njit(cache=True)
def _star(out: Any, span_P2: Any, state: Any, first: int, last: int) -> None:
    """A value: a star of its own, or part of the star before it."""
    values = state[VALUES]
    if state[STAR_END] >= 0:
        if 0 < values <= len(span_P2):
            span_P2[values - 1, 1] = last
        state[SIZE] = state[STAR_END]
        return
    if values < len(span_P2):
        span_P2[values, 0] = first
        span_P2[values, 1] = last
    state[VALUES] = values + 1
    _put(out, state, STAR)
    state[STAR_END] = state[SIZE]


@numba.njit(cache=True)
def _closing_quote(text: Any, at: int, end: int) -> int:
    """The place of the quote that closes the one at ``at``; ``at`` where none does."""
    for place in range(at + 1, end):
        if text[place] == text[at]:
            return place
    return at


@numba.njit(cache=True)
def _ends_value(byte: int) -> bool:
    """``,`` ``;`` ``)`` and the like behind ``=``: the value is empty."""
    return byte == 44 or byte == 59 or byte == 41 or byte == 93 or byte == 125 or byte == 124


@numba.njit(cache=True)
def _closes_nothing(text: Any, at: int, start: int) -> bool:
    """``()`` and ``[]``: a place for a value that is not there this time."""
    return bool(
        at > start
        and ((text[at] == 41 and text[at - 1] == 40) or (text[at] == 93 and text[at - 1] == 91))
    )


@numba.njit(cache=True)
def _part(text: Any, at: int, end: int) -> Any:
    """Where the part of a word ends, whether it is a value by its bytes, and has a letter."""
    is_value = False
    has_letter = False
    place = at
    while place < end:
        kind = KIND[text[place]]
        if kind in (SPACE, SEPARATOR):
            break
        is_value |= kind in (DIGIT, VALUE_MARK)
        has_letter |= kind == LETTER
        place += 1
    return place, is_value, has_letter


@numba.njit(cache=True)
def _only_space(out: Any, first: int, last: int) -> bool:
    for place in range(first, last):
        if out[place] != 32:
            return False
    return True


@numba.njit(cache=True)
def _is_time_name(text: Any, at: int, part_end: int) -> bool:
    if part_end - at != 3:
        return False
    for name in NAMES_OF_TIME:
        if text[at] == name[0] and text[at + 1] == name[1] and text[at + 2] == name[2]:
            return True
    return False


@numba.njit(cache=True)
def _is_unit(text: Any, at: int, part_end: int) -> bool:
    if part_end - at == 1:
        return bool(text[at] == 66)
    if part_end - at != 2:
        return False
    for unit in UNITS:
        if text[at] == unit[0] and text[at + 1] == unit[1]:
            return True
    return False


@numba.njit(cache=True)
def _is_host(text: Any, at: int, part_end: int, end: int) -> bool:
    """A dotted name before ``:port``, or one of three labels or more, all lower case."""
    first, last = at, part_end
    while first < last and text[first] == DOT:
        first += 1
    while last > first and text[last - 1] == DOT:
        last -= 1
    dots = 0
    lower = True
    for place in range(first, last):
        dots += text[place] == DOT
        lower &= not 65 <= text[place] <= 90
    if dots >= 2 and lower:
        return True
    return bool(
        dots >= 1
        and part_end + 1 < end
        and text[part_end] == COLON
        and KIND[text[part_end + 1]] == DIGIT
    )


@numba.njit(cache=True)
def _is_user(text: Any, at: int, part_end: int, end: int) -> bool:
    """The word "user" and a space: an account's name follows."""
    return bool(
        part_end - at == 4
        and part_end < end
        and text[part_end] == 32
        and (text[at] == 117 or text[at] == 85)
        and text[at + 1] == 115
        and text[at + 2] == 101
        and text[at + 3] == 114
    )


@numba.njit(cache=True)
def _after_escape(text: Any, at: int, end: int) -> int:
    """Behind an ANSI sequence such as ``ESC [ 31 m``; behind the escape alone where it is none."""
    if at + 1 >= end or text[at + 1] != 91:
        return at + 1
    place = at + 2
    while place < end and (KIND[text[place]] == DIGIT or text[place] == 59):
        place += 1
    return min(place + 1, end)
