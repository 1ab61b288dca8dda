"""Cut responses that are read on: by the real client, from a server that keeps them."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import openai
import pytest

from conftest import Watched
from helpers.keeper import EVENTS, FRAMES, Answer, Asked, Keeper, changed, rest
from helpers.quick import sample
from helpers.sdk import MODES, VERSION, Body, httpx
from recordings.build import RECORDINGS
from streamwatch import Settings, StreamWatch
from streamwatch.core.kinds import RESPONSE_INTERRUPTED
from streamwatch.core.settings import Policy
from streamwatch.core.vocabulary import Condition, Outcome, Resumed, Verdict
from streamwatch.sdk import resuming

pytestmark = [
    pytest.mark.skipif(VERSION < (1, 84), reason="responses in the background are younger"),
    pytest.mark.quick_cases(1),  # each asks a server, most of them in both modes
]

RESUME = Settings(resume=True)
ASKED: dict[str, Any] = {"model": "m", "input": "x", "stream": True, "background": True}
#: The event after which most streams are cut here: in the middle of the text.
AT = 17
CUT = Answer(b"".join(FRAMES[: AT + 1]))
ADDED = ("streamwatch.added_requests", "streamwatch.resumed")

_EACH_MODE = pytest.mark.parametrize("mode", MODES)


@dataclass
class Read:
    """What a program got of a stream: its events, and the exception that ended it."""

    events: list[dict[str, Any]]
    error: BaseException | None = None

    def as_seen(self) -> tuple[Any, ...]:
        """Return what can be compared with another reading: the exception by what it and its causes are."""
        causes, error = [], self.error
        while error is not None:
            causes.append((type(error), str(error)))
            error = error.__cause__ or error.__context__
        return self.events, causes


def taken(stream: Any) -> Read:
    """Read a stream as programs do."""
    read = Read([])
    try:
        for event in stream:
            read.events.append(event.to_dict())
    except Exception as error:
        read.error = error
    return read


async def taken_async(stream: Any) -> Read:
    read = Read([])
    try:
        async for event in stream:
            read.events.append(event.to_dict())
    except Exception as error:
        read.error = error
    return read


@dataclass
class Program:
    """A program that reads a response, of a server that keeps it."""

    keeper: Keeper
    address: str
    mode: str = "sync"

    def client(self, **options: Any) -> Any:
        cls = openai.OpenAI if self.mode == "sync" else openai.AsyncOpenAI
        return cls(base_url=f"http://{self.address}/v1", api_key="k", **{"max_retries": 0, "timeout": 10, **options})

    def read(self, *script: Any, options: dict[str, Any] | None = None, **more: Any) -> Read:
        """Return what a reader of `create` gets; without `script`, of the same answers as before."""
        self.keeper.start(*(script or self.keeper.script))
        asked = {name: value for name, value in {**ASKED, **more}.items() if value is not None}
        if self.mode == "sync":
            with self.client(**options or {}) as client:
                return taken(client.responses.create(**asked))
        return asyncio.run(self._read(options or {}, asked))

    async def _read(self, options: dict[str, Any], asked: dict[str, Any]) -> Read:
        async with self.client(**options) as client:
            return await taken_async(await client.responses.create(**asked))

    @property
    def asked(self) -> list[Asked]:
        return self.keeper.asked


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Keeper, str]]:
    keeper = Keeper()
    with keeper.serve() as address:
        yield keeper, address


@pytest.fixture(params=MODES)
def program(request: pytest.FixtureRequest, served: tuple[Keeper, str]) -> Program:
    """A program that reads synchronously, or asynchronously."""
    return Program(*served, request.param)


def as_plain(program: Program, watch: Callable[..., Watched], *script: Any, **more: Any) -> Read:
    """Return what the same program gets of the first answer without Streamwatch."""
    watch.stop()  # type: ignore[attr-defined]
    return program.read(*script, **more)


# --- what is read on


@pytest.mark.parametrize("ends", ["lost", "whole"])
def test_a_cut_at_any_place_is_read_on(program: Program, watch: Callable[..., Watched], ends: str) -> None:
    """After each event, and inside the bytes of each: the program gets all that the whole stream gives."""
    watched = watch(settings=RESUME)
    every = [(at, torn) for at in range(1, len(FRAMES)) for torn in (0, 7 if at % 2 else len(FRAMES[at]) - 1)]
    places = sample(every, 6)

    for at, torn in places:
        read = program.read(Answer(b"".join(FRAMES[:at]) + FRAMES[at][:torn], ends), rest)

        assert (read.events, read.error) == (EVENTS, None), f"cut after {at} events and {torn} bytes"
        assert [each.after for each in program.asked] == [-1, at - 1]
    assert len(watched.reports) == len(places)
    for report in watched.reports:
        assert (report.verdict, report.condition) == (Verdict.COMPLETE, Condition.REPAIRED)
        assert report.outcomes[RESPONSE_INTERRUPTED] == {Outcome.VERIFIED: 1}
        assert report.resumed == (Resumed.READ_ON,)
    assert watched.samples(*ADDED) == {"read_on": len(places)}
    assert sum(watched.samples("streamwatch.streams").values()) == len(places)


def test_other_recordings_are_read_on(program: Program, watch: Callable[..., Watched]) -> None:
    """Whatever is in them: padding, keep-alives with a number, an end that is incomplete."""
    watched = watch(settings=RESUME)
    for name in ("resp-openai-text", "resp-openai-keepalive", "resp-openai-incomplete", "resp-xai-items-interleaved"):
        wire = RECORDINGS[name].wire
        frames = [block + b"\n\n" for block in wire.split(b"\n\n") if block]
        whole = program.read(Answer(wire, "whole"))
        read = program.read(
            Answer(b"".join(frames[:5])), lambda after, f=frames: Answer(b"".join(f[after + 1 :]), "whole")
        )

        assert read.as_seen() == whole.as_seen()
        assert len(program.asked) == 2
    assert {report.verdict for report in watched.reports} == {Verdict.COMPLETE}


def test_a_server_that_begins_again_repeats_what_came(program: Program, watch: Callable[..., Watched]) -> None:
    """What is the same is left out, whatever it is padded with; nothing comes twice."""
    watched = watch(settings=RESUME)
    padded = [changed(at, obfuscation="x" * at) if "delta" in EVENTS[at] else FRAMES[at] for at in range(len(FRAMES))]

    for start in (0, AT - 2):
        read = program.read(CUT, Answer(b"".join(padded[start:]), "whole"))

        assert [{**event, "obfuscation": None} for event in read.events] == [
            {**event, "obfuscation": None} for event in EVENTS
        ]
        assert read.error is None
    assert [report.outcomes[RESPONSE_INTERRUPTED] for report in watched.reports] == [{Outcome.VERIFIED: 1}] * 2


def test_a_server_that_cuts_again_is_asked_again(program: Program, watch: Callable[..., Watched]) -> None:
    """As long as something new comes, and up to twenty times."""
    watched = watch(settings=RESUME)
    read = program.read(CUT, lambda after: Answer(b"".join(FRAMES[after + 1 : after + 3])))

    assert (read.events, read.error) == (EVENTS, None)
    assert [each.after for each in program.asked] == [-1, *range(AT, len(EVENTS) - 1, 2)]
    requests = len(program.asked) - 1
    assert watched.report.outcomes[RESPONSE_INTERRUPTED] == {Outcome.VERIFIED: requests}

    read = program.read(Answer(FRAMES[0]), lambda after: Answer(FRAMES[after + 1]))

    assert len(program.asked) == 1 + 20
    assert read.events == EVENTS[:21]
    plain = as_plain(program, watch, Answer(FRAMES[0]))
    assert read.as_seen()[1] == plain.as_seen()[1]
    assert watched.reports[-1].verdict is Verdict.TRUNCATED
    assert watched.reports[-1].outcomes[RESPONSE_INTERRUPTED] == {Outcome.VERIFIED: 20, Outcome.UNREPAIRED: 1}


# --- every way in which a response is read


@_EACH_MODE
def test_a_response_that_is_read_again_is_read_on(
    served: tuple[Keeper, str], watch: Callable[..., Watched], mode: str
) -> None:
    """`retrieve(stream=True)`, from the start or from an event on, is itself resumable."""
    watch(settings=RESUME)
    program = Program(*served, mode)
    for start in (-1, 5):
        program.keeper.start(Answer(b"".join(FRAMES[start + 1 : AT])), rest)
        after = {} if start < 0 else {"starting_after": start}
        if mode == "sync":
            with program.client() as client:
                read = taken(client.responses.retrieve("resp_1", stream=True, **after))
        else:

            async def reading(program: Program = program, after: Any = after) -> Read:
                async with program.client() as client:
                    return await taken_async(await client.responses.retrieve("resp_1", stream=True, **after))

            read = asyncio.run(reading())

        assert (read.events, read.error) == (EVENTS[start + 1 :], None)
        assert [(each.method, each.path, each.after) for each in program.asked] == [
            ("GET", "/v1/responses/resp_1", start),
            ("GET", "/v1/responses/resp_1", AT - 1),
        ]


@_EACH_MODE
def test_the_helper_reads_on(served: tuple[Keeper, str], watch: Callable[..., Watched], mode: str) -> None:
    """`.stream()` ends with the response that it gathers from the whole stream."""
    watched = watch(settings=RESUME)
    program = Program(*served, mode)

    asked = {name: ASKED[name] for name in ("model", "input", "background")}

    def final(*script: Any) -> Any:
        program.keeper.start(*script)
        if mode == "sync":
            with program.client() as client, client.responses.stream(**asked) as stream:
                return stream.get_final_response().to_dict()

        async def reading() -> Any:
            async with program.client() as client, client.responses.stream(**asked) as stream:
                return (await stream.get_final_response()).to_dict()

        return asyncio.run(reading())

    whole = final(Answer(b"".join(FRAMES), "whole"))

    assert final(CUT, rest) == whole
    assert len(program.asked) == 2
    assert watched.reports[-1].request.accumulated
    assert watched.reports[-1].outcomes[RESPONSE_INTERRUPTED] == {Outcome.VERIFIED: 1}


@_EACH_MODE
@pytest.mark.parametrize("how", ["with_raw_response", "with_streaming_response"])
def test_a_raw_response_that_is_parsed_reads_on(
    served: tuple[Keeper, str], watch: Callable[..., Watched], mode: str, how: str
) -> None:
    """The request for the rest is an ordinary one: what the first was asked as is not asked for again."""
    watched = watch(settings=RESUME)
    program = Program(*served, mode)
    program.keeper.start(CUT, rest)

    def reading() -> Read:
        with program.client() as client:
            create = getattr(client.responses, how).create
            if how == "with_raw_response":
                return taken(create(**ASKED).parse())
            with create(**ASKED) as raw:
                return taken(raw.parse())

    async def reading_async() -> Read:
        async with program.client() as client:
            create = getattr(client.responses, how).create
            if how == "with_raw_response":
                return await taken_async((await create(**ASKED)).parse())
            async with create(**ASKED) as raw:
                return await taken_async(await raw.parse())

    read = reading() if mode == "sync" else asyncio.run(reading_async())

    assert (read.events, read.error) == (EVENTS, None)
    assert "x-stainless-raw-response" not in program.asked[1].headers
    assert len(watched.reports) == 1


# --- what the request has


@pytest.mark.parametrize("timeout", [7.5, httpx.Timeout(None)])
def test_the_request_is_the_applications_own(program: Program, watch: Callable[..., Watched], timeout: Any) -> None:
    """Its key, its headers and parameters, and what its events are to have in them."""
    watch(settings=RESUME)
    more = {
        "extra_headers": {"X-Tenant": "t", "Idempotency-Key": "once"},
        "extra_query": {"api-version": "1"},
        "include": ["message.output_text.logprobs"],
        "stream_options": {"include_obfuscation": False},
    }
    read = program.read(CUT, rest, options={"default_headers": {"X-Gateway": "g"}}, timeout=timeout, **more)

    assert (read.events, read.error) == (EVENTS, None)
    first, second = program.asked
    assert (second.method, second.path) == ("GET", "/v1/responses/resp_1")
    assert second.query.pop("include[]", None) or second.query.pop("include") == ["message.output_text.logprobs"]
    assert second.query == {
        "stream": ["true"],
        "starting_after": [str(AT)],
        "include_obfuscation": ["false"],
        **({"api-version": ["1"]} if "api-version" in first.query and VERSION >= (2, 22) else {}),
    }
    assert second.headers["authorization"] == first.headers["authorization"]
    assert second.headers["x-gateway"] == "g"
    assert second.headers.get("x-tenant") == ("t" if VERSION >= (2, 22) else None)
    assert "idempotency-key" not in second.headers
    waits = "x-stainless-read-timeout"
    if VERSION >= (2, 22):
        assert second.headers.get(waits) == first.headers.get(waits)


@pytest.mark.internal_errors_expected
def test_a_failure_before_anything_is_asked_is_an_end_like_any(
    program: Program, watch: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is held cannot be let go: nothing is asked, and the stream ends as it ended."""
    watched = watch(settings=RESUME)
    monkeypatch.setattr(StreamWatch, "let_go", lambda _: 1 // 0)
    read = program.read(CUT, rest)

    assert len(program.asked) == 1
    assert watched.internal_errors() == 1
    assert read.as_seen() == as_plain(program, watch, CUT).as_seen()


@pytest.mark.internal_errors_expected
@pytest.mark.parametrize("fails", ["_query", "_proved"])
def test_a_failure_of_ours_ends_it(
    program: Program, watch: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    """It is one internal error, and the program gets what it gets without Streamwatch."""
    watched = watch(settings=RESUME)
    monkeypatch.setattr(resuming.Resuming, fails, lambda *_: 1 // 0)
    read = program.read(CUT, rest)

    assert watched.internal_errors() == 1
    assert watched.report.resumed == (Resumed.REFUSED,)
    assert read.as_seen() == as_plain(program, watch, CUT).as_seen()


def test_the_client_retries_the_request(program: Program, watch: Callable[..., Watched]) -> None:
    """As it does any other: a server that is not ready is asked again, and one request was added."""
    watched = watch(settings=RESUME)
    read = program.read(CUT, Answer(b"{}", "whole", 503, "application/json"), rest, options={"max_retries": 1})

    assert (read.events, read.error) == (EVENTS, None)
    assert [each.after for each in program.asked] == [-1, AT, AT]
    assert watched.report.resumed == (Resumed.READ_ON,)


# --- what is not read on

_JSON = "application/json"
#: What a server answers to the request for the rest, and what that is counted as.
WRONG = {
    "not found": (Answer(b'{"error": {"message": "no"}}', "whole", 404, _JSON), Resumed.REFUSED),
    "bad request": (Answer(b'{"error": {"message": "no"}}', "whole", 400, _JSON), Resumed.REFUSED),
    "overloaded": (Answer(b"", "whole", 503), Resumed.REFUSED),
    "a document": (Answer(b'{"id": "resp_1", "object": "response"}', "whole", 200, _JSON), Resumed.REFUSED),
    "a gap": (Answer(b"".join(FRAMES[AT + 2 :]), "whole"), Resumed.WRONG),
    "an event that came, changed": (Answer(changed(AT, delta="no") + b"".join(FRAMES[AT + 1 :])), Resumed.WRONG),
    "another response": (
        Answer(changed(AT + 1, response={"id": "resp_2", "object": "response"}), "whole"),
        Resumed.WRONG,
    ),
    "an item of another response": (Answer(changed(AT + 1, item_id="msg_9"), "whole"), Resumed.WRONG),
    "an error without a number": (
        Answer(b'event: error\ndata: {"type": "error", "message": "gone"}\n\n', "whole"),
        Resumed.WRONG,
    ),
    "no numbers": (Answer(changed(AT + 1, sequence_number=None), "whole"), Resumed.WRONG),
    "no JSON": (Answer(b"data: <html>\n\n", "whole"), Resumed.WRONG),
    "no UTF-8": (Answer(b"data: \xff\xfe\n\n", "whole"), Resumed.WRONG),
}


@pytest.mark.quick_cases(3)
@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("ends", ["lost", "whole"])
def test_what_does_not_follow_is_not_used(
    program: Program, watch: Callable[..., Watched], name: str, ends: str
) -> None:
    """The program gets what it gets without Streamwatch: the same events, and the same end."""
    answer, result = WRONG[name]
    first = replace(CUT, ends=ends)
    watched = watch(settings=RESUME)
    read = program.read(first, answer)

    assert [each.after for each in program.asked] == [-1, AT]
    report = watched.report
    assert (report.verdict, report.resumed) == (Verdict.TRUNCATED, (result,))
    assert report.outcomes[RESPONSE_INTERRUPTED] == {Outcome.FAILED: 1}
    assert watched.samples(*ADDED) == {result.value: 1}
    assert read.as_seen() == as_plain(program, watch, first).as_seen()
    assert (read.error is None) == (ends == "whole")


def test_what_follows_up_to_a_gap_is_used(program: Program, watch: Callable[..., Watched]) -> None:
    """Three events prove to follow, then two are missing: the stream ends as it ended first."""
    watched = watch(settings=RESUME)
    read = program.read(CUT, Answer(b"".join([*FRAMES[AT + 1 : AT + 4], *FRAMES[AT + 6 :]]), "whole"))

    assert read.events == EVENTS[: AT + 4]
    assert watched.report.resumed == (Resumed.WRONG,)
    assert watched.report.verdict is Verdict.TRUNCATED
    assert watched.report.cases
    assert read.as_seen()[1] == as_plain(program, watch, CUT).as_seen()[1]


def test_a_server_that_brings_nothing_is_asked_twice(program: Program, watch: Callable[..., Watched]) -> None:
    """It answers and is cut off, whatever it repeats: the third time would bring nothing either."""
    for answer in (Answer(), Answer(b"", "whole"), Answer(b": ping\n\n"), Answer(b"".join(FRAMES[3 : AT + 1]))):
        watched = watch(settings=RESUME)
        read = program.read(CUT, answer)

        assert [each.after for each in program.asked] == [-1, AT, AT]
        assert watched.reports[-1].resumed == (Resumed.EMPTY, Resumed.EMPTY)
        assert watched.reports[-1].outcomes[RESPONSE_INTERRUPTED] == {Outcome.FAILED: 1}
        assert read.as_seen() == as_plain(program, watch, CUT).as_seen()


def test_a_text_that_contradicts_the_deltas_is_not_verified(program: Program, watch: Callable[..., Watched]) -> None:
    """The numbers are right, and the closing text is another one: that is what a failed repair is."""
    (done,) = [at for at, event in enumerate(EVENTS) if event["type"] == "response.output_text.done"]
    watched = watch(settings=RESUME)
    read = program.read(
        CUT, Answer(b"".join([*FRAMES[AT + 1 : done], changed(done, text="Else."), *FRAMES[done + 1 :]]), "whole")
    )

    assert read.error is None
    assert watched.report.outcomes[RESPONSE_INTERRUPTED] == {Outcome.FAILED: 1}


_IN_THE_FOREGROUND = {**EVENTS[0]["response"], "background": False}
#: Streams that are not read on: settings, what is asked, and the body.
NOT_RESUMED: dict[str, tuple[Settings, dict[str, Any], Answer]] = {
    "by default": (Settings(), {}, CUT),
    "on request": (Settings(repair=Policy("all")), {}, CUT),
    "while it observes": (Settings(resume=True, repair=Policy("none")), {}, CUT),
    "against the policy": (Settings(resume=True, repair=Policy("default,-resume")), {}, CUT),
    "in the foreground": (RESUME, {"background": None}, CUT),
    "not in the background": (RESUME, {"background": False}, CUT),
    "not stored": (RESUME, {"store": False}, CUT),
    "as the server says": (
        RESUME,
        {},
        Answer(changed(0, response=_IN_THE_FOREGROUND) + b"".join(FRAMES[1:AT])),
    ),
    "without an event": (RESUME, {}, Answer(FRAMES[0][:-9])),
    "over": (RESUME, {}, Answer(b"".join(FRAMES))),
    "over, the last event without its blank line": (RESUME, {}, Answer(b"".join(FRAMES)[:-1], "whole")),
    "failed": (RESUME, {}, Answer(b"".join(FRAMES[:5]) + b'data: {"type": "error", "sequence_number": 5}\n\n')),
    "without numbers": (RESUME, {}, Answer(b"".join(changed(at, sequence_number=None) for at in range(AT)))),
    "with a hole": (RESUME, {}, Answer(b"".join([*FRAMES[: AT - 1], FRAMES[AT]]))),
}


@pytest.mark.quick_cases(3)
@pytest.mark.parametrize("name", NOT_RESUMED)
def test_nothing_is_asked_for(program: Program, watch: Callable[..., Watched], name: str) -> None:
    """No request is added where nobody wants that, or the response cannot be read on: all is as on the plain SDK."""
    settings, more, answer = NOT_RESUMED[name]
    asks = name == "over, the last event without its blank line"
    watched = watch(settings=settings)
    read = program.read(answer, rest, **more)

    assert len(program.asked) == 1 + asks
    assert watched.report.resumed == ((Resumed.READ_ON,) if asks else ())
    if asks:
        assert (read.events, read.error) == (EVENTS, None)
    else:
        default = as_plain(program, watch, answer, **more)
        assert read.as_seen() == default.as_seen()


def test_a_cut_that_can_be_read_on_is_counted(program: Program, watch: Callable[..., Watched]) -> None:
    """Also where nobody asked for that: it says that it would help."""
    watched = watch()
    program.read(CUT)

    assert watched.report.outcomes[RESPONSE_INTERRUPTED] == {Outcome.UNREPAIRED: 1}
    assert {"stream_truncated", "response_interrupted"} <= set(watched.report.kinds)


# --- while the request is under way


def test_a_server_that_hangs_is_waited_for_as_long_as_the_client_says(
    program: Program, watch: Callable[..., Watched]
) -> None:
    """The client's own read timeout ends the request, and the program gets the exception of the cut."""
    for hanging in (Answer(b"", "hangs"), Answer(FRAMES[AT + 1], "hangs")):
        watched = watch(settings=RESUME)
        read = program.read(CUT, hanging, Answer(b"", "whole", 404), options={"timeout": 0.2})
        program.keeper.released.set()

        assert read.events == EVENTS[: AT + 1 + bool(hanging.body)]
        assert watched.reports[-1].verdict is Verdict.TRUNCATED
        assert read.as_seen()[1] == as_plain(program, watch, CUT).as_seen()[1]


def test_cancellation_meets_the_request(served: tuple[Keeper, str], watch: Callable[..., Watched]) -> None:
    """A task that is cancelled while the rest is asked for ends at once, as in any read."""
    watched = watch(settings=RESUME)
    program = Program(*served, "async")
    program.keeper.start(CUT, Answer(b"", "hangs"))

    async def reading() -> None:
        async with program.client() as client:
            stream = await client.responses.create(**ASKED)
            task = asyncio.create_task(taken_async(stream))
            while not program.keeper.hanging.is_set():
                await asyncio.sleep(0.005)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(task, 5)
            await stream.close()

    asyncio.run(reading())
    program.keeper.released.set()

    assert watched.report.verdict is Verdict.ABANDONED


def test_a_stream_that_is_closed_meanwhile_ends_as_it_ended_first(
    served: tuple[Keeper, str], watch: Callable[..., Watched]
) -> None:
    """By another thread, while the request waits for its answer: the answer is not read."""
    watch(settings=RESUME)
    program = Program(*served)

    def late(after: int) -> Answer:
        program.keeper.hanging.set()
        program.keeper.released.wait(5)
        return rest(after)

    program.keeper.start(CUT, late)
    client = program.client()
    stream = client.responses.create(**ASKED)
    reads: list[Read] = []
    thread = threading.Thread(target=lambda: reads.append(taken(stream)))
    thread.start()
    assert program.keeper.hanging.wait(5)
    stream.response.close()
    program.keeper.released.set()
    thread.join(5)
    client.close()

    thread = threading.Thread(target=lambda: reads.append(as_plain(program, watch, CUT)))  # where as little is handled
    thread.start()
    thread.join(5)
    assert reads[0].as_seen() == reads[1].as_seen()


@_EACH_MODE
@pytest.mark.parametrize("leaves", ["closes", "breaks", "reads all"])
def test_the_answer_is_closed_with_the_stream(watch: Callable[..., Watched], mode: str, leaves: str) -> None:
    """No connection is left behind: by a program that closes, by one that leaves, and by one that reads all."""
    watched = watch(settings=RESUME)
    bodies: list[Body] = []

    def respond(request: Any) -> Any:
        after = int(request.url.params.get("starting_after", -1))
        bodies.append(Body(FRAMES[: AT + 1] if after < 0 else FRAMES[after + 1 :]))
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=bodies[-1])

    transport = httpx.MockTransport(respond)
    wanted = len(EVENTS) if leaves == "reads all" else AT + 3

    def reading() -> None:
        client = openai.OpenAI(api_key="k", http_client=httpx.Client(transport=transport))
        stream = client.responses.create(**ASKED)
        for count, _event in enumerate(stream, 1):
            if count == wanted:
                break
        assert sum(1 for _ in stream) == 0 if leaves == "reads all" else True
        stream.close() if leaves == "closes" else None

    async def reading_async() -> None:
        client = openai.AsyncOpenAI(api_key="k", http_client=httpx.AsyncClient(transport=transport))
        stream = await client.responses.create(**ASKED)
        count = 0
        async for _event in stream:
            count += 1
            if count == wanted and leaves != "reads all":
                break
        await stream.close() if leaves == "closes" else None

    reading() if mode == "sync" else asyncio.run(reading_async())
    report = watched.report

    assert report.verdict is (Verdict.COMPLETE if leaves == "reads all" else Verdict.ABANDONED)
    assert report.resumed == (Resumed.READ_ON,)
    assert bodies[1].closed or leaves == "breaks"


def test_a_span_says_how_many_requests_were_added(program: Program, watch: Callable[..., Watched]) -> None:
    """And that the stream was read on; the text of the answer is nowhere."""
    watched = watch(settings=RESUME)
    program.read(CUT, rest)
    (span,) = watched.spans

    assert span.attributes is not None
    assert span.attributes["streamwatch.added_requests"] == 1
    assert [event.attributes["streamwatch.outcome.verified"] for event in span.events if event.attributes] == [1]


def test_no_second_stream_is_counted(program: Program, watch: Callable[..., Watched]) -> None:
    """The request for the rest is a part of the stream that it is for."""
    watched = watch(settings=RESUME)
    program.read(CUT, rest)

    assert watched.samples("streamwatch.streams", "streamwatch.verdict") == {"complete": 1}
    assert watched.samples("streamwatch.unobserved_streams") == {}
    assert re.fullmatch("resp_1", watched.report.response_id)
