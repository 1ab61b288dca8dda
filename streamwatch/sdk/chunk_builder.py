"""The SDK's chunk objects, built without asking it to construct each one.

How it works. Of the 83 µs of CPU that the plain SDK spends on a chunk, 73 go into constructing its model (measured,
openai 3.52, Python 3.11). What it constructs is a function of the JSON alone, and the chunks of a stream differ in a
few strings and numbers. So the SDK constructs one object of each shape, a template is taken of it, and the next chunk
of that shape is built after the template: same classes, same values, same sets of fields, in a tenth of the time. The
first object that is built is compared with the SDK's own, down to the order of its fields, before the template is used.
What does not fit a template, and every shape of which none can be taken, is the SDK's to construct.

Templates outlive the streams that they were taken of. So their number and their size are bounded, and those that no
stream needs any more are forgotten.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import sys
import threading
from collections.abc import Callable
from functools import partial
from types import CodeType, FunctionType
from typing import Any

from streamwatch.core.sse import Event
from streamwatch.sdk.dict_forms import DictForms
from streamwatch.sdk.shape_code import MISFITS
from streamwatch.sdk.shape_template import ShapeTemplate, UnlearnableError, same

#: Templates of one kind of event that are tried; a stream has four or so, a process several sorts of streams.
_MAX_TEMPLATES = 16
#: Kinds of events, half of which are kept when there are more: the Responses API has some 60, the deltas of all servers
#: that were recorded 65; a server may make up more.
_MAX_KINDS = 128
#: Characters in the name of a kind, and members of a delta that names one: in all recordings 46 and 9 at most.
_MAX_NAME, _MAX_NAMES = 64, 16
#: Bytes of all templates of one sort of stream, half of which are kept when there are more. The chat recordings of all
#: servers take 1.2 million together, the Responses recordings 0.4.
_MAX_WEIGHT = 2 << 20
#: A template is taken for each 64 events at most, and of each of the first 64 events: to take one costs up to a
#: millisecond, and shapes that change all the time are not worth it.
_EVENTS_A_LESSON = 64
#: Events in a row without a template that fits, after which only each 16th is tried.
_PATIENCE = 16
#: The streams whose chunks can be made: the SDK constructs what they are cast to, and nothing around it.
_CASTS = (
    ("openai.types.chat.chat_completion_chunk", "ChatCompletionChunk"),
    ("openai.types.responses.response_stream_event", "ResponseStreamEvent"),
    ("openai.types.completion", "Completion"),
)
#: How an object is made of a JSON object; the same JSON object, where it is the SDK's to construct.
Build = Callable[[dict[str, Any]], Any]
#: What JSON is parsed to. Nothing of these types was built here.
_JSON_TYPES = frozenset((dict, list, str, int, float, bool, type(None)))


class Shapes:
    """The shapes of one kind of event."""

    __slots__ = ("misses", "templates")

    def __init__(self) -> None:
        self.templates: tuple[ShapeTemplate, ...] = ()  #: the latest used first
        self.misses = 0  #: events in a row that fitted none of them

    @property
    def weight(self) -> int:
        """How many bytes the templates take, roughly."""
        return sum(template.weight for template in self.templates)

    def prefer(self, template: ShapeTemplate) -> None:
        """Try this template first from now on."""
        others = [other for other in self.templates if other is not template]
        self.templates = (template, *others)[:_MAX_TEMPLATES]
        self.misses = 0


class ChunkBuilder:
    """The objects of one sort of stream.

    What is known of kinds of events is kept in two generations: when the young one is full, it becomes the old one,
    and what the old one had is forgotten, except what was needed in the meantime.

    Args:
        construct: makes the SDK's own object of a JSON object, as the SDK's `construct_type`; may raise what it likes.
        cast_to: the type that the SDK constructs.
        otherwise: what to return for a JSON object of which no template was taken.
    """

    def __init__(
        self, construct: Callable[..., Any], cast_to: Any, otherwise: Callable[[dict[str, Any]], Any] | None = None
    ) -> None:
        self._construct = construct
        self._cast_to = cast_to
        self._otherwise = otherwise
        self._young: dict[Any, Shapes] = {}
        self._old: dict[Any, Shapes] = {}
        self._unnamed = Shapes()  # of all kinds whose names are too long to keep
        self._weight = 0
        self._latest: ShapeTemplate | None = None  # what the last object was built after
        self._credit = _EVENTS_A_LESSON * _EVENTS_A_LESSON

    def build(self, payload: dict[str, Any]) -> Any:
        """Return the object that the SDK would construct of `payload`, or what `otherwise` says: by default, that."""
        self._credit += 1
        latest = self._latest
        if latest is not None:  # mostly the next one has the same shape
            try:
                made = latest.build(payload)
            except MISFITS:
                made = None
            if made is not None:
                return made
        kind = _kind_of(payload)
        return self._build(payload, self._young.get(kind) or self._recall(kind))

    def _build(self, payload: dict[str, Any], shapes: Shapes) -> Any:
        misses, made = shapes.misses, None
        if misses < _PATIENCE or not misses % _PATIENCE:
            for template in shapes.templates:
                made = _attempt(template, payload)
                if made is not None:
                    if misses or template is not shapes.templates[0]:
                        shapes.prefer(template)
                    self._latest = template
                    return made
            made = self._learn(shapes, payload)
        shapes.misses = misses + 1
        if made is None:
            return payload if self._otherwise is None else self._otherwise(payload)
        return made

    def _recall(self, kind: Any) -> Shapes:
        """Return what is known of a kind that was not seen lately."""
        if not _is_name(kind):
            return self._unnamed
        shapes = self._old.pop(kind, None) or Shapes()
        if len(self._young) >= _MAX_KINDS // 2:
            self._grow_old()
        self._young[kind] = shapes
        self._add(shapes.weight)
        return shapes

    def _add(self, weight: int) -> None:
        """Count what is kept."""
        self._weight += weight
        if self._weight > _MAX_WEIGHT // 2:
            self._grow_old()

    def _grow_old(self) -> None:
        """Forget the old generation."""
        self._old, self._young, self._weight = self._young, {}, 0
        self._latest = None  # so that what is used is recalled

    def _learn(self, shapes: Shapes, payload: dict[str, Any]) -> Any:
        """Take a template of what the SDK constructs of a payload; return that object, or None without a lesson."""
        if self._credit < _EVENTS_A_LESSON or "error" in payload:  # the SDK looks for `error` itself
            return None
        self._credit -= _EVENTS_A_LESSON
        try:
            made = self._construct(value=payload, type_=self._cast_to)
        except Exception:
            return None  # as it will when the SDK constructs it
        with contextlib.suppress(UnlearnableError):
            template = ShapeTemplate.taken(self._cast_to, payload, made)
            if same(_attempt(template, payload), made):
                shapes.templates = (template, *shapes.templates)[:_MAX_TEMPLATES]
                self._add(template.weight)
        return made


def _kind_of(payload: dict[str, Any]) -> Any:
    """Return what says most about the shape of an event at a glance: its type, or what stands in its first delta."""
    kind = payload.get("type")
    if type(kind) is str:
        return kind
    try:
        delta = payload["choices"][0]["delta"]
    except (KeyError, IndexError, TypeError):
        return ""
    return tuple(delta) if type(delta) is dict else ""


def _is_name(kind: Any) -> bool:
    """Return whether the name of a kind may be kept."""
    if type(kind) is str:
        return len(kind) <= _MAX_NAME
    return len(kind) <= _MAX_NAMES and all(len(name) <= _MAX_NAME for name in kind)


def _attempt(template: ShapeTemplate, payload: dict[str, Any]) -> Any:
    try:
        return template.build(payload)
    except MISFITS:
        return None


class EventTypes:
    """The classes that the SDK takes for its own server-sent events, for each sort of stream.

    Args:
        own: the SDK's class.
        failed: is called with an exception of Streamwatch; the SDK constructs the object then.
        builds: whether chunks are built after templates.
    """

    def __init__(self, own: type, failed: Callable[[BaseException, str], None], *, builds: bool) -> None:
        self._own = own
        self._failed = failed
        self._builds = builds
        self.loops = _loops_of(sys.modules.get(own.__module__))  #: the code of the SDK that makes chunks of events
        self._dict_forms = DictForms(failed)
        self._plain = self._sent_event(None, None)
        self._casts: tuple[tuple[str, str], ...] = _CASTS
        self._types: dict[str, type[Event]] = {}
        self._lock = threading.RLock()  # a signal handler may open a stream, and switch Streamwatch off

    def of(self, stream: Any) -> type[Event]:
        """Return the class of the events of a stream of the SDK."""
        cast_to = getattr(stream, "_cast_to", None)
        for module, name in self._casts if cast_to is not None else ():
            if getattr(sys.modules.get(module), name, None) is cast_to:
                if not constructs_as_known(stream, cast_to):
                    break
                return self._types.get(name) or self._first_of(name, cast_to)
        return self._plain

    def close(self) -> None:
        """Leave the SDK's classes as they were; what a stream gets that another thread is just opening is the SDK's."""
        with self._lock:
            self._casts = ()
            self._dict_forms.remove()

    def after_fork(self) -> None:
        """Forget the threads of the parent, one of which may have held the lock."""
        self._lock = threading.RLock()

    def _first_of(self, name: str, cast_to: Any) -> type[Event]:
        """Return the class for the first stream of a sort; several threads may come at once, or after the end."""
        with self._lock:
            if self._casts and name not in self._types:
                self._types[name] = self._made_for(name, cast_to)
            return self._types.get(name, self._plain)

    def _made_for(self, name: str, cast_to: Any) -> type[Event]:
        plain, filled = self._builders(name, cast_to)
        event_type: Any = self._sent_event(plain, filled)
        if plain is not None and filled is not None:
            event_type.cast = self._cast_event(event_type)
            event_type.built_as = self._built_as(plain, filled, cast_to, event_type.cast)
        return event_type  # type: ignore[no-any-return]

    def _builders(self, name: str, cast_to: Any) -> tuple[Build | None, Build | None]:
        """Return how chunks are built: as they came, and so that their dicts answer for a content."""
        construct = sys.modules["openai._models"].construct_type
        plain = ChunkBuilder(construct, cast_to).build if self._builds else None
        if name != _CASTS[0][1]:
            return plain, plain
        try:
            self._dict_forms.install()
        except Exception as error:
            self._failed(error, "preparing the dicts of chunks")
            return plain, plain
        mark = self._dict_forms.mark

        def filled(value: Any, type_: Any) -> Any:
            return mark(construct(value=value, type_=type_))

        finish = partial(_finished, filled, cast_to)
        return plain, ChunkBuilder(filled, cast_to, finish).build if self._builds else finish

    def _sent_event(self, plain: Build | None, filled: Build | None) -> type[Event]:
        failed, loops, frame = self._failed, self.loops, sys._getframe

        class SentEvent(Event, self._own):  # type: ignore[misc, name-defined]
            __slots__ = ()

            built_as: type | None = None

            def json(self) -> Any:
                return self.json_for(frame(1).f_code)

            def json_for(self, code: CodeType) -> Any:
                """Return the object for the SDK's loop; JSON for other code that reads events, which expects that."""
                payload = self.payload
                if payload is None or not self.shared:
                    return json.loads(self.data)
                build = filled if self.fills_content else plain
                if build is None or code not in loops:
                    return payload
                # Of an event with a name of its own some releases make another object, which holds both.
                name = self.event
                if name is not None and name != payload.get("type"):
                    return payload
                try:
                    return build(payload)
                except Exception as error:
                    failed(error, "building a chunk")
                    return payload

        return SentEvent

    def _cast_event(self, sent_event: Any) -> type[Event]:
        loops, frame = self.loops, sys._getframe

        class CastEvent(sent_event):  # type: ignore[misc]
            """An event that the SDK casts to `built_as`, once. Its loop holds it until the next one."""

            __slots__ = ()

            def json(self) -> Any:
                payload, name, code = self.payload, self.event, frame(1).f_code
                if payload is None or not self.shared or "error" in payload or code not in loops:
                    return self.json_for(code)
                if name is None or (name == payload.get("type") and name.startswith("response.")):
                    return self
                return self.json_for(code)

        return CastEvent

    def _built_as(self, plain: Build, filled: Build, cast_to: Any, event_type: type[Event]) -> type:
        """Return a type for the SDK to cast to, by its `ModelBuilderProtocol`: it builds events, and leaves objects."""
        failed, base_client = self._failed, sys.modules["openai._base_client"]

        class Built:
            @classmethod
            def build(cls, *, response: Any, data: Any) -> Any:  # noqa: ARG003 -- the protocol of the SDK
                if type(data) is event_type:
                    payload, data.payload, data.raw = data.payload, None, b""  # the SDK's loop has had it
                    try:
                        made = (filled if data.fills_content else plain)(payload)
                    except Exception as error:
                        failed(error, "building a chunk")
                        made = payload
                    if made is not payload:
                        return made
                    data = payload
                if type(data) not in _JSON_TYPES:
                    return data
                return base_client.construct_type(type_=cast_to, value=data)

        return Built


