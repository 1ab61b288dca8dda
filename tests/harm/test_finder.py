"""The finder itself: it finds what harms, it leaves alone what is proved, and its tables are what they say they are.

An engine that harms is one that hands the SDK other events than the server sent: here it is a function of the events.
"""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from .changes import CHANGES, Events, applied, changes_of, on_calls, on_choices, on_deltas, on_payloads
from .finder import Case, Finder, Tally, Watch, plan
from .ideal import ideals
from .ideal_order import in_order, number
from .judge import BAD
from .proof import changed
from .readers import READERS, Reader, outcome
from .run import main
from .serving import MODES, Read, Server
from .shrink import Shrinker
from .streams import GENERATORS, OTHERS, generated, own
from .wire import DONE, Chance, Event, Stream, made, parsed

pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
Edit = Callable[[Events], "Events | None"]
#: Generated streams of each API that the tables are held against: every kind of answer is among them.
SEEDS = range(60)


class Engine(Watch):
    """An engine that hands on other events than came."""

    def __init__(self, edit: Edit) -> None:
        super().__init__()
        self.edit = edit

    @contextlib.contextmanager
    def on(self) -> Iterator[list[Any]]:
        """Watch nothing."""
        yield []

    def read(self, server: Server, stream: Stream, mode: str, cut: str, reports: list[Any]) -> Read | None:
        """Return what an application is given of the events as the engine hands them on."""
        events = self.edit(list(stream.events))
        return server.read(stream if events is None else stream.of(events), mode, cut)


def judged(edit: Edit, cases: list[Case]) -> Tally:
    """Return what the finder says of an engine."""
    finder = Finder(Engine(edit))
    try:
        return finder.run(cases, 10**9)
    finally:
        finder.close()


def healthy(api: str, mode: str = "create", seeds: range = range(14)) -> list[Case]:
    """Return cases of healthy streams."""
    return [Case(generated(api, seed), (), seed, mode) for seed in seeds]


def with_change(api: str, name: str, mode: str = "create") -> list[Case]:
    """Return cases of one change."""
    cases = [Case(generated(api, seed), (name,), seed, mode) for seed in SEEDS]
    return [case for case in cases if case.stream() is not None][:5]


def harmed(tally: Tally) -> set[str]:
    """Return the readers that were harmed."""
    return {name.partition(": ")[2] for (name, verdict), count in tally.by_reader.items() if verdict in BAD and count}


# --- what harms is found


def fill_content(events: Events) -> Events | None:
    """Put a content of "" where none is, as the first edition did."""
    return on_deltas(events, lambda delta, _: not delta.get("content") and not delta.update(content=""))


def drop_vendor_events(events: Events) -> Events:
    """Drop what comes after the end."""
    end = next((i for i, event in enumerate(events) if event.type == "response.completed"), len(events))
    return events[: end + 1]


def one_text(events: Events) -> Events | None:
    """Put all choices under index 0."""
    return on_choices(events, lambda choice, _: not choice.update(index=0))


def no_empty_ids(events: Events) -> Events | None:
    """Take ids of "" out of continuations."""
    return on_calls(events, lambda call, first, _: call.get("id") == "" and (call.pop("id"), True)[1])


def sort_by_anything(events: Events) -> Events:
    """Sort by a number that is no order."""
    return sorted(events, key=lambda event: number(event, "index") or 0)


def lose_last_delta(events: Events) -> Events:
    """Lose a piece of text."""
    places = [
        place
        for place, event in enumerate(events)
        if event.type.endswith(("output_text.delta", "transcript.text.delta"))
    ]
    return [event for place, event in enumerate(events) if place not in places[-1:]]


def other_ids(events: Events) -> Events | None:
    """Give items other ids, and leave what they encrypt."""
    return on_payloads(events, lambda p, _: isinstance(p.get("item"), dict) and not p["item"].update(id="item_x"))


def swallow_errors(events: Events) -> Events:
    """Drop what the SDK would raise on."""
    return [event for event in events if not (event.is_object and event.payload.get("error"))]


def garbage(events: Events) -> Events:
    """Hand on something that is no JSON."""
    return [Event(raw=b"data: {\n\n"), *events]


def without_role(events: Events) -> Events | None:
    """Take roles out that repeat."""
    seen: set[Any] = set()

    def edit(delta: Any, choice: Any) -> bool:
        again = choice["index"] in seen and "role" in delta
        seen.add(choice["index"])
        return again and bool(delta.pop("role"))

    return on_deltas(events, edit)


