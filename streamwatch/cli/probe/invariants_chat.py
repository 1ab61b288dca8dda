"""The invariants of Chat Completions, and of legacy Completions: chunks, choices, tool calls, usage."""

from __future__ import annotations

import itertools
import json
from typing import Any

from streamwatch.cli.probe.invariants import CHAT, CHOICES, invariant
from streamwatch.cli.probe.recorded_answer import RecordedAnswer, RecordedFragment, as_dict, as_list, as_text

_KNOWN_REASONS = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})
#: Members of a delta that are an answer, in whatever form.
_OUTPUT = ("content", "refusal", "audio", "reasoning", "reasoning_content", "reasoning_details", "tool_calls")


def parses(text: str) -> bool:
    """Return whether a text is JSON."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


# --- the chunk


@invariant(
    CHOICES, "Every chunk has a list of choices.", "A chunk has no list of choices: loops over it raise.", matters=True
)
def choices_are_lists(answer: RecordedAnswer) -> bool | None:
    """Return whether this is so in every chunk that is not an error."""
    return all(isinstance(chunk.get("choices"), list) for chunk in answer.chunks) if answer.chunks else None


@invariant(
    CHOICES,
    "Only the usage chunk is without choices.",
    "A chunk without usage has no choices: chunk.choices[0] raises IndexError.",
)
def choices_filled(answer: RecordedAnswer) -> bool | None:
    """Return whether `choices: []` comes with usage."""
    lists = [chunk for chunk in answer.chunks if isinstance(chunk.get("choices"), list)]
    return all(chunk["choices"] or chunk.get("usage") is not None for chunk in lists) if lists else None


@invariant(CHOICES, "The id is the same throughout.", "The id changes, or is missing, inside one answer.")
def id_constant(answer: RecordedAnswer) -> bool | None:
    """Return whether this is so of the chunks that have choices."""
    ids = {repr(chunk.get("id")) for chunk in answer.chunks if chunk.get("choices")}
    return len(ids) == 1 and not ids & {"''", "None"} if ids else None


@invariant(CHAT, "object is chat.completion.chunk.", "object is not chat.completion.chunk in every chunk.")
def object_name(answer: RecordedAnswer) -> bool | None:
    """Return whether this is so in every chunk."""
    if not answer.chunks:
        return None
    return all(chunk.get("object") == "chat.completion.chunk" for chunk in answer.chunks)


# --- choices


@invariant(CHOICES, "Choices are numbered from 0.", "Choices are not numbered 0, 1, 2.", matters=True)
def choice_index(answer: RecordedAnswer) -> bool | None:
    """Return whether every choice has an int index, and none is left out."""
    listed = [as_dict(choice) for chunk in answer.chunks for choice in as_list(chunk.get("choices"))]
    if not listed:
        return None
    return all(type(choice.get("index")) is int for choice in listed) and set(answer.choices) == set(
        range(len(answer.choices))
    )


@invariant(
    CHAT, "As many choices come as were asked for.", "n is not honored: other than n choices came.", matters=True
)
def n_honored(answer: RecordedAnswer) -> bool | None:
    """Return whether as many choices came as were asked for, where n was asked for."""
    wanted = answer.asked.n
    return len(answer.choices) == wanted if wanted is not None and answer.choices else None


@invariant(CHAT, "Every choice has a delta.", "A choice has no delta: choice.delta.content raises.", matters=True)
def delta_present(answer: RecordedAnswer) -> bool | None:
    """Return whether every choice has an object there."""
    listed = [choice for pairs in answer.choices.values() for _, choice in pairs]
    return all(isinstance(choice.get("delta"), dict) for choice in listed) if listed else None


@invariant(CHAT, "The first delta has the role.", "The first delta of a choice has no role.")
def role_first(answer: RecordedAnswer) -> bool | None:
    """Return whether this is so of every choice."""
    return all(answer.deltas(index)[0].get("role") for index in answer.choices) if answer.choices else None


@invariant(CHAT, "The role comes once.", "The role is repeated in later deltas.")
def role_once(answer: RecordedAnswer) -> bool | None:
    """Return whether the role is not null in the first delta only."""
    if not answer.choices:
        return None
    return not any(delta.get("role") is not None for index in answer.choices for delta in answer.deltas(index)[1:])


@invariant(CHAT, "The role is always assistant.", "A role is not assistant.", matters=True)
def role_assistant(answer: RecordedAnswer) -> bool | None:
    """Return whether every role that there is fits."""
    roles = [delta["role"] for index in answer.choices for delta in answer.deltas(index) if delta.get("role")]
    return all(role == "assistant" for role in roles) if roles else None


@invariant(CHAT, "Every delta has content.", "Deltas come without content: ['content'] raises KeyError: 'content'.")
def content_present(answer: RecordedAnswer) -> bool | None:
    """Return whether the key is there, with whatever value."""
    if not answer.choices or not answer.literal:
        return None
    return all("content" in delta for index in answer.choices for delta in answer.deltas(index))


@invariant(CHAT, "Content is never null.", "Content is null in places: text += delta.content raises TypeError.")
def content_not_null(answer: RecordedAnswer) -> bool | None:
    """Return whether no value is null where the key is there."""
    values = [delta["content"] for index in answer.choices for delta in answer.deltas(index) if "content" in delta]
    return None not in values if values and answer.literal else None


@invariant(
    CHAT, "Content is text.", "Content is neither a string nor null: text += delta.content raises.", matters=True
)
def content_is_text(answer: RecordedAnswer) -> bool | None:
    """Return whether every content that there is is a string."""
    values = [delta.get("content") for index in answer.choices for delta in answer.deltas(index)]
    values = [value for value in values if value is not None]
    return all(isinstance(value, str) for value in values) if values else None


# --- the end of a choice


@invariant(
    CHOICES,
    "Every choice gets a finish_reason.",
    "A choice never gets a finish_reason: nobody can tell a whole answer from a cut one.",
    matters=True,
)
def finish_reason(answer: RecordedAnswer) -> bool | None:
    """Return whether there is at least one."""
    return all(answer.finishes(index) for index in answer.choices) if answer.choices else None


@invariant(CHOICES, "finish_reason comes once.", "finish_reason is repeated.")
def finish_once(answer: RecordedAnswer) -> bool | None:
    """Return whether there is one for each choice."""
    return all(len(answer.finishes(index)) <= 1 for index in answer.choices) if answer.choices else None


@invariant(CHOICES, "finish_reason is a known one.", "finish_reason is a word that the API does not know.")
def finish_known(answer: RecordedAnswer) -> bool | None:
    """Return whether it is one of the five."""
    reasons = [reason for index in answer.choices for reason in answer.finishes(index)]
    return all(isinstance(reason, str) and reason in _KNOWN_REASONS for reason in reasons) if reasons else None


@invariant(
    CHAT,
    "Nothing follows finish_reason.",
    "A choice goes on after its finish_reason: clients that stop there lose it.",
    matters=True,
)
def finish_is_last(answer: RecordedAnswer) -> bool | None:
    """Return whether no later delta has anything in it."""
    seen = None
    for pairs in answer.choices.values():
        ended = False
        for _, choice in pairs:
            delta = as_dict(choice.get("delta"))
            if ended and any(delta.get(name) for name in _OUTPUT):
                return False
            ended = ended or choice.get("finish_reason") is not None
        seen = True if ended else seen
    return seen


@invariant(
    CHAT,
    "finish_reason fits what came.",
    "finish_reason says tool_calls without a call, or stop without an answer.",
    matters=True,
)
def finish_fits(answer: RecordedAnswer) -> bool | None:
    """Return whether tool_calls comes with calls, and stop with some output."""
    known = None
    for index in answer.choices:
        reasons = answer.finishes(index)
        if "tool_calls" in reasons and not answer.fragments(index):
            return False
        if (
            reasons
            and reasons[-1] == "stop"
            and not any(delta.get(name) for delta in answer.deltas(index) for name in _OUTPUT)
        ):
            return False
        known = True if reasons else known
    return known


@invariant(
    CHAT, "A cut answer says so.", "An answer cut at max_tokens does not say finish_reason length.", matters=True
)
def limit_told(answer: RecordedAnswer) -> bool | None:
    """Return whether the limit is named, where more was asked for than the tokens allow and all of them were used."""
    reasons = answer.finishes(0)
    if not answer.asked.limited or not reasons:
        return None
    return True if "length" in reasons else False if answer.was_cut else None


# --- tool calls


def _calls(answer: RecordedAnswer) -> list[list[RecordedFragment]]:
    """Return the tool calls; none where fragments lack an index, which is an invariant of its own."""
    numbered = all(type(fragment.index) is int for call in answer.calls for fragment in call)
    return answer.calls if numbered else []


def _finished(answer: RecordedAnswer) -> bool:
    reasons = [answer.finishes(index) for index in answer.choices]
    return bool(_calls(answer)) and all(reasons) and not any("length" in each for each in reasons)


@invariant(
    CHAT,
    "Every tool call fragment has an index.",
    "A tool call fragment has no index: accumulators raise TypeError.",
    matters=True,
)
def call_index_present(answer: RecordedAnswer) -> bool | None:
    """Return whether every fragment has an int."""
    if not answer.calls:
        return None
    return all(type(fragment.index) is int for call in answer.calls for fragment in call)


@invariant(
    CHAT,
    "Tool calls are numbered 0, 1, 2 in order.",
    "Tool calls are not numbered 0, 1, 2 in order of appearance.",
    matters=True,
)
def call_index_in_order(answer: RecordedAnswer) -> bool | None:
    """Return whether the indexes first appear in order."""
    if not _calls(answer):
        return None
    for index in answer.choices:
        numbers = list(dict.fromkeys(repr(fragment.index) for fragment in answer.fragments(index)))
        if numbers != [str(number) for number in range(len(numbers))]:
            return False
    return True


@invariant(
    CHAT,
    "Fragments of parallel calls do not alternate.",
    "Fragments of parallel tool calls alternate: legal, and seldom expected.",
)
def calls_not_interleaved(answer: RecordedAnswer) -> bool | None:
    """Return whether an index that was left does not come again."""
    if not _calls(answer):
        return None
    for index in answer.choices:
        numbers = [repr(fragment.index) for fragment in answer.fragments(index)]
        changes = sum(one != other for one, other in itertools.pairwise(numbers))
        if changes >= max(len(set(numbers)), 1):
            return False
    return True


@invariant(
    CHAT,
    "A tool call begins with its id and name.",
    "A tool call begins without its id or name: clients cannot tell whose arguments come.",
    matters=True,
)
def call_header_first(answer: RecordedAnswer) -> bool | None:
    """Return whether both are in the first fragment."""
    if not _calls(answer):
        return None
    return all(as_text(call[0].id) and as_text(call[0].name) for call in _calls(answer))


@invariant(CHAT, "A call keeps its id, and no two share one.", "Two tool calls share an index or an id.", matters=True)
def call_ids_unique(answer: RecordedAnswer) -> bool | None:
    """Return whether each index has one id, and each call another."""
    if not _calls(answer):
        return None
    ids = [{fragment.id for fragment in call if as_text(fragment.id)} for call in _calls(answer)]
    return all(len(each) <= 1 for each in ids) and len(set().union(*ids)) == sum(map(len, ids))


@invariant(
    CHAT, "A tool call is named once.", "A later fragment repeats the name: accumulators write it twice.", matters=True
)
def call_named_once(answer: RecordedAnswer) -> bool | None:
    """Return whether the name is in the first fragment only."""
    if not _calls(answer):
        return None
    return not any(fragment.name for call in _calls(answer) for fragment in call[1:])


@invariant(CHAT, "A tool call says its type.", "A tool call does not say type function.")
def call_type(answer: RecordedAnswer) -> bool | None:
    """Return whether the type is in the first fragment."""
    return all(call[0].type in ("function", "custom") for call in _calls(answer)) if _calls(answer) else None


@invariant(
    CHAT,
    "The arguments of every call parse.",
    "The arguments of a tool call are not JSON: json.loads raises.",
    matters=True,
)
def call_arguments(answer: RecordedAnswer) -> bool | None:
    """Return whether all fragments of a call parse together; nothing at all stands for a call without parameters."""
    if not _finished(answer):
        return None
    texts = ["".join(as_text(fragment.arguments) for fragment in call) for call in _calls(answer)]
    return all(parses(text or "{}") for text in texts)


@invariant(
    CHAT,
    "Tools are called where they answer.",
    "A tool that answers the question was not called, or fewer than could be.",
)
def tools_called(answer: RecordedAnswer) -> bool | None:
    """Return whether a call came: the model's choice as much as the endpoint's."""
    if not answer.asked.calls or not answer.choices or (answer.calls and not _calls(answer)):
        return None
    return len(answer.calls) >= answer.asked.calls


# --- usage


def _totals(usage: Any) -> tuple[Any, ...]:
    return tuple(as_dict(usage).get(name) for name in ("prompt_tokens", "completion_tokens", "total_tokens"))


@invariant(CHOICES, "Usage comes when it is asked for.", "Usage was asked for, and did not come.", matters=True)
def usage_sent(answer: RecordedAnswer) -> bool | None:
    """Return whether usage came at least once."""
    return bool(answer.usages) if answer.asked.usage and answer.chunks else None


@invariant(CHOICES, "Usage comes in the last chunk only.", "Usage comes early, or more than once: sums count it twice.")
def usage_last(answer: RecordedAnswer) -> bool | None:
    """Return whether nothing comes after the usage, where there is any."""
    return answer.usages == [len(answer.chunks) - 1] if answer.usages else None


@invariant(CHOICES, "The usage chunk has no choices.", "Usage comes in a chunk with choices.")
def usage_alone(answer: RecordedAnswer) -> bool | None:
    """Return whether the usage comes in a chunk of its own, where there is any."""
    return all(answer.chunks[at].get("choices") == [] for at in answer.usages) if answer.usages else None


@invariant(CHOICES, "Tokens add up.", "total_tokens is not the sum of prompt and completion tokens.")
def usage_adds_up(answer: RecordedAnswer) -> bool | None:
    """Return whether they add up in the last usage."""
    totals = _totals(answer.chunks[answer.usages[-1]]["usage"]) if answer.usages else ()
    return totals[0] + totals[1] == totals[2] if totals and all(type(each) is int for each in totals) else None


# --- structured output


@invariant(
    ("chat", "responses"),
    "Structured output fits its schema.",
    "Structured output is not the JSON that the schema asks for.",
    matters=True,
)
def schema_kept(answer: RecordedAnswer) -> bool | None:
    """Return whether the text is an object with just the members asked for; a text that was cut is not judged."""
    members = answer.asked.members
    whole = "stop" in answer.finishes(0) or answer.terminal.get("status") == "completed"
    text = answer.text()
    if not members or not whole or not text:
        return None
    return parses(text) and set(as_dict(json.loads(text))) == set(members)
