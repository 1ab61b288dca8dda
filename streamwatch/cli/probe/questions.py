"""The questions that `streamwatch probe` asks: few tokens each, and of every feature that streams differently."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from streamwatch.cli.probe.recorded_answer import FEW_TOKENS, Asked

#: Output tokens of an answer: enough for two tool calls with their arguments, a fraction of a cent on any model.
TOKENS = 128

_PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
_WEATHER = {"name": "get_weather", "description": "Tells the weather in a city.", "parameters": _PARAMETERS}
_TIME = {"name": "get_time", "description": "Tells the time in a city.", "parameters": _PARAMETERS}
_SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "country": {"type": "string"}},
    "required": ["city", "country"],
    "additionalProperties": False,
}
_ECHO = "Grüße, 東京 🚋"

_SHORT = "Name ten rivers, separated by commas. No other words."
_LONG = "Count from one to one hundred in English words, separated by commas."
_ONE_TOOL = "What is the weather in Lisbon? Call the tool."
_TWO_TOOLS = "What is the weather in Lisbon, and what time is it in Porto? Call both tools at once."
_REPEAT = f"Repeat exactly, and say nothing else: {_ECHO}"
_STRUCTURED = "In which city and country is the Eiffel Tower? Answer as JSON with the members city and country."


@dataclass(frozen=True)
class Question:
    """A question: `arguments` beside model, prompt and the bound on tokens."""

    name: str
    title: str
    prompt: str
    asked: Asked
    arguments: Mapping[str, Any]
    tokens: int | None = None

    @property
    def api(self) -> str:
        """The API."""
        return self.asked.api


def _chat(name: str, title: str, prompt: str, arguments: Mapping[str, Any] | None = None, **asked: Any) -> Question:
    tokens = FEW_TOKENS if asked.get("limited") else None
    return Question(name, title, prompt, Asked("chat", **{"n": 1, **asked}), arguments or {}, tokens)


def _responses(
    name: str, title: str, prompt: str, arguments: Mapping[str, Any] | None = None, **asked: Any
) -> Question:
    tokens = FEW_TOKENS if asked.get("limited") else None
    return Question(name, title, prompt, Asked("responses", **asked), arguments or {}, tokens)


def _functions(*tools: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"type": "function", "function": dict(tool)} for tool in tools]


_FORMAT = {"type": "json_schema", "json_schema": {"name": "place", "strict": True, "schema": _SCHEMA}}
_TEXT_FORMAT = {"format": {"type": "json_schema", "name": "place", "strict": True, "schema": _SCHEMA}}
_MEMBERS = ("city", "country")

#: In the order in which they are asked: the plainest first, as it shows whether there is anybody to ask.
QUESTIONS = {
    question.name: question
    for question in (
        _chat("text", "text", _SHORT),
        _chat("letters", "letters beyond ASCII", _REPEAT, echo=_ECHO),
        _chat("tool", "one tool call", _ONE_TOOL, {"tools": _functions(_WEATHER)}, calls=1),
        _chat("tools", "two parallel tool calls", _TWO_TOOLS, {"tools": _functions(_WEATHER, _TIME)}, calls=2),
        _chat("choices", "two choices (n=2)", _SHORT, {"n": 2}, n=2),
        _chat("usage", "usage at the end", _SHORT, {"stream_options": {"include_usage": True}}, usage=True),
        _chat("limit", "cut at max_tokens", _LONG, limited=True),
        _chat("schema", "structured output", _STRUCTURED, {"response_format": _FORMAT}, members=_MEMBERS),
        _responses("responses", "Responses: text", _SHORT),
        _responses(
            "responses-tool",
            "Responses: a function call",
            _ONE_TOOL,
            {"tools": [{"type": "function", **_WEATHER}]},
            calls=1,
        ),
        _responses("responses-limit", "Responses: cut at max_output_tokens", _LONG, limited=True),
        _responses(
            "responses-schema", "Responses: structured output", _STRUCTURED, {"text": _TEXT_FORMAT}, members=_MEMBERS
        ),
    )
}


def chosen(api: str, only: Iterable[str], skip: Iterable[str]) -> list[Question]:
    """Return the questions that are asked, in order."""
    only, skip = set(only), set(skip)
    return [
        question
        for name, question in QUESTIONS.items()
        if api in ("all", question.api) and (not only or name in only) and name not in skip
    ]


def plan(questions: list[Question], repeat: int) -> str:
    """Say what is going to be asked, and what it may cost."""
    count = len(questions) * repeat
    most = sum((question.tokens or TOKENS) * (question.asked.n or 1) for question in questions) * repeat
    each = max((question.tokens or TOKENS) for question in questions)
    return f"{count} request{'s' * (count != 1)}, at most {each} output tokens for each answer and {most:,} in all"
