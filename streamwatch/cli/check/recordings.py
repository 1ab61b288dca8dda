"""Files of recorded streams: what is in them, by their content and not by their names.

    for recording in recordings_in(contents("answer.sse"), "answer.sse"):
        recording.body, recording.api, recording.host, ...

Read are: bodies as they came (`curl -N`, `curl -i`), captures of Streamwatch, HAR files, VCR cassettes, chunks as
JSON lines; each of them gzipped or not. Whatever is none of these is an `Unreadable` with one sentence for people.
"""

from __future__ import annotations

import json
import re
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from streamwatch.core.report import Request
from streamwatch.export import capture
from streamwatch.sdk import request_info as calls

#: Bytes of a file, or of what is packed in it: a day's HAR is smaller, and a laptop's memory is larger.
MAX_BYTES = 256 << 20
#: Bytes that show what a file is: every format says so in its first lines.
_HEAD = 64 << 10
#: Payloads looked at to find the API: the first may be a comment or a content filter's, the hundredth adds nothing.
_LOOKED_AT = 64
#: Members of a request's body that say what may be expected of the answer.
_ASKED = ("model", "n", "tools", "tool_choice", "stream_options")
_BOMS = ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))  # what PowerShell's `>` writes
_STREAM = re.compile(rb"(?:\A|[\r\n])(?:\xef\xbb\xbf)?(?:data: ?(?:data: ?)?[\[{]|event: ?(?:response|thread)\.)")
_FIELD = re.compile(rb"\s*(?:\xef\xbb\xbf)?(?:data|event|id|retry)?:")
_CASSETTE = re.compile(rb"^(?:http_)?interactions:", re.MULTILINE)
_HTTP = re.compile(rb"HTTP/[0-9.]+ ([0-9]{3})[^\n]*\n")
_BLANK = re.compile(rb"\r?\n\r?\n")


class Unreadable(Exception):  # noqa: N818 -- not an error of Streamwatch: a file that holds no stream
    """The reason why a file, or a part of it, can't be replayed: one sentence for people."""


@dataclass(frozen=True)
class Recording:
    """A recorded stream.

    `offset` and `line` are those of the body's first byte in the file, None where the file has it in another form;
    `blocks` the same for each block of the body, where each is of its own.
    """

    path: str
    body: bytes
    format: str
    place: str = ""  #: which of several in the file
    offset: int | None = None
    line: int = 1
    blocks: tuple[tuple[int, int], ...] = ()
    api: str = ""
    host: str = ""
    request: Mapping[str, Any] = field(default_factory=dict)
    cut: bool = False  #: the connection broke after the body
    abandoned: bool = False  #: its recorder did not read, or keep, all of it

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return f"{self.path} {self.place}".strip()


# --- files


def contents(path: str) -> bytes:
    """Return all bytes of a file, or of standard input for `-`."""
    try:
        if path == "-":
            return _bounded(sys.stdin.buffer.read)
        if Path(path).is_file() and Path(path).stat().st_size > MAX_BYTES:
            raise Unreadable(
                f"is {_megabytes(Path(path).stat().st_size)}: files are read up to {_megabytes(MAX_BYTES)}"
            )
        with Path(path).open("rb") as file:
            return _bounded(file.read)
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror or error}") from error


def _bounded(read: Callable[[int], bytes]) -> bytes:
    head = read(_HEAD)
    if b"\0" in head and not head.startswith((b"\x1f\x8b", b"HTTP/", *(mark for mark, _ in _BOMS))):
        return head  # binary: there is no use in reading on
    data = head + (read(MAX_BYTES + 1 - len(head)) if len(head) == _HEAD else b"")
    if len(data) > MAX_BYTES:
        raise Unreadable(f"is more than {_megabytes(MAX_BYTES)}, which is as much as is read")
    return data


def _megabytes(size: int) -> str:
    return f"{size / (1 << 20):,.0f} MiB"


def unpacked(data: bytes, encoding: str = "") -> bytes:
    """Return bytes without their compression."""
    if data[:2] == b"\x1f\x8b":
        data = _inflated(data, 31)
    elif encoding in ("br", "zstd"):
        raise Unreadable(f"is compressed with {encoding}: only gzip and deflate are read")
    elif encoding == "deflate" and data[:1] not in b"ed:{ir":
        data = _inflated(data, 15)
    for mark, codec in _BOMS:
        if data.startswith(mark):
            return data.decode(codec, "replace").encode("utf-8", "surrogatepass")
    return data


def _inflated(data: bytes, window: int) -> bytes:
    inflate = zlib.decompressobj(window)
    try:
        text = inflate.decompress(data, MAX_BYTES + 1)
    except zlib.error as error:
        raise Unreadable(f"is damaged: it begins as gzip and cannot be unpacked ({error})") from error
    if len(text) > MAX_BYTES:
        raise Unreadable(f"holds more than {_megabytes(MAX_BYTES)} unpacked, which is as much as is read")
    if not inflate.eof:
        raise Unreadable(f"is cut off: its gzip ends after {len(text):,} unpacked bytes, without its last ones")
    return text


