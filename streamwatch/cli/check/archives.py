"""Recorded HTTP: HAR files of browsers and proxies, and VCR cassettes of test suites.

Both hold requests with their responses; those that are streams become recordings. Cassettes are read as data only:
a tag in one that would make an object is refused.
"""

from __future__ import annotations

import base64
import binascii
import importlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from streamwatch.cli.check.recordings import (
    MAX_BYTES,
    Recording,
    Unreadable,
    about_url,
    api_in,
    asked,
    framed,
    unpacked,
)

_EVENT_STREAM = "text/event-stream"


def har(log: Mapping[str, Any], path: str) -> Iterator[Recording | Unreadable]:
    """Yield the streams of a HAR file."""
    yield from _streams(log.get("entries"), _har_entry, path, "entry", "a HAR file")


def _streams(
    records: Any, read: Callable[[Any, str, str], Recording | None], path: str, noun: str, archive: str
) -> Iterator[Recording | Unreadable]:
    """Yield the streams among the records of an archive, and those that cannot be read; at least one of them."""
    count = 0
    for number, record in enumerate(records if isinstance(records, list) else (), 1):
        try:
            recording: Recording | Unreadable | None = read(record, path, f"{noun} {number}")
        except Unreadable as problem:
            recording = Unreadable(f"{noun} {number}: {problem}")
        if recording is not None:
            count += 1
            yield recording
    if not count:
        raise Unreadable(f"is {archive} without a stream: no response in it is of the type text/event-stream")


def _har_entry(entry: Any, path: str, place: str) -> Recording | None:
    request, response, content = _part(entry, "request"), _part(entry, "response"), _part(entry, "response", "content")
    said = asked(_part(request, "postData").get("text"))
    mime = str(content.get("mimeType") or _header(response.get("headers"), "content-type"))
    messages = _part(entry).get("_eventSourceMessages")
    if not _is_stream(mime, said, response.get("status")) and not messages:
        return None
    text = content.get("text")
    if isinstance(text, str) and text:
        body = _decoded(text) if content.get("encoding") == "base64" else text.encode("utf-8", "surrogatepass")
    elif isinstance(messages, list) and messages:
        body = framed(_messages(messages))
    else:
        raise Unreadable(
            "a stream, and the HAR file has no body for it; save it with content, when the stream has ended"
        )
    cut = bool(_part(entry).get("_error") or response.get("_error"))
    return _recording(path, place, unpacked(body), str(request.get("url", "")), said, "HAR", cut=cut)


def _messages(messages: list[Any]) -> Iterator[dict[str, Any]]:
    """Yield what Chrome keeps of an EventSource: the events, and not their bytes."""
    for message in messages:
        name = _part(message).get("eventName")
        yield {"event": name if name != "message" else "", "data": str(_part(message).get("data", ""))}


def cassette(document: Any, path: str) -> Iterator[Recording | Unreadable]:
    """Yield the streams of a VCR cassette."""
    document = _part(document)
    interactions = document.get("interactions", document.get("http_interactions"))
    yield from _streams(interactions, _interaction, path, "interaction", "a cassette")


def _interaction(interaction: Any, path: str, place: str) -> Recording | None:
    request, response = _part(interaction, "request"), _part(interaction, "response")
    headers, status = response.get("headers"), response.get("status")
    said = asked(_bytes(request.get("body")))
    if not _is_stream(_header(headers, "content-type"), said, _part(status).get("code", status)):
        return None
    body = _bytes(response.get("body", response.get("content")))
    if not body:
        raise Unreadable("a stream, and the cassette has no body for it")
    url = str(request.get("uri", request.get("url", "")))
    return _recording(path, place, unpacked(body, _header(headers, "content-encoding")), url, said, "VCR cassette")


def from_yaml(data: bytes) -> Any:
    """Return a YAML document as plain data."""
    try:
        yaml: Any = importlib.import_module("yaml")
    except ImportError:
        raise Unreadable("is a cassette in YAML: to read it, `pip install pyyaml`") from None

    loader: Any = type("Loader", (getattr(yaml, "CSafeLoader", yaml.SafeLoader),), {})
    # Python 2 marked each text beyond ASCII.
    loader.add_constructor("tag:yaml.org,2002:python/unicode", yaml.SafeLoader.construct_yaml_str)
    try:
        return yaml.load(data, loader)
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise Unreadable(f"is not YAML that can be read as plain data{line}: {error.problem}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Unreadable(f"is not YAML that can be read as plain data: {' '.join(str(error).split())}") from error


# --- what both have in common


def _recording(
    path: str, place: str, body: bytes, url: str, said: dict[str, Any], format: str, *, cut: bool = False
) -> Recording:
    api, host, query = about_url(url)
    said.pop("stream", None)
    if api == "other":
        api = api_in(body)
    return Recording(path, body, format, place, api=api, host=host, request={**said, **query}, cut=cut)


def _is_stream(mime: str, said: Mapping[str, Any], status: Any) -> bool:
    """Return whether this is an event stream, or the answer that came instead of one: clients read both as a stream."""
    if mime.strip().lower().startswith(_EVENT_STREAM):
        return True
    return said.get("stream") is True and status in (200, "200")


def _part(value: Any, *names: str) -> Mapping[str, Any]:
    """Return an object inside of others; empty where there is none."""
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _header(headers: Any, name: str) -> str:
    """Return a header; archives have them as objects with one or several values, or as pairs."""
    if isinstance(headers, Mapping):
        headers = [{"name": each, "value": value} for each, value in headers.items()]
    for header in headers if isinstance(headers, list) else ():
        if str(_part(header).get("name", "")).lower() == name:
            value = header.get("value", "")
            return str(value[0] if isinstance(value, list) and value else value)
    return ""


def _bytes(body: Any) -> bytes:
    """Return a body of a cassette: a text, bytes, or an object with one of them."""
    if isinstance(body, Mapping):
        packed = body.get("base64_string")
        return _decoded(packed) if isinstance(packed, str) else _bytes(body.get("string"))
    if isinstance(body, str):
        return body.encode("utf-8", "surrogatepass")
    return body if isinstance(body, bytes) else b""


def _decoded(text: str) -> bytes:
    if len(text) > 2 * MAX_BYTES:
        raise Unreadable("the body is too large")
    try:
        return base64.b64decode(text)
    except (binascii.Error, ValueError) as error:
        raise Unreadable(f"the body is not base64 ({error})") from error
