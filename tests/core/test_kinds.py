"""The table from which labels, docs, dashboards and rules derive: what must hold of every row."""

from __future__ import annotations

import pytest

from streamwatch.core import kinds as anomalies
from streamwatch.core.kinds import CONTENT_MISPLACED, KINDS, RESPONSE_EVENT_MISSING, RESPONSE_TEXT_LOST, AnomalyKind
from streamwatch.core.known_issues import CONTENT_EMPTY, ISSUES, ORDER_MISMATCH, Issue
from streamwatch.core.ledger import Ledger
from streamwatch.core.settings import Policy
from streamwatch.core.vocabulary import ChunkType, Evidence, Level, Outcome, Severity, Strategy, Verdict

APIS = {"agents", "assistants", "chat", "completions", "images", "live", "realtime", "responses", "transcriptions"}
#: Default repairs of which a stream can hold no evidence: where nothing else carries the answer, it is proof enough.
WITHOUT_EVIDENCE = {CONTENT_MISPLACED}
_EACH = pytest.mark.parametrize("kind", KINDS.values(), ids=repr)
_ISSUES = pytest.mark.parametrize("issue", ISSUES, ids=lambda issue: issue.name)


def test_a_name_is_a_key_and_a_constant() -> None:
    """Each kind is found under its name, and is the constant of that name: none is left out of the table."""
    constants = {name.lower(): value for name, value in vars(anomalies).items() if isinstance(value, AnomalyKind)}

    assert constants == KINDS
    assert all(kind.name == name for name, kind in KINDS.items())


@_EACH
def test_a_kind_can_be_a_label_value(kind: AnomalyKind) -> None:
    """Lower case, digits and underscores: what every backend takes, and nobody has to quote."""
    assert kind.name.replace("_", "").isalnum()
    assert kind.name == kind.name.lower()
    assert len(kind.name) <= 40
    assert repr(kind) == kind.name


@_EACH
def test_a_kind_is_found_somewhere(kind: AnomalyKind) -> None:
    """On APIs that exist, each once."""
    assert kind.apis
    assert set(kind.apis) <= APIS
    assert len(set(kind.apis)) == len(kind.apis)


@_EACH
def test_a_repair_has_a_level_and_evidence(kind: AnomalyKind) -> None:
    """What is repaired can be asked for; what is only reported claims no evidence. No default repair goes unproved."""
    repaired = kind.strategy is not Strategy.NONE

    assert repaired == (kind.level is not Level.NEVER)
    if not repaired:
        assert kind.evidence is Evidence.NONE
    if kind.level in (Level.DEFAULT, Level.AUTO) and kind not in WITHOUT_EVIDENCE:
        assert kind.evidence is not Evidence.NONE


@_EACH
def test_the_meaning_is_one_sentence(kind: AnomalyKind) -> None:
    """For people: it starts anywhere and ends in a full stop."""
    assert kind.meaning.endswith(".")
    assert "\n" not in kind.meaning
    assert 20 < len(kind.meaning) < 160


def test_kinds_are_told_apart_by_identity() -> None:
    """They are keys on the hot path: hashing one must not hash its fields."""
    assert AnomalyKind.__hash__ is object.__hash__
    assert AnomalyKind.__eq__ is object.__eq__


@_ISSUES
def test_published_ratios_are_shares(issue: Issue) -> None:
    """0 to 1, and of a workaround that has a name."""
    ratios = [issue.fix_ratio, *(ratio for _, ratio in issue.workarounds), *(ratio for _, ratio in issue.dead_ends)]

    assert all(0 < ratio < 1 for ratio in ratios)
    assert all(name for name, _ in (*issue.workarounds, *issue.dead_ends))


@_ISSUES
def test_the_best_workaround_is_a_strategy_of_ours(issue: Issue) -> None:
    """So that the published figure and the measured one stand beside each other."""
    best, _ = max(issue.workarounds, key=lambda workaround: workaround[1])

    assert any(kind.issue is issue and kind.strategy.value == best for kind in KINDS.values())


def test_the_known_issues_are_as_published() -> None:
    """The two that started the project, word for word and figure for figure."""
    assert ORDER_MISMATCH.error == "streaming response chunk order mismatch - expected index 5 but got 7"
    assert (ORDER_MISMATCH.fix_ratio, dict(ORDER_MISMATCH.workarounds)["reorder_buffer"]) == (0.75, 0.85)
    assert CONTENT_EMPTY.error == "KeyError: 'content'"
    assert (CONTENT_EMPTY.fix_ratio, dict(CONTENT_EMPTY.workarounds)["fill_content"]) == (0.90, 0.95)
    assert {kind.issue for kind in KINDS.values()} == {None, ORDER_MISMATCH, CONTENT_EMPTY}


def test_every_word_is_its_own_label() -> None:
    """Members compare and print as the text that stands in a label."""
    for words in (Severity, Level, Outcome, Verdict, Evidence, ChunkType, Strategy):
        assert [word.value for word in words] == [str.__str__(word) for word in words]
        assert len({word.value for word in words}) == len(words)
    assert all(strategy.meaning and not strategy.meaning.endswith(".") for strategy in Strategy)


def test_what_is_usual_is_neither_counted_nor_repaired() -> None:
    """Where a kind says nothing of the sender, as over WebSockets, it is as if there were none."""
    ledger = Ledger(Policy("all"))
    ledger.ignored = frozenset({RESPONSE_EVENT_MISSING})

    assert not ledger.wants(RESPONSE_EVENT_MISSING)
    assert not ledger.record(RESPONSE_EVENT_MISSING)
    assert ledger.record(RESPONSE_TEXT_LOST)
    assert ledger.anomalies.keys() == {RESPONSE_TEXT_LOST}
