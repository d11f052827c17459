"""Tokens in place of what names a person: stable, apart by field, rotatable without the values."""

from __future__ import annotations

import hmac
from base64 import b32encode

import pytest

from lepton_apps.common.pii import PiiKeysRefusedError, Tokeniser, UnknownPiiKeyError, key_of

FIRST, SECOND, THIRD = "a:" + "1" * 32, "b:" + "2" * 32, "c:" + "3" * 32


def test_a_token_is_the_keyed_digest_of_field_and_value() -> None:
    digest = hmac.digest(b"1" * 32, b"customer\0Ada", "sha256")
    expected = "tok.a." + b32encode(digest).decode().lower()[:26]
    assert Tokeniser.of(FIRST).token("customer", "Ada") == expected
    assert key_of(expected) == "a"
    assert key_of("Ada") is None


def test_values_fields_and_keys_give_tokens_of_their_own() -> None:
    by = Tokeniser.of(FIRST)
    other = Tokeniser.of("a:" + "9" * 32)
    made = [by.token("customer", "Ada"), by.token("customer", "Bob"), by.token("card", "Ada")]
    assert len({*made, other.token("customer", "Ada")}) == 4
    assert by.token("customer", "Ada") == made[0]


def test_stored_tokens_are_brought_to_the_newest_key_without_the_value() -> None:
    one, two, three = (
        Tokeniser.of(",".join(keys)) for keys in ([FIRST], [FIRST, SECOND], [FIRST, SECOND, THIRD])
    )
    oldest = one.token("customer", "Ada")
    assert three.newest == "c"
    assert two.renewed("customer", oldest) == two.token("customer", "Ada")
    assert three.renewed("customer", oldest) == three.token("customer", "Ada")
    assert three.renewed("customer", two.renewed("customer", oldest)) == three.token(
        "customer", "Ada"
    )
    assert three.tokens("customer", "Ada") == [
        by.token("customer", "Ada") for by in (three, two, one)
    ]


def test_a_token_that_comes_again_is_not_made_a_token_of_a_token() -> None:
    one, two = Tokeniser.of(FIRST), Tokeniser.of(f"{FIRST},{SECOND}")
    token = one.token("customer", "Ada")
    assert one.token("customer", token) == token
    assert two.token("customer", token) == two.token("customer", "Ada")


def test_a_token_of_a_key_that_is_gone_is_refused() -> None:
    token = Tokeniser.of(SECOND).token("customer", "Ada")
    with pytest.raises(UnknownPiiKeyError, match=r"a token of the key b\. PII_KEYS has: a\."):
        Tokeniser.of(FIRST).token("customer", token)
    with pytest.raises(UnknownPiiKeyError, match="a token of no key"):
        Tokeniser.of(FIRST).renewed("customer", "Ada")


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("", "PII_KEYS is not set"),
        ("secretsecretsecretsecretsecretsecret", "part 1, is not NAME:SECRET"),
        (f"{FIRST},a:{'5' * 32}", "has the key a twice"),
        (f"{FIRST},b:short-secret", "The key b of PII_KEYS has 12 characters"),
    ],
)
def test_keys_that_cannot_be_used_are_refused_without_being_shown(setting: str, said: str) -> None:
    with pytest.raises(PiiKeysRefusedError, match=said) as refused:
        Tokeniser.of(setting)
    assert "secret" not in refused.value.detail
    assert "secret" not in repr(Tokeniser.of(FIRST)).lower()
    assert "1111" not in repr(Tokeniser.of(FIRST))
