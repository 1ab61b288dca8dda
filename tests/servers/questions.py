"""What the tiny model is asked, and what it answers: text, one tool call, two tool calls."""

from __future__ import annotations

import json
from typing import Any

_PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "unit": {"type": "string"}},
    "required": ["city", "unit"],
    "additionalProperties": False,
}
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "get_weather", "strict": True, "parameters": _PARAMETERS},
}


def _call(city: str) -> str:
    return f'<tool_call>\n{{"name": "get_weather", "arguments": {arguments(city)}}}\n</tool_call>'


def arguments(city: str) -> str:
    """The arguments of a call, as the model writes them."""
    return json.dumps({"city": city, "unit": "celsius"})


#: Long enough for a connection to be cut in its middle; a dash and an accent, for characters of more than a byte.
TEXT = (
    "A harbour at night is a stream of small signals. Each lamp says one thing, and the pilot joins them into a "
    "picture. When a lamp goes out, the picture has a hole; when two lamps change places, the ship turns the wrong "
    "way. So the pilot counts the lamps \u2013 every one, every time \u2013 and drinks his caf\u00e9 au lait only once "
    "the ropes are tied."
)
QUESTIONS = {"text": "Tell me about harbours.", "call": "Weather in Paris?", "calls": "Weather in Paris and Oslo?"}
ANSWERS = {"text": TEXT, "call": _call("Paris"), "calls": f"{_call('Paris')}\n{_call('Oslo')}"}
CITIES = {"text": [], "call": ["Paris"], "calls": ["Paris", "Oslo"]}


def ask(name: str) -> list[dict[str, str]]:
    """The messages of a question."""
    return [{"role": "user", "content": QUESTIONS[name]}]
