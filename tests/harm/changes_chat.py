"""What servers do to chat completions and legacy completions: identity, indexes, roles, content, ends and usage."""

from __future__ import annotations

from typing import Any

from .changes import (
    Events,
    add,
    change,
    end_of,
    inserted,
    is_text,
    middle,
    on_choices,
    on_deltas,
    on_payloads,
    removing,
    setting,
)
from .wire import DONE, Chance, Event, made

_CHAT = ("chat",)
_BOTH = ("chat", "completions")


def _heads(name: str, edit: Any, undo: str = "raises", only: Any = None) -> None:
    """Add a change of a member of every chunk."""

    def run(events: Events, chance: Chance) -> Events | None:
        return on_payloads(events, lambda p, place: "choices" in p and (only is None or only(p, place)) and edit(p))

    add(name, _BOTH, undo, run)


_heads("chunk_id_absent", removing("id"))
_heads("chunk_id_null", setting("id", None))
_heads("chunk_id_empty", setting("id", ""))
_heads("chunk_id_number", setting("id", 17))
_heads("chunk_id_empty_on_first", setting("id", ""), only=lambda p, place: place == 0)
_heads("chunk_id_other_on_later_ones", setting("id", "chatcmpl-other"), only=lambda p, place: place > 3)
_heads("chunk_id_other_on_usage", setting("id", "chatcmpl-usage"), only=lambda p, place: not p["choices"])
_heads("model_absent", removing("model"))
_heads("model_null", setting("model", None))
_heads("model_empty_on_first", setting("model", ""), only=lambda p, place: place == 0)
_heads("object_absent", removing("object"), "helper")
_heads("object_empty", setting("object", ""), "helper")
_heads("object_of_whole_answer", setting("object", "chat.completion"), "helper")
_heads("object_empty_on_first", setting("object", ""), "helper", lambda p, place: place == 0)
_heads("created_absent", removing("created"))
_heads("created_zero", setting("created", 0))
_heads("created_fraction", setting("created", 1780000000.25))
_heads("created_string", setting("created", "1780000000"))
_heads("members_of_vendor", setting("x_vendor", {"latency": [1, 2], "id": "v"}))
_heads("fingerprint_null", setting("system_fingerprint", None))
_heads("choices_null_where_empty", setting("choices", None), "helper", lambda p, place: p["choices"] == [])
_heads("choices_absent_where_empty", removing("choices"), "helper", lambda p, place: p["choices"] == [])
_heads("error_null_everywhere", setting("error", None))


@change(*_BOTH)
def chunk_id_new_each(events: Events, chance: Chance) -> Events | None:
    """Every chunk has an id of its own."""
    return on_payloads(events, lambda p, place: setting("id", f"chatcmpl-{place}")(p))


@change(*_BOTH)
def model_alias_then_snapshot(events: Events, chance: Chance) -> Events | None:
    """The first chunk names the model as it was asked for, later ones the model that answers."""
    return on_payloads(events, lambda p, place: place > 0 and setting("model", f"{p.get('model')}-0806")(p))


@change(*_BOTH)
def created_ticks(events: Events, chance: Chance) -> Events | None:
    """Every chunk says when it was made."""
    return on_payloads(events, lambda p, place: setting("created", 1780000000 + place)(p))


# --- the index of a choice


def _single(events: Events) -> bool:
    """Whether all choices have index 0."""
    found = {
        c.get("index") for e in events if e.is_object for c in e.payload.get("choices") or () if isinstance(c, dict)
    }
    return found == {0}


def _choice_index(name: str, edit: Any, apis: tuple[str, ...] = _BOTH) -> None:
    """Add a change of the index of the only choice: what was asked says what is meant."""

    def run(events: Events, chance: Chance) -> Events | None:
        return on_choices(events, edit) if _single(events) else None

    add(name, apis, "proved", run)


_choice_index("choice_index_absent", lambda choice, _: removing("index")(choice))
_choice_index("choice_index_null", lambda choice, _: setting("index", None)(choice))
_choice_index("choice_index_string", lambda choice, _: setting("index", "0")(choice))
_choice_index("choice_index_negative", lambda choice, _: setting("index", -1)(choice))
_choice_index(
    "choice_index_1_for_calls",
    lambda choice, _: bool((choice.get("delta") or {}).get("tool_calls")) and setting("index", 1)(choice),
    _CHAT,
)


