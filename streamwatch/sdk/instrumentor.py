"""The hook below the SDK's parser: the only module that knows `openai`.

How it works. The SDK gives every stream a decoder that turns the bytes of the response into
server-sent events (`Stream._decoder`, in every release from 1.0). Right after a stream is made, its
decoder is exchanged for Streamwatch's, which reads the same bytes and hands on the same events, each
with its JSON parsed already. All else stays the SDK's own: the stream object, its loop, its
exceptions and the way it closes; and every API, helper and instrumentation above it sees what we
hand on.

An exception of Streamwatch never reaches the application. Whatever has not been handed on then goes to the
SDK's own decoder, byte for byte, and so does the rest of the stream.

`openai` is not imported here: the hook waits until the application does that.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import functools
import json
import logging
import os
import time
import weakref
from collections.abc import Callable, Collection, Iterator
from queue import Empty, SimpleQueue
from types import ModuleType
from typing import Any

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined] # no __all__
from opentelemetry.metrics import get_meter_provider
from opentelemetry.trace import get_tracer_provider
from wrapt import register_post_import_hook

from streamwatch.core.patience import PatienceByServer
from streamwatch.core.report import Report
from streamwatch.core.settings import Policy, Settings
from streamwatch.core.sse import Event
from streamwatch.core.vocabulary import SILENT_STATES, StreamState
from streamwatch.export import own_log
from streamwatch.export.capture import Captures
from streamwatch.export.labels import error_type
from streamwatch.export.log import FindingsLog, SilenceLog, places_of
from streamwatch.export.open_streams import OpenStream
from streamwatch.export.summary import summary
from streamwatch.export.telemetry import Telemetry
from streamwatch.sdk import raw_streams
from streamwatch.sdk.chunk_builder import EventTypes
from streamwatch.sdk.interruption import is_interruption, unless_interrupted
from streamwatch.sdk.observed_stream import ObservedStream
from streamwatch.sdk.request_info import openai_version
from streamwatch.sdk.session import CastTo, DecoderProxy, StreamSession
from streamwatch.sdk.socket_protocols import PROTOCOLS
from streamwatch.sdk.websocket import Connections


class StreamwatchInstrumentor(BaseInstrumentor):  # type: ignore[misc] # untyped in some releases
    """The switch that turns Streamwatch on and off.

    `instrument()` takes the options of `streamwatch.instrument()`, and writes nothing to the terminal.
    """

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return the releases of the SDK whose inside is known."""
        return ("openai >= 1.0, < 4",)

    def _instrument(self, **options: Any) -> None:
        settings = options.get("settings")
        if settings is None:
            settings, complaints = Settings.from_environ(os.environ)
            for complaint in complaints:
                own_log.write(logging.WARNING, "%s", complaint)
        if options.get("repair") is not None:
            settings = dataclasses.replace(settings, repair=Policy(options["repair"]))
        telemetry = agent.telemetry_for(options.get("tracer_provider"), options.get("meter_provider"), settings)
        agent.start(settings, telemetry, options.get("on_report"))
        register_post_import_hook(_patch, "openai._streaming")
        register_post_import_hook(_patch_raw, "openai._response")
        for module in PROTOCOLS:
            register_post_import_hook(_patch_connections, module)

    def _uninstrument(self, **_options: Any) -> None:
        agent.stop()


