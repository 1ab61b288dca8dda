"""The private names of other packages that Streamwatch leans on: why, since when, and the test that watches each.

The page docs/reference/upstream.md is written from this table. `tests/sdk/test_upstream.py` fails where a name is used
that has no row, where a row has no use, and where an installed release has a name no longer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

_CANARY = "tests/sdk/test_canary.py::test_nothing_has_moved"
_LINES = "tests/sdk/test_waiting.py::test_what_comes_within_the_window_is_waited_for"
_TLS = f"{_LINES}_over_tls"
_RENEWAL = "tests/otel/test_renewal.py::test"
_METRICS = f"{_RENEWAL}_metrics_of_a_child_have_a_connection_an_identity_and_counts_of_its_own"
_LOCKS = f"{_RENEWAL}_metrics_of_a_child_wait_for_no_lock_of_the_parent"
_SPANS = f"{_RENEWAL}_spans_of_a_child_have_a_connection_of_its_own"
_GUEST = "tests/otel/test_making_room.py::test_a_name_that_the_application_has_stays_the_applications"
_INSTRUMENT = f"{_RENEWAL}_an_instrument_counts_from_zero"


@dataclass(frozen=True)
class PrivateName:
    """A private name of another package.

    Attributes:
        package: the distribution that it belongs to.
        name: the attribute, or the module.
        owners: where it is set or defined, as `module:Class`; a module alone for a member of a module. Some have
            several: synchronous and asynchronous, and a package under two names.
        since: the first release that was looked at and has it.
        why: what Streamwatch needs it for.
        without: what happens where it is missing.
        watched_by: the test that fails when its meaning moves, beside the one that looks whether it is there.
        used_in: the modules of Streamwatch that use it; a name that two packages have is two rows.
    """

    package: str
    name: str
    owners: tuple[str, ...]
    since: str
    why: str
    without: str
    watched_by: str
    used_in: tuple[str, ...]


_STREAMS = ("openai._streaming:Stream", "openai._streaming:AsyncStream")
_UNWATCHED = "streams are not watched, and one warning says so"
_TO_THE_SDK = "the SDK constructs all objects"
_SAME_READ = "only what came in the same read is held"
_NO_RENEWAL = "a forked process goes on with its parent's counts, or cannot send; a warning says so"


def _cores(*owners: str) -> tuple[str, ...]:
    """Return owners in httpcore, and in the package that later releases of openai bring instead."""
    return tuple(owner.replace("httpcore.", f"{core}.") for core in ("httpcore", "httpcore2") for owner in owners)


def _httpx(*owners: str) -> tuple[str, ...]:
    return tuple(owner.replace("httpx.", f"{library}.") for library in ("httpx", "httpx2") for owner in owners)


_HTTP11 = _cores("httpcore._sync.http11:HTTP11Connection", "httpcore._async.http11:AsyncHTTP11Connection")
_STORAGE = ("opentelemetry.sdk.metrics._internal.metric_reader_storage:MetricReaderStorage",)
_CONSUMER = ("opentelemetry.sdk.metrics._internal.measurement_consumer:SynchronousMeasurementConsumer",)
_READER = ("opentelemetry.sdk.metrics._internal.export:PeriodicExportingMetricReader",)

TABLE = (
    PrivateName(
        *("openai", "openai._streaming", ("openai._streaming",), "1.0.0"),
        "its import is when Streamwatch switches itself on; has the classes of streams, events and decoders",
        *(_UNWATCHED, _CANARY),
        used_in=("sdk/instrumentor.py",),
    ),
    PrivateName(
        *("openai", "_decoder", _STREAMS, "1.0.0"),
        "the seam: a stream's decoder is exchanged for one that watches",
        *(_UNWATCHED, _CANARY),
        used_in=("sdk/instrumentor.py", "sdk/session.py"),
    ),
    PrivateName(
        *("openai", "_cast_to", _STREAMS, "1.0.0"),
        "tells the API by the class of its chunks; says to the SDK's loop that an object is made already",
        *(_TO_THE_SDK, _CANARY),
        used_in=("sdk/chunk_builder.py", "sdk/instrumentor.py", "sdk/request_info.py", "sdk/session.py"),
    ),
    PrivateName(
        *("openai", "_client", _STREAMS, "1.0.0"),
        "tells an Azure client, and whether a client constructs objects in a way of its own; asks for the rest of a"
        " response that was cut",
        *(_TO_THE_SDK, _CANARY),
        used_in=("sdk/chunk_builder.py", "sdk/request_info.py", "sdk/resuming.py"),
    ),
    PrivateName(
        *("openai", "_options", (*_STREAMS, "openai._response:BaseAPIResponse"), "2.22.0"),
        "has the request's body as it was before it was written: model, n, tools; and its headers and parameters",
        *("the body is parsed out of the request", _CANARY),
        used_in=("sdk/chunk_builder.py", "sdk/request_info.py", "sdk/resuming.py"),
    ),
    PrivateName(
        *("openai", "openai._response", ("openai._response",), "1.0.0"),
        "its import is when watching of streams begins that are read below the parser",
        *("they are not watched", _CANARY),
        used_in=("sdk/instrumentor.py",),
    ),
    PrivateName(
        *("openai", "_is_sse_stream", ("openai._response:BaseAPIResponse",), "1.10.0"),
        "tells a stream that is read below the parser from a download",
        *("those are watched whose content type says so", _CANARY),
        used_in=("sdk/raw_streams.py",),
    ),
    PrivateName(
        *("openai", "openai._base_client", ("openai._base_client",), "1.0.0"),
        "whose function makes chunks: the SDK's, or somebody else's",
        *(_TO_THE_SDK, _CANARY),
        used_in=("sdk/chunk_builder.py",),
    ),
    PrivateName(
        *("openai", "_base_client", ("openai._base_client",), "1.0.0"),
        "`streamwatch doctor` makes its client with the HTTP library that the SDK imported",
        *("the self-test fails, and says why", "tests/cli/test_doctor.py"),
        used_in=("cli/doctor/selftest.py",),
    ),
    PrivateName(
        *("openai", "_process_response_data", ("openai._base_client:BaseClient",), "1.0.0"),
        "a client that changes it gets JSON, as on the plain SDK",
        *(_TO_THE_SDK, _CANARY),
        used_in=("sdk/chunk_builder.py",),
    ),
    PrivateName(
        *("openai", "_strict_response_validation", ("openai._base_client:BaseClient",), "1.0.0"),
        "a client that validates gets JSON, as on the plain SDK",
        *(_TO_THE_SDK, _CANARY),
        used_in=("sdk/chunk_builder.py",),
    ),
    PrivateName(
        *("openai", "openai._models", ("openai._models",), "1.0.0"),
        "`construct_type` makes the object that a template is taken of",
        *(_TO_THE_SDK, _CANARY),
        used_in=("sdk/chunk_builder.py", "sdk/dict_forms.py", "sdk/socket_events.py"),
    ),
    PrivateName(
        *("openai", "openai._version", ("openai._version",), "1.0.0"),
        "the release, as a label",
        *("the metadata of the distribution are read", _CANARY),
        used_in=("sdk/request_info.py",),
    ),
    PrivateName(
        *("openai", "openai.lib.streaming._deltas", ("openai.lib.streaming._deltas",), "1.40.0"),
        "whether the helper of this release joins fragments that come in one chunk",
        *(
            "fragments of one call stay as they came",
            "tests/sdk/test_request_info.py::test_the_helper_ends_with_one_call_whatever_it_joins_by_itself",
        ),
        used_in=("sdk/request_info.py",),
    ),
    PrivateName(
        *(
            "openai",
            "openai.lib.streaming.responses._responses",
            ("openai.lib.streaming.responses._responses",),
            "1.66.0",
        ),
        "tells the helper for responses from a loop of the application's, by the module that opens the stream; "
        "and whether its `ResponseStreamState` completes a response whose output is null",
        *(
            "its streams are repaired as for a loop",
            "tests/sdk/test_upstream.py::test_the_helper_for_responses_is_seen_at_work",
        ),
        used_in=("sdk/request_info.py",),
    ),
    PrivateName(
        "openai",
        "_connection",
        (
            "openai.resources.realtime.realtime:RealtimeConnection",
            "openai.resources.beta.realtime.realtime:RealtimeConnection",
        ),
        "1.109.1",
        "the socket below a connection: its address, the headers of its answer, and how long it is waited for",
        "the streams of that connection are counted without them, and nothing is held",
        "tests/sdk/test_websocket.py::test_a_healthy_response_is_clean_and_untouched",
        used_in=("sdk/socket_streams.py",),
    ),
    PrivateName(
        *("websockets", "recv_messages", ("websockets.asyncio.connection:Connection",), "13.0"),
        "the messages that have come and were not received: asynchronous code waits for one before it receives",
        *(
            "messages that are early go on as they came",
            "tests/sdk/test_websocket_repair.py::test_what_comes_within_the_window_is_waited_for",
        ),
        used_in=("sdk/socket_waiting.py",),
    ),
    PrivateName(
        *("pydantic", "__pydantic_fields_set__", ("pydantic.main:BaseModel",), "2.0"),
        "which fields of a chunk came: part of an object that is built after a template",
        *(_TO_THE_SDK, "tests/sdk/test_chunk_builder.py"),
        used_in=("sdk/dict_forms.py", "sdk/shape_template.py"),
    ),
    PrivateName(
        *("pydantic", "__pydantic_extra__", ("pydantic.main:BaseModel",), "2.0"),
        "the members that no field declares: part of an object that is built after a template",
        *(_TO_THE_SDK, "tests/sdk/test_chunk_builder.py"),
        used_in=("sdk/shape_template.py",),
    ),
    PrivateName(
        *("pydantic", "__pydantic_private__", ("pydantic.main:BaseModel",), "2.0"),
        "an object that has private members is not built from a template",
        *(_TO_THE_SDK, "tests/sdk/test_chunk_builder.py"),
        used_in=("sdk/shape_template.py",),
    ),
    PrivateName(
        *("pydantic", "__fields_set__", ("pydantic.main:BaseModel",), "1.10"),
        "the same as `__pydantic_fields_set__`, in pydantic 1",
        *("dicts of chunks do not answer for a content", "tests/sdk/test_dict_forms.py"),
        used_in=("sdk/dict_forms.py",),
    ),
    PrivateName(
        *("httpx", "_content", _httpx("httpx._models:Response"), "0.23.0"),
        "whether a response was read to its end before it became a stream",
        *(
            "such a stream is counted as read below the parser",
            "tests/sdk/test_upstream.py::test_a_body_that_was_there_from_the_start_is_watched",
        ),
        used_in=("sdk/raw_streams.py", "sdk/session.py"),
    ),
    PrivateName(
        "httpx",
        "_stream",
        (
            *_httpx("httpx._client:BoundSyncStream", "httpx._client:BoundAsyncStream"),
            *_cores("httpcore._backends.anyio:AnyIOStream"),
        ),
        "0.23.0",
        "a layer between the response and its connection",
        _SAME_READ,
        _LINES,
        used_in=("sdk/lines.py",),
    ),
    PrivateName(
        "httpx",
        "_httpcore_stream",
        _httpx("httpx._transports.default:ResponseStream", "httpx._transports.default:AsyncResponseStream"),
        "0.23.0",
        "a layer between the response and its connection",
        _SAME_READ,
        _LINES,
        used_in=("sdk/lines.py",),
    ),
    PrivateName(
        "httpcore",
        "_connection",
        _cores("httpcore._sync.http11:HTTP11ConnectionByteStream", "httpcore._async.http11:HTTP11ConnectionByteStream"),
        "0.16.3",
        "the connection below a body",
        _SAME_READ,
        _LINES,
        used_in=("sdk/lines.py",),
    ),
    PrivateName(
        *("httpcore", "_network_stream", _HTTP11, "0.16.3"),
        "whether the response and the connection name the same socket",
        *(_SAME_READ, _LINES),
        used_in=("sdk/lines.py",),
    ),
    PrivateName(
        *("httpcore", "_h11_state", _HTTP11, "0.16.3"),
        "whether h11 has buffered bytes: the socket says nothing of them",
        *(_SAME_READ, _LINES),
        used_in=("sdk/lines.py",),
    ),
    PrivateName(
        *("anyio", "_read_bio", ("anyio.streams.tls:TLSStream",), "3.5.0"),
        "whether TLS has buffered bytes that are not decrypted yet",
        *(_SAME_READ, _TLS),
        used_in=("sdk/lines.py",),
    ),
    PrivateName(
        *("anyio", "_protocol", ("anyio._backends._asyncio:SocketStream",), "3.5.0"),
        "whether asyncio has buffered bytes",
        *(_SAME_READ, _LINES),
        used_in=("sdk/lines.py",),
    ),
    PrivateName(
        *("trio", "_incoming", ("trio._ssl:SSLStream",), "0.22.0"),
        "whether TLS has buffered bytes that are not decrypted yet",
        *(_SAME_READ, _TLS),
        used_in=("sdk/lines.py",),
    ),
    PrivateName(
        *("opentelemetry-sdk", "opentelemetry.sdk._configuration", ("opentelemetry.sdk._configuration",), "1.37.0"),
        "has the configurator that distributions extend",
        *("telemetry is missing, and a warning says so", "tests/otel/test_distro.py"),
        used_in=("otel/providers.py",),
    ),
    PrivateName(
        *("opentelemetry-sdk", "opentelemetry.sdk._logs", ("opentelemetry.sdk._logs",), "1.37.0"),
        "who imports it gets OpenTelemetry's providers at once",
        *("a program that sets logs up itself, and nothing else, does that first", "tests/otel/test_start.py"),
        used_in=("otel/pipeline.py",),
    ),
    PrivateName(
        *("opentelemetry-sdk", "_OTelSDKConfigurator", ("opentelemetry.sdk._configuration",), "1.37.0"),
        "OpenTelemetry's own set-up, with the exporters that work",
        *("telemetry is missing, and a warning says so", "tests/otel/test_distro.py"),
        used_in=("otel/providers.py",),
    ),
    PrivateName(
        *(
            "opentelemetry-api",
            "opentelemetry.util._importlib_metadata",
            ("opentelemetry.util._importlib_metadata",),
            "1.37.0",
        ),
        "entry points, in the same form on Python 3.10 and later",
        *("the distribution does not load, and OpenTelemetry says so", "tests/otel/test_distro.py"),
        used_in=("cli/common/environment.py", "otel/distro.py"),
    ),
    PrivateName(
        *(
            "opentelemetry-api",
            "_real_instrument",
            ("opentelemetry.metrics._internal.instrument:_ProxyInstrument",),
            "1.37.0",
        ),
        "the instrument behind one that was made before there was a provider",
        *("a forked process goes on with its parent's counts", _INSTRUMENT),
        used_in=("export/forked.py",),
    ),
    PrivateName(
        "opentelemetry-sdk",
        "_measurement_consumer",
        (
            "opentelemetry.sdk.metrics._internal:MeterProvider",
            "opentelemetry.sdk.metrics._internal.instrument:_Synchronous",
        ),
        "1.37.0",
        "where the counts of a process are, which a forked child must not inherit",
        _NO_RENEWAL,
        _METRICS,
        used_in=("export/forked.py", "otel/forks.py"),
    ),
    PrivateName(
        *("opentelemetry-sdk", "_reader_storages", _CONSUMER, "1.37.0"),
        "the counts for each reader",
        *(_NO_RENEWAL, _METRICS),
        used_in=("export/forked.py", "otel/forks.py"),
    ),
    PrivateName(
        *("opentelemetry-sdk", "_instrument_view_instrument_matches", _STORAGE, "1.37.0"),
        "the counts of each instrument",
        *(_NO_RENEWAL, _METRICS),
        used_in=("export/forked.py", "otel/forks.py"),
    ),
    PrivateName(
        *("opentelemetry-sdk", "_lock", (*_CONSUMER, *_STORAGE), "1.37.0"),
        "may have been held by another thread when the process was forked",
        *(_NO_RENEWAL, _LOCKS),
        used_in=("export/forked.py", "otel/forks.py"),
    ),
    PrivateName(
        *("opentelemetry-sdk", "_sdk_config", ("opentelemetry.sdk.metrics._internal:MeterProvider",), "1.37.0"),
        "has the identity of the process, which a forked child must not share",
        *(_NO_RENEWAL, _METRICS),
        used_in=("otel/forks.py",),
    ),
    PrivateName(
        *("opentelemetry-sdk", "_export_lock", _READER, "1.37.0"),
        "may have been held while the process was forked",
        *(_NO_RENEWAL, _LOCKS),
        used_in=("otel/forks.py",),
    ),
    PrivateName(
        *("opentelemetry-sdk", "_exporter", (*_READER, "opentelemetry.sdk._shared_internal:BatchProcessor"), "1.37.0"),
        "its connection is the parent's: a forked child makes one of its own",
        *(_NO_RENEWAL, _METRICS),
        used_in=("otel/forks.py",),
    ),
    PrivateName(
        *("opentelemetry-sdk", "_active_span_processor", ("opentelemetry.sdk.trace:TracerProvider",), "1.37.0"),
        "leads to the exporters of spans",
        *("a forked process sends spans by its parent's connection", _SPANS),
        used_in=("otel/forks.py",),
    ),
    PrivateName(
        *(
            "opentelemetry-sdk",
            "_span_processors",
            ("opentelemetry.sdk.trace:SynchronousMultiSpanProcessor",),
            "1.37.0",
        ),
        "leads to the exporters of spans",
        *("a forked process sends spans by its parent's connection", _SPANS),
        used_in=("otel/forks.py",),
    ),
    PrivateName(
        *("opentelemetry-sdk", "_batch_processor", ("opentelemetry.sdk.trace.export:BatchSpanProcessor",), "1.37.0"),
        "leads to the exporters of spans",
        *("a forked process sends spans by its parent's connection", _SPANS),
        used_in=("otel/forks.py",),
    ),
    PrivateName(
        *("prometheus-client", "_names_to_collectors", ("prometheus_client.registry:CollectorRegistry",), "0.20.0"),
        "which names an application's registry has, before our metrics move in",
        *("the names are taken for free ones", _GUEST),
        used_in=("otel/making_room.py",),
    ),
)


def rows() -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    """Yield each package with the rows of its table: name, where it is used, since when, why, without, the test."""
    for package, names in groupby(sorted(TABLE, key=lambda row: row.package), key=lambda row: row.package):
        yield (
            package,
            [
                (
                    f"`{row.name}`",
                    ", ".join(f"`{module}`" for module in row.used_in),
                    row.since,
                    row.why,
                    row.without,
                    f"`{row.watched_by}`",
                )
                for row in names
            ],
        )