#: An engine, what makes the cases it sees, and readers that it harms.
HARMFUL: list[tuple[Edit, Callable[[], list[Case]], set[str]]] = [
    (
        fill_content,
        partial(healthy, "chat"),
        {"contents", "text_until_none", "text_not_none_elif_calls", "number_of_texts"},
    ),
    (
        drop_vendor_events,
        partial(with_change, "responses", "rate_limits_with_number_after_end"),
        {"number_of_events", "type_of_last"},
    ),
    (one_text, partial(healthy, "completions"), {"texts_by_index", "finish_reasons"}),
    (no_empty_ids, partial(with_change, "chat", "call_id_empty_later"), {"calls_ids", "whole[to_dict]"}),
    (sort_by_anything, partial(with_change, "chat", "stamps_index_scattered"), {"text_or_empty", "contents"}),
    (lose_last_delta, partial(healthy, "responses"), {"text_by_deltas", "number_of_events", "text_of_open_item"}),
    (other_ids, partial(healthy, "responses"), {"items_done", "items_announced"}),
    (swallow_errors, partial(with_change, "chat", "error_inside"), {"text_or_empty", "number_of_chunks"}),
    (swallow_errors, partial(with_change, "responses", "error_inside", "helper"), {"helper_text"}),
    (garbage, partial(healthy, "chat", "helper", range(6)), {"final_text"}),
    (lose_last_delta, partial(healthy, "transcriptions"), {"everything", "text_by_deltas"}),
    (lose_last_delta, partial(healthy, "agents"), {"dicts", "text_of_turns", "ids"}),
    (swallow_errors, partial(with_change, "assistants", "error_inside"), {"everything", "said"}),
    (without_role, partial(with_change, "chat", "role_on_every_chunk"), {"roles", "fields_set"}),
]


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("edit", "cases", "readers"),
    HARMFUL,
    ids=[f"{edit.__name__}-{number}" for number, (edit, _, _) in enumerate(HARMFUL)],
)
def test_harm_is_found(edit: Edit, cases: Callable[[], list[Case]], readers: set[str]) -> None:
    """Each of these engines harms somebody, and the finder says whom."""
    tally = judged(edit, cases())
    assert readers <= harmed(tally)
    assert tally.findings


def test_an_engine_that_raises_makes_it_worse() -> None:
    """A reader that ended well, and raises now, is worse off than one that ends otherwise."""
    tally = judged(garbage, healthy("responses", seeds=range(4)))
    assert set(tally.verdicts) == {"worse", "left"}
    assert tally.verdicts["worse"] > 10 * tally.verdicts["left"]


@pytest.mark.slow
@pytest.mark.parametrize("api", GENERATORS)
def test_dropping_any_chunk_is_seen_by_somebody(api: str) -> None:
    """Whatever event of a healthy stream gets lost, there is a reader for it."""
    place = -1
    finder = Finder(Engine(lambda events: [*events[:place], *events[place + 1 :]]))
    for stream in sorted((generated(api, seed) for seed in SEEDS), key=lambda stream: len(stream.events))[8:14]:
        for place, lost in enumerate(stream.events):
            if lost.payload != DONE:
                verdicts = {row.verdict for row, _ in finder.verdicts(Case(stream, (), 1))}
                assert "harmed" in verdicts, (stream.name, place)
    finder.close()


# --- what is proved is left alone


def undo(events: Events) -> Events | None:
    """Do nothing."""
    return None


def in_order_of(field: str) -> Edit:
    """Return an engine that puts events in order."""
    return lambda events: next(in_order(events, field), None)


#: An engine that repairs, the changes that it repairs, and the verdict about those who see it.
REPAIRS: list[tuple[Edit, str, list[str]]] = [
    (in_order_of("sequence_number"), "responses", ["late_by_1", "late_by_5", "jitter", "twice", "run_again"]),
    (in_order_of("sequence_number"), "chat", ["late_by_1_stamped", "jitter_stamped", "first_two_exchanged_stamped"]),
    (in_order_of("id:"), "chat", ["jitter_with_ids_of_frames", "twice_with_ids_of_frames"]),
    (lambda events: [e for e in events if e.is_object or e.payload == DONE], "chat", ["null_inside", "number_first"]),
]


