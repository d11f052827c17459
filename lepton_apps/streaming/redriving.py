"""Many dead letters at once: put back into their topics, or let go."""

from __future__ import annotations

from collections.abc import Sequence

from django.contrib.auth.models import User

from lepton_apps.streaming.kafka import Producer
from lepton_apps.streaming.models import DeadLetter
from lepton_apps.streaming.services import DeadLetterSettledError, send_again, settle


def redrive_all(letters: Sequence[DeadLetter], actor: User | None) -> int:
    """Put letters back as they were, oldest first; returns how many this call settled.

    All records are with the broker before the first letter is marked: a crash in between may send
    them twice, which their identity makes harmless. Letters that somebody else settles meanwhile
    are passed over.
    """
    if not letters:
        return 0
    producer = Producer()
    try:
        for letter in sorted(letters, key=lambda each: each.id):
            send_again(producer, letter)
        producer.flush()
    finally:
        producer.close()
    return _settle_all(letters, DeadLetter.Status.REDRIVEN, actor)


def discard_all(letters: Sequence[DeadLetter], actor: User | None) -> int:
    """Say that letters need no further work; returns how many this call settled."""
    return _settle_all(letters, DeadLetter.Status.DISCARDED, actor)


def _settle_all(
    letters: Sequence[DeadLetter], status: DeadLetter.Status, actor: User | None
) -> int:
    done = 0
    for letter in letters:
        try:
            settle(letter, status, actor, together=len(letters))
        except DeadLetterSettledError:
            continue
        done += 1
    return done