class Agent:
    """The agent of this process: what is switched on, and the streams that are being read."""

    def __init__(self) -> None:
        self.active = False
        self.settings = Settings()
        self.patience = PatienceByServer()
        self.telemetry: Telemetry
        self.loads: Callable[[bytes], Any] = json.loads
        self._event_types: EventTypes
        self.version = ""
        self.captures: Captures | None = None
        self.blocking: set[type] = set()
        self.on_report: Callable[[Report], None] | None = None
        #: By the response that is read. A dictionary is copied in one step, whatever other threads do with it.
        self._open: dict[int, weakref.ref[ObservedStream]] = {}
        self._collected: SimpleQueue[ObservedStream] = SimpleQueue()
        self._undo: list[Callable[[], None]] = []
        self.connections = Connections(self)
        self._undo_raw: list[Callable[[], None]] = []
        self._log = FindingsLog()
        self._silences = SilenceLog()
        self._warned = False
        self._telemetry: dict[tuple[Any, ...], Telemetry] = {}
        self._providers: tuple[Any, Any] | None = None  #: those that were there at the last registration
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)

    def telemetry_for(self, tracer_provider: Any, meter_provider: Any, settings: Settings) -> Telemetry:
        """Return the telemetry for some providers: one object, however often Streamwatch is switched on."""
        key = (tracer_provider, meter_provider, settings.max_label_values, settings.genai_metrics)
        if key not in self._telemetry:
            self._telemetry[key] = Telemetry(
                *key[:3],
                before_collection=self._before_collection,
                open_streams=functools.partial(self._look_at_open, key),
                genai=settings.genai_metrics,
            )
        return self._telemetry[key]

    def start(self, settings: Settings, telemetry: Telemetry, on_report: Callable[[Report], None] | None) -> None:
        self.settings, self.telemetry, self.on_report = settings, telemetry, on_report
        self.captures = None
        self.blocking = set()
        self.patience = PatienceByServer()
        if settings.capture_dir:
            self.captures = Captures(
                settings.capture_dir,
                content=settings.capture_content,
                max_files=settings.capture_files,
                max_bytes=settings.capture_bytes,
                numbers=settings.sequence_fields,
                failed=self.internal_error,
            )
        self.active = True
        atexit.register(self._at_exit)
        summary.start(settings)

    def stop(self) -> None:
        self.active = False
        atexit.unregister(self._at_exit)
        for undo in (self._undo, self._undo_raw):
            while undo:
                undo.pop()()
        self.connections.unpatch()

    def patch(self, streaming: ModuleType) -> None:
        """Exchange the decoder of every stream made from now on."""
        if self._undo:
            return
        own = streaming.ServerSentEvent
        if not all(hasattr(own, name) for name in ("data", "event", "id", "retry", "json")):
            msg = "ServerSentEvent lacks an attribute"
            raise AttributeError(msg)
        self._event_types = EventTypes(own, self.internal_error, builds=self.settings.build_chunks)
        self.loads = _fastest_loads()
        self.version = openai_version()
        stock = streaming.SSEDecoder
        classes = streaming.Stream, streaming.AsyncStream
        cast_to = CastTo(self._event_types.loops)
        self._undo = [*(_wrap(stream_class, stock, cast_to) for stream_class in classes), self._event_types.close]

    def patch_raw(self, response: ModuleType) -> None:
        """Watch the streams that are read as bytes or lines; releases before 1.8 have no such thing."""
        if not self._undo_raw:
            self._undo_raw = raw_streams.patch(response, self)

    @property
    def is_patched(self) -> bool:
        """Whether the SDK's streams are watched from now on."""
        return bool(self._undo)

    @property
    def any_open(self) -> bool:
        """Whether a stream is being read."""
        return bool(self._streams())

    # --- what a stream asks and reports

    def event_type_of(self, stream: Any) -> type[Event]:
        """Return the class of which the events of a stream are made."""
        return self._event_types.of(stream)

    def opened(self, stream: ObservedStream) -> None:
        """Count a stream that was opened."""
        self._go_before_providers()
        self._open[id(stream.source)] = weakref.ref(stream)

    def is_current(self, stream: ObservedStream) -> bool:
        """Return whether no other stream was made of the same response since, as each `parse` does."""
        found = self._open.get(id(stream.source))
        return found is not None and found() in (stream, None)

    def ended(self, stream: ObservedStream, report: Report | None) -> None:
        """Record a stream that has ended; `report` is None if that failed, or it is another's to count."""
        if self.is_current(stream):
            self._open.pop(id(stream.source), None)
        if report is None:
            return
        self._log.tell(report, stream.call.address)
        if self.on_report is not None:
            self.on_report(report)

    def is_silent(self, stream: ObservedStream, state: StreamState, seconds: float) -> None:
        """Nothing came of a stream for longer than the threshold; said once before the first chunk, and once after."""
        if state not in stream.told:
            stream.told = (*stream.told, state)
            self._silences.tell(stream.call, stream.watch.request.id, state, seconds)

    def _look_at_open(self, key: tuple[Any, ...]) -> Iterator[OpenStream]:
        """Look at each stream that is open, and say which of them have fallen silent: for the collection of metrics.

        What was opened is recorded with the telemetry that is in force; another one, of earlier providers, has none.
        """
        for stream in self._streams() if self._telemetry.get(key) is self.telemetry else ():
            seen = stream.look()
            if seen.state in SILENT_STATES:
                self.is_silent(stream, seen.state, seen.waiting)
            yield seen

    def collected(self, stream: ObservedStream) -> None:
        """Record a stream that was collected as garbage before its end; `put` may be called from anywhere."""
        self._collected.put(stream)

    def record_collected(self) -> None:
        """Record what the garbage collector found: before a stream is opened, and before a scrape."""
        with contextlib.suppress(Empty):
            while True:
                self._collected.get_nowait().end(abandoned=True)

    def _before_collection(self) -> None:
        self.record_collected()
        self._go_before_providers()

    def _go_before_providers(self) -> None:
        """End before the providers do: what is registered last is called first at the exit."""
        providers = get_tracer_provider(), get_meter_provider()
        if self.active and providers != self._providers:  # made after Streamwatch was switched on
            self._providers = providers
            atexit.unregister(self._at_exit)
            atexit.register(self._at_exit)

    def flush(self, seconds: float) -> bool:
        """Send and write what there is; whether all of it went out in time."""
        end, share, done = time.monotonic() + seconds, int(1000 * seconds / 2), True
        self.record_collected()
        for tracers, meters, *_ in list(self._telemetry):
            # The spans first: who looks at a count finds its traces then.
            for provider in (tracers or get_tracer_provider(), meters or get_meter_provider()):
                if hasattr(provider, "force_flush"):  # not where OpenTelemetry is off
                    done &= _flush(provider, share)
        captures = self.captures
        return (captures is None or captures.wait(max(end - time.monotonic(), 0))) and done

    def internal_error(self, error: BaseException, doing: str) -> None:
        """Count and log an error of Streamwatch: the application goes on as if Streamwatch were absent.

        Raises what was raised into our code, by a signal handler or another thread: it is the application's.
        """
        if is_interruption(error):
            raise error
        with unless_interrupted():
            self.telemetry.internal_error(error)
        with unless_interrupted():
            level = logging.DEBUG if self._warned else logging.WARNING
            self._warned = True
            own_log.write(
                level,
                "Streamwatch failed while %s (%s: %s). The application is not affected, and this stream is not watched"
                " any further. Further failures are counted in streamwatch.internal_errors and logged at level DEBUG.",
                doing,
                error_type(error),
                places_of(error),
            )

    def _streams(self) -> list[ObservedStream]:
        found = [reference() for reference in list(self._open.values())]
        return [stream for stream in found if stream is not None]

    def _after_fork(self) -> None:
        """Forget the parent's streams and counts, which are the parent's to report."""
        for stream in self._streams():
            stream.has_ended = True
        self._open = {}
        self._collected = SimpleQueue()
        for telemetry in self._telemetry.values():
            telemetry.forget()
        if self.is_patched:
            self._event_types.after_fork()

    def _at_exit(self) -> None:
        for stream in self._streams():
            stream.end(abandoned=True)
        self.record_collected()
        summary.end(series for telemetry in self._telemetry.values() for series in telemetry.counted())