# --- formats


def recordings_in(data: bytes, path: str, *, found: bool = False) -> Iterator[Recording | Unreadable]:
    """Yield the streams of a file, and why others in it can't be read; `found`: nobody named the file."""
    plain = unpacked(data)
    for recording in _streams(plain, path, found=found):
        if isinstance(recording, Recording) and plain is not data:  # nobody can look at places in packed bytes
            yield replace(recording, offset=None, line=1, blocks=())
        else:
            yield recording


def _streams(data: bytes, path: str, *, found: bool) -> Iterator[Recording | Unreadable]:
    from streamwatch.cli.check import archives

    head = data[:_HEAD].lstrip()
    if not head:
        raise Unreadable("is empty")
    if _HTTP.match(data):
        yield _with_headers(data, path)
    elif b"\0" in data[:_HEAD]:
        raise Unreadable("is binary: no recorded stream")
    elif head.startswith((b"{", b"[")) and not _is_stream(data):
        yield from _json(data, path, found=found)
    elif _CASSETTE.search(data[:_HEAD]):
        yield from archives.cassette(archives.from_yaml(data), path)
    elif data.startswith(b": streamwatch "):
        yield _capture(data, path)
    elif _FIELD.match(data) or _is_stream(data):
        yield _plain(Recording(path, data, "body", offset=0))
    else:
        raise Unreadable("holds no stream: no line begins with `data:`, and it is not HAR, a cassette or JSON lines")


def _is_stream(data: bytes) -> bool:
    """Return whether a line begins as an event does; a plain search, which is fast, rules out most other files."""
    return (b"data:" in data or b"event:" in data) and _STREAM.search(data) is not None


def _plain(recording: Recording) -> Recording:
    """Return a recording whose API only its events can show."""
    if recording.api:
        return recording
    return replace(recording, api=api_in(recording.body))


def _with_headers(data: bytes, path: str) -> Recording:
    """Return what `curl -i` gives; interim answers and those of proxies come before the last one."""
    start, headers, status = 0, dict[str, str](), 200
    while match := _HTTP.match(data, start):
        end = _BLANK.search(data, match.end() - 1)
        stop = end.end() if end else len(data)
        lines = data[match.end() : stop].decode("latin-1").splitlines()
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status, start = int(match.group(1)), stop
    if status >= 400 and not headers.get("content-type", "").startswith("text/event-stream"):
        raise Unreadable(f"holds no stream, but an answer with status {status}")
    body = unpacked(data[start:], headers.get("content-encoding", ""))
    line = data.count(b"\n", 0, start) + 1
    offset = start if data.endswith(body) else None
    return _plain(Recording(path, body, "curl -i", offset=offset, line=line if offset is not None else 1))


def _capture(data: bytes, path: str) -> Recording:
    """Return what STREAMWATCH_CAPTURE_DIR holds."""
    facts, body = capture.load(data)
    start, ended, n = len(data) - len(body), facts.get("ended", ""), facts.get("n", "")
    return _plain(
        Recording(
            path,
            body,
            "masked capture" if facts.get("masked") == "true" else "capture",
            offset=start,
            line=data.count(b"\n", 0, start) + 1,
            api=facts.get("api", ""),
            request={"model": facts.get("request_model"), "n": int(n) if n.isdigit() else None},
            cut=ended == "cut",
            abandoned=ended not in ("", "cut", "end"),
        )
    )


def _json(data: bytes, path: str, *, found: bool) -> Iterator[Recording | Unreadable]:
    """Yield a HAR file, a cassette, chunks, or the document that came instead of a stream."""
    from streamwatch.cli.check import archives

    try:
        document = json.loads(data)
    except RecursionError:
        raise Unreadable("is JSON nested too deep") from None
    except ValueError:
        yield _lines(data, path)
        return
    if isinstance(document, dict) and isinstance(document.get("log"), dict):
        yield from archives.har(document["log"], path)
    elif isinstance(document, dict) and {"interactions", "http_interactions"} & document.keys():
        yield from archives.cassette(document, path)
    elif isinstance(document, list) and document and all(map(_is_chunk, document)):
        yield _plain(Recording(path, framed(document), "JSON array"))
    elif isinstance(document, dict) and _is_chunk(document):
        yield _lines(data if data.count(b"\n") < 2 else json.dumps(document).encode(), path)
    elif isinstance(document, dict) and document.get("error") and not found:
        yield Recording(path, data, "JSON document", offset=0, api="chat")
    else:
        raise Unreadable("is JSON, and neither a HAR file, a VCR cassette, nor chunks of a stream")