@pytest.mark.slow
@pytest.mark.parametrize(("edit", "api", "names"), REPAIRS)
def test_what_numbers_prove_is_a_repair(edit: Edit, api: str, names: list[str]) -> None:
    """Events in order of their numbers, each once, harm nobody."""
    for name in names:
        tally = judged(edit, with_change(api, name))
        assert not harmed(tally), name
        assert tally.verdicts["repaired"], name


@pytest.mark.slow
def test_a_tail_that_the_closing_text_has_is_a_repair() -> None:
    """A piece of text that was lost may be put in before the event that has the whole text."""
    for name in ("texts_longer_when_done", "last_deltas_lost"):
        tally = Tally()
        for case in with_change("responses", name):
            stream = case.stream()
            assert stream is not None
            whole = next((s for label, s in ideals(stream) if label == "with the tails of texts"), None)
            if whole is not None:
                tally.merge(judged(_always(list(whole.events)), [case]))
        assert not harmed(tally), name
        assert tally.verdicts["repaired"], name


def _always(events: Events) -> Edit:
    return lambda _: events


@pytest.mark.slow
def test_moving_texts_that_nothing_numbers_is_harm() -> None:
    """The same repair without numbers is a guess."""
    cases = with_change("chat", "late_by_1_without_numbers")
    originals = {tuple(map(repr, case.stream().events)): case.base.events for case in cases}  # type: ignore[union-attr]
    tally = judged(lambda events: list(originals[tuple(map(repr, events))]), cases)
    assert tally.verdicts["harmed"]


@pytest.mark.slow
@pytest.mark.parametrize("api", GENERATORS)
@pytest.mark.parametrize("mode", MODES)
def test_an_engine_that_does_nothing_harms_nobody(api: str, mode: str) -> None:
    """The same stream twice is the same, in every way of reading."""
    cases = healthy(api, mode, range(3))
    some = changes_of(api)[:: 4 if mode == "create" else 25]
    cases += [Case(generated(api, seed), (change.name,), seed, mode) for seed, change in enumerate(some)]
    tally = judged(undo, cases)
    assert set(tally.verdicts) <= {"kept", "left"}
    assert (
        tally.combinations or (api, mode) == ("completions", "helper") or (api, mode) == ("completions", "helper_async")
    )


# --- the tables


@pytest.mark.quick_cases(15)
@pytest.mark.parametrize("name", CHANGES)
def test_a_change_changes_something(name: str) -> None:
    """Each change has something to change in a generated stream, gives the same again, and leaves its input alone."""
    change = CHANGES[name]
    for api in change.apis:
        for seed in range(400):
            stream = generated(api, seed)
            before = [event.written() for event in stream.events]
            after = applied(change, stream.events, 1, stream.name)
            assert [event.written() for event in stream.events] == before
            if after is not None:
                written = [event.written() for event in after]
                assert written != before
                again = applied(change, stream.events, 1, stream.name)
                assert again is not None
                assert [event.written() for event in again] == written
                break
        else:
            assert api in OTHERS, f"nothing to change in 400 streams of {api}"  # an image has no text, for instance


READER_IDS = [(api, name) for api, table in READERS.items() for name in table]


@pytest.mark.slow
@pytest.mark.parametrize("api", GENERATORS)
def test_every_reader_works_on_some_stream(api: str) -> None:
    """A reader that never comes to a good end, or always to the same, would find nothing."""
    server = Server()
    ended: dict[str, set[str]] = {}
    streams = [generated(api, seed) for seed in SEEDS]
    lists = [case.stream() for case in with_change("chat", "tool_calls_empty_everywhere")] if api == "chat" else []
    for stream in [*streams, *filter(None, lists), *(s for s in own() if s.api == api)]:
        for way in ("create", "helper"):
            read = server.read(stream, way)
            for reader in _of_way(api, way) if read is not None else ():
                result = outcome(reader, read)  # type: ignore[arg-type]
                if result.well:
                    ended.setdefault(reader.name, set()).add(repr(result.value))
    server.close()
    assert not {reader.name for way in ("create", "helper") for reader in _of_way(api, way)} - set(ended)
    alike = {name for name, results in ended.items() if len(results) == 1}
    assert alike <= {"number_of_texts", "logprobs", "calls_bare_loop"}, alike


def _of_way(api: str, way: str) -> list[Reader]:
    helper = ("helper", "final")
    return [reader for reader in READERS[api].values() if (reader.way in helper) == (way == "helper")]