@change(*_BOTH, undo="proved")
def choice_index_counts_tokens(events: Events, chance: Chance) -> Events | None:
    """The index of the only choice counts tokens."""
    if not _single(events):
        return None
    count = iter(range(chance.below(2) * 197, 10**6))
    return on_choices(events, lambda choice, _: setting("index", next(count))(choice))


@change(*_BOTH)
def choice_indexes_exchanged(events: Events, chance: Chance) -> Events | None:
    """The second choice speaks first."""
    if _single(events):
        return None
    return on_choices(
        events, lambda choice, _: choice.get("index") in (0, 1) and not choice.update(index=1 - choice["index"])
    )


@change(*_BOTH)
def choices_all_0(events: Events, chance: Chance) -> Events | None:
    """All choices that were asked for come under one index."""
    return on_choices(events, lambda choice, _: setting("index", 0)(choice))


# --- role and content


@change(*_CHAT, undo="helper")
def role_on_every_chunk(events: Events, chance: Chance) -> Events | None:
    """Say who speaks every time."""
    return on_deltas(events, lambda delta, _: setting("role", "assistant")(delta))


def _roles(name: str, edit: Any) -> None:
    add(
        name,
        _CHAT,
        "helper",
        lambda events, chance: on_deltas(events, lambda delta, _: "role" in delta and edit(delta)),
    )


_roles("role_absent", removing("role"))
_roles("role_empty", setting("role", ""))
_roles("role_null", setting("role", None))
_roles("role_of_tool", setting("role", "tool"))


def _content(name: str, fits: Any, edit: Any, undo: str = "raises") -> None:
    """Add a change of content where a delta has the content that fits."""

    def run(events: Events, chance: Chance) -> Events | None:
        return on_deltas(events, lambda delta, choice: fits(delta, choice) and edit(delta))

    add(name, _CHAT, undo, run)


def _says_nothing(delta: Any, _choice: Any) -> bool:
    return not delta.get("content")


def _has_calls(delta: Any, _choice: Any) -> bool:
    return bool(delta.get("tool_calls")) and not delta.get("content")


def _ends(delta: Any, choice: Any) -> bool:
    return bool(choice.get("finish_reason")) and not delta.get("content")


_content("content_null_where_empty", _says_nothing, setting("content", None))
_content("content_empty_where_absent", _says_nothing, setting("content", ""))
_content("content_absent_where_empty", _says_nothing, removing("content"))
_content("content_empty_beside_calls", _has_calls, setting("content", ""))
_content("content_null_beside_calls", _has_calls, setting("content", None))
_content("content_empty_at_end", _ends, setting("content", ""))
_content("content_null_at_end", _ends, setting("content", None))
_content("refusal_null_everywhere", lambda delta, _: "refusal" not in delta, setting("refusal", None))
_content("function_call_null_everywhere", lambda d, _: "function_call" not in d, setting("function_call", None))
_content("reasoning_null_everywhere", lambda d, _: "reasoning" not in d, setting("reasoning_content", None))
_content("reasoning_empty_everywhere", lambda d, _: "reasoning" not in d, setting("reasoning_content", ""))
_content("tool_calls_null_everywhere", lambda d, _: "tool_calls" not in d, setting("tool_calls", None))
_content("tool_calls_empty_everywhere", lambda d, _: "tool_calls" not in d, setting("tool_calls", []))
_content("tool_calls_empty_at_end", _ends, setting("tool_calls", []))
_content("delta_members_of_vendor", lambda d, _: True, setting("channel", "final"))


@change(*_CHAT)
def content_in_parts(events: Events, chance: Chance) -> Events | None:
    """Content is a list of parts."""
    return on_deltas(
        events,
        lambda delta, _: (
            bool(delta.get("content")) and not delta.update(content=[{"type": "text", "text": delta["content"]}])
        ),
    )


@change(*_CHAT)
def reasoning_renamed(events: Events, chance: Chance) -> Events | None:
    """Reasoning comes under another name."""

    def edit(delta: Any, _choice: Any) -> bool:
        for one, other in (("reasoning_content", "reasoning"), ("reasoning", "reasoning_content")):
            if one in delta:
                delta[other] = delta.pop(one)
                return True
        return False

    return on_deltas(events, edit)


# --- the delta itself