def _lines(data: bytes, path: str) -> Recording:
    """Return a file with a chunk on each line: the framing is lost, each line becomes an event."""
    payloads, places, start = [], [], 0
    for number, line in enumerate(data.splitlines(keepends=True), 1):
        if line.strip():
            payloads.append(_line(line, number))
            places.append((start, number))
        start += len(line)
    if not any(map(_is_chunk, payloads)):
        raise Unreadable("holds JSON lines, and none of them is a chunk of a stream")
    return _plain(Recording(path, framed(payloads), "JSON lines", blocks=tuple(places)))


def _line(line: bytes, number: int) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"begins as JSON, and line {number} of it is none ({error})") from error


def _is_chunk(value: Any) -> bool:
    """Return whether a JSON value looks like the payload of an event."""
    if not isinstance(value, dict):
        return False
    kind = str(value.get("type", value.get("event", "")))
    is_named = kind.startswith(("response.", "thread.")) or kind in ("error", "done")
    return is_named or isinstance(value.get("choices"), list)


def framed(payloads: Iterable[Any]) -> bytes:
    """Return payloads as events; [DONE] is added where the answer came to its end, as it is not a payload."""
    payloads = list(payloads)
    frames = [_frame(payload) for payload in payloads]
    is_chat = any(isinstance(payload, dict) and "choices" in payload for payload in payloads)
    if is_chat and any(b'"finish_reason":"' in frame for frame in frames):
        frames.append(b"data: [DONE]\n\n")
    return b"".join(frames)


def _frame(payload: Any) -> bytes:
    name = None
    if isinstance(payload, dict) and {"event", "data"} <= payload.keys():
        name, payload = payload["event"], payload["data"]
    elif isinstance(payload, dict) and "choices" not in payload:
        name = payload.get("type")
    text = payload if isinstance(payload, str) else json.dumps(payload, ensure_ascii=False, separators=(",", ":"))
    lines = [*([f"event: {name}"] if name else []), *(f"data: {line}" for line in text.split("\n"))]
    return "\n".join([*lines, "\n"]).encode("utf-8", "surrogatepass")


# --- what is known of the request


def about_url(url: str) -> tuple[str, str, dict[str, Any]]:
    """Return the API and the host of a request, and what its query says."""
    try:
        parts = urlsplit(url)
        api, _ = calls.api_at(parts.path, None)
        after = parse_qs(parts.query).get("starting_after", [""])[0]
        return api, parts.hostname or "", {"starting_after": int(after)} if after.isdigit() else {}
    except ValueError:
        return "other", "", {}


def asked(body: Any) -> dict[str, Any]:
    """Return what the JSON body of a request says of the answer; the archives look at `stream` themselves."""
    if isinstance(body, (str, bytes)):
        body = value_of(body)
    return {name: body[name] for name in (*_ASKED, "stream") if name in body} if isinstance(body, dict) else {}


def request_of(recording: Recording) -> Request:
    """Return a request in the form that the core takes."""
    asked, n = recording.request, recording.request.get("n")
    model = asked.get("model")
    return Request(
        model=model if isinstance(model, str) else "",
        n=n if type(n) is int else None,
        tools=calls.tools_of(dict(asked)),
        names_tool=isinstance(asked.get("tool_choice"), dict),
        starting_after=asked.get("starting_after"),
    )


def api_in(body: bytes) -> str:
    """Return the API of a stream, by its first events; `chat`, which most are, where they are silent."""
    seen = 0
    for match in re.finditer(rb"(?:\A|[\r\n])(?:\xef\xbb\xbf)?(event|data): ?([^\r\n]*)", body):
        field, value = match.groups()
        payload = value_of(value) if field == b"data" else None
        api = _api_named(value) if field == b"event" else ""
        if isinstance(payload, dict):
            api = _api_of(payload)
            seen += 1
        if api or seen >= _LOOKED_AT:
            return api or "other"
    return "other" if seen and b'"error"' not in body else "chat"


#: How the names of events begin, by API.
_NAMES = ((b"thread.", "assistants"), (b"response.", "responses"), (b"agent.", "agents"))


def _api_named(event: bytes) -> str:
    """Return the API that the name of an event is of; empty where many have it, or none."""
    return next((api for beginning, api in _NAMES if event.startswith(beginning)), "")


def value_of(text: str | bytes) -> Any:
    """Return the value that a JSON text has; None where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _api_of(payload: dict[str, Any]) -> str:
    object, choices = payload.get("object"), payload.get("choices")
    type_ = str(payload.get("type", ""))
    if type_.startswith(("response.", "agent.")):
        return "responses" if type_.startswith("response.") else "agents"
    if object in ("chat.completion.chunk", "text_completion"):
        return "chat" if object == "chat.completion.chunk" else "completions"
    if str(object).startswith("thread."):
        return "assistants"
    first = choices[0] if isinstance(choices, list) and choices else None
    if isinstance(first, dict):
        return "completions" if "text" in first and "delta" not in first else "chat"
    return "chat" if isinstance(choices, dict) else ""