@pytest.mark.slow
@pytest.mark.parametrize("api", GENERATORS)
def test_readers_leave_what_they_read_alone(api: str) -> None:
    """The readers run one after the other over the same chunks: in any order they end the same."""
    server = Server()
    for seed in range(20):
        for way in ("create", "helper"):
            read = server.read(generated(api, seed), way)
            if read is None:
                continue
            readers = _of_way(api, way)
            first = {reader.name: repr(outcome(reader, read)) for reader in readers}
            read.results.clear()
            assert {reader.name: repr(outcome(reader, read)) for reader in reversed(readers)} == first
    server.close()


def test_a_twin_is_there() -> None:
    """The reader whose result is right where another one raises has a name in the same table."""
    for table in READERS.values():
        assert {reader.twin for reader in table.values()} - {""} <= set(table)


# --- streams, chance and proof


@pytest.mark.slow
@pytest.mark.parametrize("api", GENERATORS)
def test_a_generated_stream_proves_itself_right(api: str) -> None:
    """Nothing on the wire of a healthy stream contradicts it."""
    for seed in range(300):
        stream = generated(api, seed)
        assert not list(ideals(stream)), stream.name
        assert b"".join(event.written() for event in parsed(b"".join(stream.reads()))) == b"".join(stream.reads())


def test_recordings_are_what_they_are() -> None:
    """A recording that nobody changes goes over the wire byte for byte."""
    for stream in own():
        written = b"".join(event.written() for event in stream.events)
        assert stream.events
        assert written
        assert parsed(written) == stream.events


def test_a_choice_stays_when_another_change_is_undone() -> None:
    """A choice among events goes by their tags: one more event elsewhere does not move it."""
    moved = 0
    for seed in range(200):
        stream = generated("chat", seed)
        place = Chance(seed).place(stream.events, lambda event: event.is_object)
        more = (made({"type": "ping"}, tag="zz"), *stream.events)
        again = Chance(seed).place(more, lambda event: event.is_object)
        moved += place is None or again is None or more[again].tag != stream.events[place].tag
    assert moved < 40  # the new event itself is chosen now and then


def numbered(*numbers: int) -> Events:
    """Return events with these numbers."""
    return [made({"sequence_number": each, "n": place}, tag=str(place)) for place, each in enumerate(numbers)]


@pytest.mark.parametrize(
    ("numbers", "order"),
    [
        ((0, 2, 1, 3), [0, 2, 1, 3]),
        ((3, 2, 0, 1), [2, 3, 1, 0]),
        ((3, 2, 1, 0), None),  # counts what is left, for all we know
        ((5, 9, 6, 8), [0, 2, 3, 1]),  # one is missing
        ((0, 10, 5, 20), None),  # sparse: whatever they count, it is not events
        ((0, 1, 0, 2), None),  # a number with two payloads
        ((7, 7, 7), None),
        ((1, 0), None),  # of two anything is a permutation
    ],
)
def test_numbers_prove_an_order_or_none(numbers: tuple[int, ...], order: list[int] | None) -> None:
    """A permutation of consecutive integers is no accident; anything else is no order."""
    found = next(in_order(numbered(*numbers), "sequence_number"), None)
    assert (None if found is None else [event.payload["n"] for event in found]) == order


def placed(*numbers: int | None) -> Events:
    """Return events with these numbers, or with none; the payload depends on the number alone."""
    return [
        made({} if each is None else {"sequence_number": each}, tag=str(place)) for place, each in enumerate(numbers)
    ]


@pytest.mark.parametrize(
    ("numbers", "orders"),
    [
        ((0, 4, 1, None, 2, 3, 5), {"01234x5", "01x2345", "012x345"}),  # behind all before it, behind 1, the fourth
        ((0, 1, 1, 3, 2), {"0123", "01123"}),  # a repeat goes, or stays
        ((0, 0, 1, 2, 2, 4, 3), {"01234", "001234", "0012234"}),  # the first repeats alone may stay
    ],
)
def test_what_has_no_number_keeps_what_stood_before_it(numbers: tuple[int | None, ...], orders: set[str]) -> None:
    """An event without a number has three places that nothing contradicts, and a repeat is owed nothing."""
    found = {
        "".join(str(event.payload.get("sequence_number", "x")) for event in order)
        for order in in_order(placed(*numbers), "sequence_number")
    }
    assert found >= orders
    assert all(sorted(order.replace("x", "")) == list(order.replace("x", "")) for order in found)