agent = Agent()


def announce() -> None:
    """Let this process say on its terminal that it is watched, and where its metrics go."""
    summary.announce(_where)


def _where() -> str:
    """Return where the metrics of a program go that set OpenTelemetry up itself, or did not."""
    provider = get_meter_provider()
    if hasattr(provider, "force_flush"):
        return f"exported by the program's own {type(provider).__name__}"
    return "exported nowhere: the program has set no MeterProvider (`streamwatch run` does that)"


def _flush(provider: Any, milliseconds: int) -> bool:
    """Let a provider send what it has, and return whether that went out in time."""
    try:
        return provider.force_flush(milliseconds) is not False
    except Exception as error:
        if is_interruption(error):
            raise
        own_log.write(logging.DEBUG, "streamwatch: %s could not be flushed: %s", type(provider).__name__, error)
        return False


def _patch(streaming: ModuleType) -> None:
    """Patch when `openai._streaming` is imported, or at once if it was before."""
    if not agent.active:
        return
    try:
        agent.patch(streaming)
    except Exception as error:
        if is_interruption(error):
            raise
        own_log.write(
            logging.WARNING,
            "openai %s is not built as Streamwatch knows it (%s: %s): its streams are not watched and not repaired."
            " See whether a newer openai-streamwatch knows this release.",
            openai_version(),
            type(error).__name__,
            error,
        )


def _patch_raw(response: ModuleType) -> None:
    """Patch when `openai._response` is imported, or at once if it was before."""
    if agent.active:
        with unless_interrupted():  # then they are not watched, which is all that is lost
            agent.patch_raw(response)


def _patch_connections(module: ModuleType) -> None:
    """Patch a module of connections over WebSockets when it is imported, or at once if it was before."""
    if agent.active:
        with unless_interrupted():  # then they are not watched, which is all that is lost
            agent.version = agent.version or openai_version()
            agent.connections.patch(module)


def _wrap(stream_class: Any, stock: type, cast_to: CastTo) -> Callable[[], None]:
    """Watch every stream of a class; returns how to undo that."""
    original = stream_class.__init__
    wanted = True

    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        if not wanted:  # an outer wrapper may call this after Streamwatch was switched off
            return
        try:
            agent.record_collected()
            # The caller's span is current here, and no longer when the stream is read.
            session = StreamSession(self, agent)
            self._decoder = DecoderProxy(session, self._decoder, is_stock=type(self._decoder) is stock)
        except Exception as error:
            agent.internal_error(error, "opening a stream")

    stream_class.__init__ = __init__
    if not hasattr(stream_class, "_cast_to"):
        stream_class._cast_to = cast_to

    def undo() -> None:
        nonlocal wanted
        wanted = False
        if stream_class.__init__ is __init__:
            stream_class.__init__ = original
        if vars(stream_class).get("_cast_to") is cast_to:
            del stream_class._cast_to

    return undo


def _fastest_loads() -> Callable[[bytes], Any]:
    """Return jiter's, which comes with the SDK from 1.40 on: from bytes, and three times as fast as `json.loads`."""
    try:
        from jiter import from_json
    except ImportError:
        return _loads
    return from_json  # type: ignore[no-any-return, unused-ignore]


def _loads(data: bytes) -> Any:
    """Parse JSON; raise ValueError for all that is none, or nested too deep."""
    try:
        return json.loads(data)
    except RecursionError as error:
        msg = "nested too deep"
        raise ValueError(msg) from error
