"""Texts become tokens in one way, and the words are kept beside the model as plain JSON."""

from __future__ import annotations

import numpy as np
import pytest

from models_core import Vocabulary

KNOWN = Vocabulary.fit(["the disk is full", "the disk is slow", "the fan"], size=5)


def test_rarer_words_are_unknown_and_ties_go_by_the_alphabet() -> None:
    assert KNOWN.words == ("the", "disk", "is")
    assert len(KNOWN) == 5
    assert KNOWN.encode(["The fan is the disk."], 6).tolist() == [[2, 1, 4, 2, 3, 1]]


def test_rows_are_padded_at_their_end_and_cut_there() -> None:
    token_NT = KNOWN.encode(["", "the", "is is is is"], 2)
    assert token_NT.tolist() == [[0, 0], [2, 0], [4, 4]]
    assert token_NT.dtype == np.int64
    assert KNOWN.encode([], 2).shape == (0, 2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("GET /v1/items?id=7", "get / v1 / items ? id = 7"),
        ("node_7-a:DOWN", "node_7 - a : down"),
        ("Straße STRASSE", "strasse strasse"),
        ("e\u0301te\u0301 \u00e9t\u00e9", "\u00e9t\u00e9 \u00e9t\u00e9"),
        ("\u0939\u093f\u0928\u094d\u0926\u0940 ok", "\u0939\u093f\u0928\u094d\u0926\u0940 ok"),
        ("  \t\n", ""),
    ],
)
def test_a_word_is_written_in_one_way(text: str, words: str) -> None:
    known = Vocabulary.fit([text, "x"])
    assert known.decode(known.encode([text], 20)[0]) == words


def test_characters_suit_languages_without_spaces() -> None:
    known = Vocabulary.fit(["\u6771\u4eac", "\u6771"], unit="characters")
    assert known.words == ("\u6771", "\u4eac")
    assert known.decode(known.encode(["\u4eac\u6771"], 4)[0]) == "\u4eac\u6771"


def test_equal_vocabularies_are_one_and_json_brings_them_back() -> None:
    again = Vocabulary.from_json(KNOWN.to_json())
    assert again == KNOWN
    assert len({again, KNOWN}) == 1
    assert again.hash == KNOWN.hash
    assert Vocabulary(KNOWN.words[::-1]).hash != KNOWN.hash
    assert (again.encode(["the fan is full"], 4) == KNOWN.encode(["the fan is full"], 4)).all()


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        '{"format":"lepton-vocabulary","unit":"words","words":["a","a"]}',
        '{"format":"lepton-vocabulary","unit":"words","words":[""]}',
        '{"format":"lepton-vocabulary","unit":"lines","words":["a"]}',
        '{"format":"another","unit":"words","words":["a"]}',
        '{"format":"lepton-vocabulary","unit":"words","words":["a"],"code":"x"}',
    ],
)
def test_what_is_no_vocabulary_is_refused(body: str) -> None:
    with pytest.raises(ValueError):
        Vocabulary.from_json(body)


def test_one_string_in_place_of_a_list_is_refused_and_so_is_a_fit_on_nothing() -> None:
    with pytest.raises(ValueError, match="a list of texts"):
        KNOWN.encode("the disk", 4)
    with pytest.raises(ValueError, match="No word is there 2 times"):
        Vocabulary.fit(["a b"], min_count=2)
    with pytest.raises(ValueError, match="size=2"):
        Vocabulary.fit(["a b"], size=2)