@change(*_CHAT, undo="proved")
def message_instead_of_delta(events: Events, chance: Chance) -> Events | None:
    """A choice carries its answer in `message`."""
    return on_choices(events, lambda c, _: "delta" in c and not c.update(message=c.pop("delta")))


@change(*_CHAT, undo="proved")
def text_instead_of_delta(events: Events, chance: Chance) -> Events | None:
    """A choice carries its answer in `text`."""

    def edit(choice: Any, _payload: Any) -> bool:
        delta = choice.get("delta") or {}
        if not delta.get("content") or set(delta) - {"content", "role"}:
            return False
        choice["text"] = choice.pop("delta")["content"]
        return True

    return on_choices(events, edit)


def _delta_at_end(name: str, edit: Any) -> None:
    def run(events: Events, chance: Chance) -> Events | None:
        return on_choices(events, lambda c, _: bool(c.get("finish_reason")) and not c.get("delta") and edit(c))

    add(name, _CHAT, "raises", run)


_delta_at_end("delta_null_at_end", setting("delta", None))
_delta_at_end("delta_absent_at_end", removing("delta"))


# --- the end


def _finish(name: str, fits: Any, edit: Any, undo: str = "raises", apis: tuple[str, ...] = _BOTH) -> None:
    """Add a change of finish_reason where it fits."""

    def run(events: Events, chance: Chance) -> Events | None:
        return on_choices(events, lambda choice, _: fits(choice) and edit(choice))

    add(name, apis, undo, run)


def _unfinished(choice: Any) -> bool:
    return choice.get("finish_reason") is None


def _finished(choice: Any) -> bool:
    return bool(choice.get("finish_reason"))


_finish("finish_empty_where_null", _unfinished, setting("finish_reason", ""))
_finish("finish_word_null", _unfinished, setting("finish_reason", "null"))
_finish("finish_absent_where_null", _unfinished, removing("finish_reason"))
_finish("finish_unknown", _finished, setting("finish_reason", "eos"))
_finish("finish_end_turn", _finished, setting("finish_reason", "end_turn"))
_finish("finish_abort", _finished, setting("finish_reason", "abort"))
_finish("finish_stop_always", _finished, setting("finish_reason", "stop"))
_finish("finish_tool_calls_always", _finished, setting("finish_reason", "tool_calls"), apis=_CHAT)
_finish("finish_length", _finished, setting("finish_reason", "length"))
_finish("finish_never", _finished, setting("finish_reason", None), "never")
_finish("native_finish_reason", _finished, setting("native_finish_reason", "STOP"))
_finish("logprobs_absent", lambda c: c.get("logprobs", 0) is None, removing("logprobs"))
_finish("choice_members_of_vendor", lambda c: True, setting("content_filter_results", {"hate": {"filtered": False}}))


