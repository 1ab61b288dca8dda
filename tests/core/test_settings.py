"""Settings: every variable is read, and a bad value costs one sentence and nothing else."""

from __future__ import annotations

import dataclasses
import inspect
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.letters import LETTERS
from streamwatch.core.kinds import CONTENT_ABSENT, CONTENT_NULL, CONTENT_REPLAYED, KINDS
from streamwatch.core.settings import SEQUENCE_FIELDS, Policy, Settings
from streamwatch.core.vocabulary import Level, Strategy

#: Every variable: a value, the field it sets, and what it is then.
VARIABLES = [
    ("REPAIR", "all", "repair", Policy("all")),
    ("WINDOW_EVENTS", "8", "window_events", 8),
    ("WINDOW_BYTES", "4096", "window_bytes", 4096),
    ("WINDOW_SECONDS", "0.5", "window_seconds", 0.5),
    ("WINDOW_SECONDS", "0", "window_seconds", 0.0),
    ("SEQUENCE_FIELDS", "n, order ,", "sequence_fields", ("n", "order")),
    ("RESUME", "true", "resume", True),
    ("STALL_SECONDS", "2.5", "stall_seconds", 2.5),
    ("GENAI_METRICS", "true", "genai_metrics", True),
    ("MAX_EVENT_BYTES", "1000", "max_event_bytes", 1000),
    ("MAX_LABEL_VALUES", "5", "max_label_values", 5),
    ("CAPTURE_DIR", "/tmp/odd streams", "capture_dir", "/tmp/odd streams"),
    *(("CAPTURE_CONTENT", word, "capture_content", True) for word in ("true", "1", "Yes", "ON")),
    *(("CAPTURE_CONTENT", word, "capture_content", False) for word in ("False", "0", "no", "off")),
    *(("SUMMARY", word, "summary", word.lower()) for word in ("always", "Never", "auto")),
    ("CAPTURE_FILES", "7", "capture_files", 7),
    ("CAPTURE_BYTES", "1", "capture_bytes", 1),
    ("BUILD_CHUNKS", "off", "build_chunks", False),
]
#: Values that cannot be used, and what is used instead, as people are told it.
UNUSABLE = [
    ("REPAIR", "everything", "default"),
    ("REPAIR", "default,fill_content", "default"),
    ("REPAIR", "default,+mend", "default"),
    ("REPAIR", "default,-none", "default"),
    ("REPAIR", "+", "default"),
    *(("WINDOW_EVENTS", value, "64") for value in ("0", "-1", "many", "1.5", "1e3")),
    *(("WINDOW_BYTES", value, "1048576") for value in ("0", "1MiB")),
    *(("WINDOW_SECONDS", value, "2.0") for value in ("-1", "nan", "inf", "soon")),
    ("SEQUENCE_FIELDS", " , ", ",".join(SEQUENCE_FIELDS)),
    *(("STALL_SECONDS", value, "15.0") for value in ("-1", "nan", "long")),
    ("GENAI_METRICS", "maybe", "false"),
    ("MAX_EVENT_BYTES", "big", "33554432"),
    ("MAX_LABEL_VALUES", "0", "100"),
    ("CAPTURE_CONTENT", "some", "false"),
    ("BUILD_CHUNKS", "fast", "true"),
    ("SUMMARY", "sometimes", "auto"),
    ("CAPTURE_FILES", "0", "100"),
    ("CAPTURE_BYTES", "1e6", "1048576"),
]
#: What docs and dashboards say of each field, written out.
DEFAULTS = {
    "repair": Policy("default"),
    "window_events": 64,
    "window_bytes": 1048576,
    "window_seconds": 2.0,
    "sequence_fields": ("sequence_number", "sequence", "sequenceNumber", "seq", "chunk_index", "index"),
    "resume": False,
    "stall_seconds": 15.0,
    "genai_metrics": False,
    "max_event_bytes": 33554432,
    "build_chunks": True,
    "max_label_values": 100,
    "summary": "auto",
    "capture_dir": "",
    "capture_content": False,
    "capture_files": 100,
    "capture_bytes": 1048576,
}


def test_an_empty_environment_gives_the_defaults() -> None:
    """Nothing configured: nothing complained about, and what the docs call the default."""
    assert Settings.from_environ({}) == (Settings(), [])
    assert Settings.from_environ({"STREAMWATCH_REPAIR": " ", "OTHER": "x"}) == (Settings(), [])


def test_the_defaults_are_those_of_the_docs() -> None:
    """Every field has one, and a variable of its own."""
    assert {field.name: getattr(Settings(), field.name) for field in dataclasses.fields(Settings)} == DEFAULTS
    assert {field for _, _, field, _ in VARIABLES} == DEFAULTS.keys()


@pytest.mark.parametrize(("name", "text", "field", "value"), VARIABLES)
def test_a_variable_sets_one_field(name: str, text: str, field: str, value: object) -> None:
    """And leaves the others alone."""
    read, complaints = Settings.from_environ({f"STREAMWATCH_{name}": f" {text} "})

    assert complaints == []
    assert read == dataclasses.replace(Settings(), **{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "text", "used"), UNUSABLE)
def test_an_unusable_value_is_one_sentence_and_the_default(name: str, text: str, used: str) -> None:
    """It names the variable, the value and what is used instead; nothing is raised."""
    read, complaints = Settings.from_environ({f"STREAMWATCH_{name}": text})
    (complaint,) = complaints

    assert read == Settings()
    assert complaint.startswith(f"STREAMWATCH_{name}={text.strip()!r} is not usable (") or name == "SEQUENCE_FIELDS"
    assert complaint.endswith(f"; using {used}")
    assert "\n" not in complaint