def _finished(construct: Callable[..., Any], cast_to: Any, payload: dict[str, Any]) -> Any:
    """Return what the SDK constructs, or the payload where it would raise."""
    if payload.get("error"):  # which it looks for itself
        return payload
    try:
        return construct(value=payload, type_=cast_to)
    except Exception:
        return payload


def _loops_of(streaming: Any) -> frozenset[CodeType]:
    """Return the code of the SDK that makes chunks of events."""
    streams: list[Any] = [getattr(streaming, name, None) for name in ("Stream", "AsyncStream")]
    functions = [inspect.unwrap(each.__stream__) for each in streams if hasattr(each, "__stream__")]
    return frozenset(function.__code__ for function in functions if home(function) == streaming.__name__)


def constructs_as_known(stream: Any, cast_to: Any) -> bool:
    """Return whether the objects of a stream depend on the JSON alone: nobody validates, or has put himself between."""
    client = getattr(stream, "_client", None)
    functions = (
        (getattr(client, "_process_response_data", None), "openai._base_client"),
        (getattr(sys.modules.get("openai._base_client"), "construct_type", None), "openai._models"),
        (getattr(getattr(sys.modules.get("openai._models"), "BaseModel", None), "construct", None), "openai._models"),
    )
    stock = all(home(function) == module for function, module in functions)
    named = getattr(getattr(stream, "_options", None), "synthesize_event_and_data", None)
    return stock and not named and getattr(client, "_strict_response_validation", True) is False


def home(function: Any) -> Any:
    """Return the module that a function was written in, whatever a wrapper around it says."""
    function = getattr(function, "__func__", function)
    return function.__globals__.get("__name__") if type(function) is FunctionType else None