def test_what_ends_a_stream_ends_it_in_any_order() -> None:
    """[DONE] follows no event to another place."""
    events = [*placed(0, 1, 3, None, 2), made(DONE)]
    assert {order[-1].payload for order in in_order(events, "sequence_number")} == {DONE}


def test_a_long_run_of_numbers_outlives_a_contradiction() -> None:
    """A finish that is said once more, with its usage, under the same number: it stays where it came."""
    events = [*numbered(*range(9)), made({"sequence_number": 8, "n": "again"})]
    disordered = [*events[:2], events[3], events[2], *events[4:]]
    assert next(in_order(disordered, "sequence_number")) == events
    short = [*numbered(0, 1, 2, 3, 4), made({"sequence_number": 4})]
    assert next(in_order([short[0], short[2], short[1], *short[3:]], "sequence_number")) == short  # up to there
    assert (
        next(in_order([*numbered(0, 2), made({"sequence_number": 2}), *numbered(1)], "sequence_number"), None) is None
    )


def test_two_changes_are_undone_one_by_one() -> None:
    """The stream with one of two changes is the same as if the other one had never been."""
    stream = next(s for s in (generated("chat", seed) for seed in SEEDS) if "text" in s.name and "calls" not in s.name)
    both = changed(stream, ("typed_ping_inside", "chunk_id_absent"), 3)
    alone = changed(stream, ("chunk_id_absent",), 3)
    assert both is not None
    assert alone is not None
    assert [event for event in both.events if event.type != "ping"] == list(alone.events)


# --- the plan, shrinking, and the command


@pytest.mark.slow
def test_a_plan_has_every_change_and_can_be_shared() -> None:
    """Shares of a plan are the plan, and the same seed gives the same plan."""
    recorded = list(own())
    whole = [_named(case) for case, _ in zip(plan(5, recorded=recorded), range(200))]
    assert whole == [_named(case) for case, _ in zip(plan(5, recorded=recorded), range(200))]
    halves = [iter(plan(5, recorded=recorded, shard=(place, 2))) for place in (0, 1)]
    assert whole[:100] == [_named(next(halves[number % 2])) for number in range(100)]
    names = {name for case, _ in zip(plan(5, recorded=[]), range(2000)) for name in case.changes}
    assert names == set(CHANGES)


def _named(case: Case) -> tuple[Any, ...]:
    return case.base.name, case.changes, case.seed, case.mode, case.cut


@pytest.mark.slow
@pytest.mark.parametrize(("edit", "cases"), [(fill_content, healthy("chat")), (lose_last_delta, healthy("responses"))])
def test_an_example_shrinks(edit: Edit, cases: list[Case]) -> None:
    """What is shown is harmed in the same way, by a stream that is not longer."""
    finder = Finder(Engine(edit))
    tally = finder.run(cases, 10**9)
    longest = max(tally.findings, key=lambda finding: len(finding.case.base.events))
    shrunk = Shrinker(finder).shrunk(longest)
    finder.close()
    assert shrunk.judged.reader == longest.judged.reader
    assert shrunk.judged.verdict in BAD
    assert len(shrunk.events) < len(longest.case.base.events)


@pytest.mark.slow
def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Any) -> None:
    """The command prints the figures, writes them as JSON, and says by its status whether anybody is harmed."""
    path = tmp_path / "harm.json"
    status = main(["--count", "800", "--generated", "--policy", "none", "--json", str(path), "--rows", "5"])
    assert status == 0
    assert "combinations of" in capsys.readouterr().out
    figures = json.loads(path.read_text("utf-8"))
    assert sum(figures["verdicts"].values()) >= 800 - 100
    assert not set(figures["verdicts"]) - {"kept", "left"}


def test_streams_are_written_for_other_clients(tmp_path: Any) -> None:
    """A line has what the drivers of the frameworks need."""
    path = tmp_path / "streams.jsonl"
    assert main(["--count", "20", "--generated", "--write", str(path)]) == 0
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert rows
    assert all(set(row) == {"id", "api", "content_type", "connection_cut", "request", "wire"} for row in rows)


def test_warnings_of_pydantic_are_no_business_of_ours() -> None:
    """A value of another type makes pydantic warn, and no reader fail for that."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tally = judged(undo, with_change("chat", "chunk_id_number"))
    assert set(tally.verdicts) <= {"kept", "left"}