def test_each_bad_value_is_complained_of_for_itself() -> None:
    """One does not hide another, nor a good one."""
    environ = {"STREAMWATCH_REPAIR": "x", "STREAMWATCH_WINDOW_EVENTS": "x", "STREAMWATCH_WINDOW_BYTES": "7"}
    read, complaints = Settings.from_environ(environ)

    assert len(complaints) == 2
    assert read == Settings(window_bytes=7)


def test_a_long_value_is_not_repeated_at_length() -> None:
    """A log line stays a line."""
    _, (complaint,) = Settings.from_environ({"STREAMWATCH_WINDOW_EVENTS": "9" * 5000 + "x"})

    assert len(complaint) < 500


@given(
    st.dictionaries(st.sampled_from([f"STREAMWATCH_{name}" for name, *_ in VARIABLES]), st.text(LETTERS, max_size=30))
)
def test_no_environment_raises(environ: dict[str, str]) -> None:
    """Whatever stands in the variables, there are settings, and at most one sentence each."""
    read, complaints = Settings.from_environ(environ)

    assert isinstance(read, Settings)
    assert len(complaints) <= len(environ)


def test_default_repairs_what_can_be_proved_right() -> None:
    """Repairs of level `opt_in` are left out; kinds without a repair are in no policy."""
    policy = Policy("default")

    assert policy.default == {kind for kind in KINDS.values() if kind.strategy is not Strategy.NONE}
    assert policy.opt_in == frozenset()
    assert not policy.observe


def test_all_repairs_all_that_can_be() -> None:
    """Heuristics included."""
    policy = Policy("all")

    assert policy.opt_in == policy.default == Policy("default").default


def test_none_observes_and_runs_the_default_repairs_in_shadow() -> None:
    """So that their outcomes are known before anything is touched."""
    policy = Policy("none")

    assert policy.observe
    assert (policy.default, policy.opt_in) == (Policy("default").default, frozenset())


def test_a_refinement_adds_and_takes_away_by_kind_or_strategy() -> None:
    """`default,+drop_duplicate,-fill_content`."""
    policy = Policy("default, +drop_duplicate ,-fill_content")
    dropped = {kind for kind in KINDS.values() if kind.strategy is Strategy.DROP_DUPLICATE}

    assert policy.opt_in == dropped
    assert CONTENT_REPLAYED in policy.opt_in
    assert not {CONTENT_ABSENT, CONTENT_NULL} & policy.default
    assert Policy("default,-content_null").default == Policy().default - {CONTENT_NULL}


def test_a_refinement_alone_refines_the_default() -> None:
    """`+x` and `-x` without a base."""
    assert Policy("+content_replayed").opt_in == {CONTENT_REPLAYED}
    assert Policy("-fill_content").default == Policy("default,-fill_content").default
    assert not Policy("-fill_content").observe


def test_the_last_word_on_a_kind_counts() -> None:
    """Refinements apply from left to right."""
    assert CONTENT_NULL in Policy("-fill_content,+content_null").default
    assert CONTENT_NULL not in Policy("+content_null,-fill_content").default


def test_a_repair_that_is_asked_for_is_applied() -> None:
    """`none,+x` touches streams: it no longer observes."""
    assert not Policy("none,+reorder_buffer").observe
    assert Policy("none,-reorder_buffer").observe


def test_none_and_a_refinement_repair_that_alone() -> None:
    """Who switches everything off and one thing on gets the one thing."""
    policy = Policy("none,+reorder_buffer")

    assert {kind.strategy for kind in policy.default | policy.opt_in} == {Strategy.REORDER_BUFFER}


@pytest.mark.parametrize("name", [kind.name for kind in KINDS.values() if kind.level is not Level.NEVER])
def test_every_repair_can_be_named(name: str) -> None:
    """Each kind by its name; each strategy by its own."""
    kind = KINDS[name]

    assert kind in Policy(f"+{name}").opt_in
    assert kind not in Policy(f"all,-{kind.strategy.value}").opt_in


@pytest.mark.parametrize(
    "text", ["", "defaults", "default,x", "default,+", "none,+none", "default;all", "DEFAULT", ",", "all,,"]
)
def test_a_bad_policy_raises_value_error(text: str) -> None:
    """From code a mistake is an exception with the word at fault in it."""
    with pytest.raises(ValueError, match=r"none of|neither"):
        Policy(text)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("everything", "'everything' is none of none, default, all"),
        ("default,fill_content", "'fill_content' starts with neither + nor -"),
        ("default,+mend", "'mend' is neither a kind nor a strategy"),
        ("all, - none", "'none' is neither a kind nor a strategy"),
    ],
)
def test_the_word_at_fault_is_named_as_it_was_written(text: str, fault: str) -> None:
    """Whoever mistyped it finds it."""
    with pytest.raises(ValueError, match=f"^{re.escape(fault)}$"):
        Policy(text)


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("WINDOW_EVENTS", "0", "must be at least 1"),
        ("WINDOW_SECONDS", "nan", "must be a number of seconds, 0 or more"),
        ("SEQUENCE_FIELDS", ",", "names no field"),
        ("CAPTURE_CONTENT", "some", "must be true or false"),
    ],
)
def test_the_sentence_says_what_a_value_must_be(name: str, text: str, why: str) -> None:
    """At 3 a.m., in the log."""
    _, (complaint,) = Settings.from_environ({f"STREAMWATCH_{name}": text})

    assert complaint.startswith(f"STREAMWATCH_{name}={text!r} is not usable ({why}); using ")


def test_a_policy_is_its_text() -> None:
    """What it comes to is no argument, and not in a log line."""
    assert repr(Policy("all,-fill_content")) == "Policy(text='all,-fill_content')"
    assert list(inspect.signature(Policy).parameters) == ["text"]
