"""Texts that are known again without being kept."""

from __future__ import annotations

import pytest

from streamwatch.core.digest import RunningDigest

#: Pieces of a text: none, few, as many as are joined at once, and more; characters of every width, and halves of one.
PIECES = [[], [""], ["a"], ["One ", "two"], ["x"] * 63, ["x"] * 64, ["x"] * 65, ["é", "漢", "🙂"], ["\ud83d", "\ude42"]]


@pytest.mark.parametrize("pieces", PIECES, ids=range(len(PIECES)))
def test_a_text_equals_the_whole_of_its_pieces_and_nothing_else(pieces: list[str]) -> None:
    """Neither a longer one, nor a shorter one, nor another of the same length, nor what is no text."""
    text, whole = RunningDigest(), "".join(pieces)
    for piece in pieces:
        text.add(piece)

    assert text == whole
    assert len(text) == len(whole)
    for other in (whole + "x", whole[:-1] if whole else "y", "y" * max(len(whole), 1), None, 7, [whole]):
        assert text != other


@pytest.mark.parametrize("pieces", PIECES, ids=range(len(PIECES)))
def test_a_text_begins_what_starts_with_all_of_it(pieces: list[str]) -> None:
    """It is asked so where an answer starts again."""
    text, whole = RunningDigest(), "".join(pieces)
    for piece in pieces:
        text.add(piece)

    assert text.begins(whole)
    assert text.begins(whole + "more")
    assert not whole or not text.begins(whole[:-1])
    assert not whole or not text.begins("y" + whole[1:] + "y")


def test_a_text_may_grow_after_it_was_compared() -> None:
    """Deltas after a question count like those before."""
    text = RunningDigest()
    for number in range(200):
        text.add("ab")
        assert text == "ab" * (number + 1)
