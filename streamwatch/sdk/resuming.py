"""A cut response that is read on: further requests of the application's own client, where that was asked for.

How it works. A server keeps a background response, and gives the rest of it to a request that names the last event.
Where the body of such a response ends too early, what is read in its place is a generator of this module. It asks the
server by the client that made the stream, so that authentication, retries, proxies and timeouts are the application's,
and hands on the events that prove to follow (`core.resumption`). The request is made in the reader's next read: a
cancellation, a signal or a timeout of the application meets it as it would meet any read.

Whatever goes wrong, the stream ends as it ended the first time: with the same exception, or without one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Protocol
from urllib.parse import quote

from streamwatch.core.kinds import RESPONSE_INTERRUPTED
from streamwatch.core.report import Request
from streamwatch.core.resumption import Continuation, ResumePoint
from streamwatch.core.settings import Settings
from streamwatch.core.stream import StreamWatch
from streamwatch.core.vocabulary import Resumed
from streamwatch.sdk.interruption import is_interruption, unless_interrupted
from streamwatch.sdk.lines import HTTPX
from streamwatch.sdk.request_info import body_of, id_in

#: Requests for one stream. A proxy that lets no connection live longer than three minutes cuts an hour of research that
#: often; where it is worse, polling is the better way.
_MAX_REQUESTS = 20
#: Requests in a row that bring nothing new: each was retried already, where the client does that.
_MAX_USELESS = 2
#: Beginnings of the names of headers that are about one request alone.
_OF_ONE_REQUEST = ("accept", "content-", "idempotency-key", "x-stainless-")
_NOT_GIVEN = object()
#: After these nothing more is asked.
_LAST = (Resumed.WRONG, Resumed.REFUSED, Resumed.ABANDONED)


class Session(Protocol):
    """The part of a session that reading on needs."""

    watch: StreamWatch
    closed_elsewhere: bool

    def goes_on(self) -> None:
        """Take note that what is read next follows what was read."""

    def could_not_go_on(self, error: BaseException) -> None:
        """Take note of an error of Streamwatch; raises one that was raised into its code."""


class Resuming:
    """The means to read one response on: how far it came, the client, and what came of earlier requests.

    Args:
        stream: the SDK's stream.
        point: how far it came.
        body: the body of its request.
        returns: the class of responses that the client hands out as they are.
        max_event_bytes: an event that is larger is not read.
    """

    def __init__(
        self, stream: Any, point: ResumePoint, body: Mapping[str, Any], returns: Any, max_event_bytes: int
    ) -> None:
        self.point = point
        self.answer: Any = None  #: the response that is read in place of the first one
        self.results: list[Resumed] = []  #: of the requests, in their order
        self._client = _client_of(stream)
        self._options = getattr(stream, "_options", None)
        self._body = body
        self._returns = returns
        self._max_event_bytes = max_event_bytes
        self._first: BaseException | None = None  # with what the body ended first, if that was an exception

    def is_possible(self, error: BaseException | None) -> bool:
        """Return whether a body that ended so is read on."""
        results = self.results
        if len(results) >= _MAX_REQUESTS or self._is_useless or not self.point.can_be_asked_for:
            return False
        if error is not None and not _is_cut(error):
            return False
        self._first = self._first if results else error
        return True

    def as_it_ended_first(self, error: BaseException | None) -> BaseException | None:
        """Return what the application gets for the end of the body: nothing that it would not have got."""
        if self.point.is_over or not (self.results and (error is None or _is_cut(error))):
            return error
        first, self._first = self._first, None  # its traceback holds the frames of the reader
        return first

    @property
    def _is_useless(self) -> bool:
        """Whether another request would be of no use."""
        results = self.results
        return results[-_MAX_USELESS:] == [Resumed.EMPTY] * _MAX_USELESS or any(each in _LAST for each in results[-1:])

    # --- what is read in place of the body

    def chunks(self, session: Session) -> Iterator[bytes]:
        """Yield the bytes that follow, for synchronous code."""
        proof = self._begin(session)
        try:
            answer = self.answer = self._client.get(**self._request())
            if self._is_taken(answer, session):
                for data in answer.iter_bytes():
                    yield from self._proved(proof, data, session)
                    if proof.is_wrong:
                        break
            answer.close()
        except BaseException as error:
            if self._is_the_applications(error, session):
                raise
        self._end(session)

    async def achunks(self, session: Session) -> AsyncIterator[bytes]:
        """Yield the bytes that follow, for asynchronous code."""
        proof = self._begin(session)
        try:
            answer = self.answer = await self._client.get(**self._request())
            if self._is_taken(answer, session):
                async for data in answer.aiter_bytes():
                    for following in self._proved(proof, data, session):
                        yield following
                    if proof.is_wrong:
                        break
            await answer.aclose()
        except BaseException as error:
            if self._is_the_applications(error, session):
                raise
        self._end(session)

    def close(self) -> None:
        """Close what is read in place of the first response, which is closed."""
        if self.answer is not None:
            with unless_interrupted():
                self.answer.close()

    async def aclose(self) -> None:
        """Close what is read in place of the first response, which is closed."""
        if self.answer is not None:
            with unless_interrupted():
                await self.answer.aclose()

    def _begin(self, session: Session) -> Continuation:
        self.answer = None
        self.results.append(Resumed.ABANDONED)  # until something else is known
        return Continuation(self.point, self._max_event_bytes)

    def _is_taken(self, answer: Any, session: Session) -> bool:
        """Return whether an answer is an event stream, and somebody is there to read it."""
        if session.closed_elsewhere:
            return False
        is_stream = str(answer.headers.get("content-type", "")).lower().startswith("text/event-stream")
        self.results[-1] = Resumed.EMPTY if is_stream else Resumed.REFUSED
        return is_stream

    def _proved(self, proof: Continuation, data: bytes, session: Session) -> Iterator[bytes]:
        """Yield the bytes that follow, if there are any."""
        following = proof.push(data)
        if following and self.results[-1] is Resumed.EMPTY:
            self.results[-1] = Resumed.READ_ON
            session.goes_on()
        if following:
            yield following
        if proof.is_wrong:
            self.results[-1] = Resumed.WRONG

    def _is_the_applications(self, error: BaseException, session: Session) -> bool:
        """Return whether an exception is the application's, and not an answer to the request."""
        if not isinstance(error, Exception) or is_interruption(error):
            return True
        if session.closed_elsewhere:
            return False
        if self.answer is None:
            self.results[-1] = Resumed.REFUSED
        if not (_is_cut(error) or _package(type(error)) == "openai"):
            session.could_not_go_on(error)
            self.results[-1] = Resumed.REFUSED  # of no use to anybody
        return False

    def _end(self, session: Session) -> None:
        """Count a cut that was not read on from."""
        if self._is_useless and self.results[-1] is not Resumed.ABANDONED:
            session.watch.ledger.add(RESPONSE_INTERRUPTED, repaired=True)
            session.watch.ledger.failed(RESPONSE_INTERRUPTED)

    def _request(self) -> dict[str, Any]:
        """Return the arguments of the client's `get`."""
        options: dict[str, Any] = {"params": self._query()}
        given = getattr(self._options, "headers", None)
        if isinstance(given, Mapping):
            names = [name for name in given if not name.lower().startswith(_OF_ONE_REQUEST)]
            options["headers"] = {name: given[name] for name in names}
        for name in ("timeout", "max_retries", "security"):
            value = getattr(self._options, name, _NOT_GIVEN)
            if value is not _NOT_GIVEN and type(value).__name__ != "NotGiven":  # a timeout of None is none at all
                options[name] = value
        path = f"/responses/{quote(self.point.id, safe='')}"
        return {"path": path, "cast_to": self._returns, "options": options, "stream": True, "stream_cls": None}

    def _query(self) -> dict[str, Any]:
        """Return the parameters of the request, with those that say what is in an event."""
        params = getattr(self._options, "params", None)
        query: dict[str, Any] = dict(params) if isinstance(params, Mapping) else {}
        include, streaming = self._body.get("include"), self._body.get("stream_options")
        if isinstance(include, (list, tuple)):
            query["include"] = list(include)
        if isinstance(streaming, Mapping) and isinstance(streaming.get("include_obfuscation"), bool):
            query["include_obfuscation"] = streaming["include_obfuscation"]
        return {**query, "stream": True, "starting_after": self.point.last}