@change(*_BOTH)
def finish_twice(events: Events, chance: Chance) -> Events | None:
    """The chunk that ends a choice comes twice, the second time beside usage as with OpenRouter."""
    place = chance.place(events, lambda e: e.is_object and any(map(_finished, e.payload.get("choices") or ())))
    if place is None:
        return None
    again = events[place].edited(
        lambda p: p.update(usage={"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3})
    )
    return inserted(events, end_of(events), again.again())


@change(*_CHAT)
def finish_on_last_text(events: Events, chance: Chance) -> Events | None:
    """The last piece of text brings the end with it."""
    if not _single(events):
        return None
    last = max((i for i, e in enumerate(events) if is_text(e)), default=None)
    ends = [i for i, e in enumerate(events) if e.is_object and any(map(_finished, e.payload.get("choices") or ()))]
    if last is None or len(ends) != 1 or ends[0] <= last:
        return None
    reason = events[ends[0]].payload["choices"][0]["finish_reason"]
    told = events[last].edited(lambda p: p["choices"][0].update(finish_reason=reason))
    return [*events[:last], told, *(e for i, e in enumerate(events) if i > last and i not in ends)]


@change(*_CHAT, undo="never")
def finish_too_early(events: Events, chance: Chance) -> Events | None:
    """A choice ends, and goes on."""
    place = chance.place(events[1:], is_text)
    return None if place is None else inserted(events, place + 1, _ending(events[0], "stop"))


def _ending(first: Event, reason: str) -> Event:
    head = {key: value for key, value in first.payload.items() if key != "choices"} if first.is_object else {}
    return made({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})


# --- usage

_USED = {"prompt_tokens": 7, "completion_tokens": 9, "total_tokens": 16}
_heads("usage_on_every_chunk", setting("usage", _USED), "helper", lambda p, place: not p.get("usage"))
_heads("usage_null_everywhere", setting("usage", None), only=lambda p, place: "usage" not in p)
_heads("usage_empty_everywhere", setting("usage", {}), only=lambda p, place: not p.get("usage"))


@change(*_BOTH, undo="helper")
def usage_before_end(events: Events, chance: Chance) -> Events | None:
    """Usage comes before the chunk that ends the choice."""
    place = next((i for i, e in enumerate(events) if e.is_object and e.payload.get("usage")), None)
    if place is None or place < 2:
        return None
    return [*events[: place - 1], events[place], events[place - 1], *events[place + 1 :]]


@change(*_BOTH, undo="helper")
def usage_in_choice(events: Events, chance: Chance) -> Events | None:
    """Usage stands in the choice that ends."""
    return on_choices(events, lambda choice, _: _finished(choice) and setting("usage", _USED)(choice))


@change(*_BOTH, undo="helper")
def usage_on_last_choice(events: Events, chance: Chance) -> Events | None:
    """Usage stands in the chunk that ends the choice, and has none of its own."""
    usage = next((e.payload["usage"] for e in events if e.is_object and e.payload.get("usage")), None)
    if usage is None:
        return None
    kept = [e for e in events if not (e.is_object and e.payload.get("choices") == [])]
    return on_choices(kept, lambda choice, payload: _finished(choice) and setting("usage", usage)(payload))


# --- chunks that carry nothing


@change(*_CHAT)
def filter_first(events: Events, chance: Chance) -> Events | None:
    """Azure's verdict on the prompt comes first."""
    head = {
        "id": "",
        "object": "",
        "created": 0,
        "model": "",
        "choices": [],
        "prompt_filter_results": [{"prompt_index": 0}],
    }
    return inserted(events, 0, made(head))


@change(*_CHAT)
def filter_later(events: Events, chance: Chance) -> Events | None:
    """Azure's verdict on the answer has no delta."""
    choice = {
        "index": 0,
        "finish_reason": None,
        "content_filter_offsets": {"check_offset": 1},
        "content_filter_results": {},
    }
    head = {"id": "", "object": "", "created": 0, "model": "", "choices": [choice]}
    return inserted(events, middle(events, chance), made(head))


@change(*_CHAT)
def empty_delta_inside(events: Events, chance: Chance) -> Events | None:
    """A chunk says nothing, in the middle of a text."""
    return inserted(events, middle(events, chance), _ending(events[0], "stop").edited(_unending))


@change(*_CHAT)
def empty_chunks_alike(events: Events, chance: Chance) -> Events | None:
    """The server keeps the connection open with empty chunks that are all alike."""
    empty = made(_said(events[0], {"content": "", **({"role": "assistant"} if chance.below(2) else {})}))
    return inserted(events, middle(events, chance), *[empty] * (1 + chance.below(5, "count")))


@change(*_CHAT)
def empty_chunks_first(events: Events, chance: Chance) -> Events | None:
    """Empty chunks come while the model thinks."""
    empty = made(_said(events[0], {"role": "assistant", "content": ""}))
    return inserted(events, 0, *[empty] * 3)


def _said(first: Event, delta: Any) -> Any:
    head = {key: value for key, value in first.payload.items() if key != "choices"} if first.is_object else {}
    return {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}


def _unending(payload: Any) -> None:
    payload["choices"][0]["finish_reason"] = None


@change(*_BOTH)
def chunk_after_finish(events: Events, chance: Chance) -> Events | None:
    """A gateway reports what it did, in a chunk without choices after the end."""
    head = {key: value for key, value in events[0].payload.items() if key != "choices"} if events[0].is_object else {}
    return inserted(events, end_of(events), made({**head, "choices": [], "latency_checkpoint": {"ms": 7}}))


@change(*_BOTH)
def chunk_after_done(events: Events, chance: Chance) -> Events | None:
    """Something comes after [DONE]."""
    return [*events, made({"choices": [], "object": "vendor.trailer"})] if events[-1].payload == DONE else None


@change("completions")
def text_null_where_empty(events: Events, chance: Chance) -> Events | None:
    """A choice that says nothing has text null."""
    return on_choices(events, lambda c, _: c.get("text") == "" and setting("text", None)(c))