def resuming_of(stream: Any, request: Request, settings: Settings, loads: Callable[[bytes], Any]) -> Resuming | None:
    """Return the means to read a stream on, if that is asked for, and the server keeps the response."""
    policy = settings.repair
    if not (settings.resume and request.background and RESPONSE_INTERRUPTED in policy.default) or policy.observe:
        return None
    sent = stream.response.request
    point = ResumePoint(loads, id_in(sent.url.path) if sent.method == "GET" else "", request.starting_after)
    returns = _response_class(stream.response)
    if returns is None or not hasattr(_client_of(stream), "get"):
        return None
    return Resuming(stream, point, body_of(stream, sent, loads), returns, settings.max_event_bytes)


def _is_cut(error: BaseException) -> bool:
    """Return whether the connection failed, as the SDK sees it."""
    return any(base.__name__ == "RequestError" and _package(base) in HTTPX for base in type(error).__mro__)


def _client_of(stream: Any) -> Any:
    return getattr(stream, "_client", None)


def _response_class(response: Any) -> Any:
    """Return the class of responses that the SDK hands out as they are."""
    bases = type(response).__mro__
    return next((base for base in bases if base.__name__ == "Response" and _package(base) in HTTPX), None)


def _package(of: type) -> str:
    return of.__module__.partition(".")[0]
