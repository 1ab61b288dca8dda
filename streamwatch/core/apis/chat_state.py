"""The state of one streamed chat completion, or legacy completion, which its rules share."""

from __future__ import annotations

from typing import Any

from streamwatch.core.apis.base import ApiState
from streamwatch.core.apis.chat_choice import Choice
from streamwatch.core.apis.doubts import Doubts
from streamwatch.core.apis.tool_call import Budget
from streamwatch.core.context import Context
from streamwatch.core.nothing import NOTHING

_OBJECTS = {"chat": "chat.completion.chunk", "completions": "text_completion"}
#: Choices that are remembered; the API gives 128 at most. A server that makes up more gets them passed on.
MAX_CHOICES = 256


def choices_of(chunk: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the choices of a chunk that are what they should be."""
    choices = chunk.get("choices")
    return [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []


class ChatState(ApiState):
    """The state of one streamed chat completion."""

    __slots__ = (
        *("_budget", "any_audio", "any_choices", "any_id", "any_unknown", "any_usage", "asked", "choices", "created"),
        *("doubts", "finishes", "ids_by_choice", "ids_hold", "is_foreign", "last_empty", "object", "other_index"),
        *("passes", "past_ids", "raw_id", "raw_model", "repeats_role", "speaks"),
    )

    number_member = ""

    def __init__(self, name: str, context: Context) -> None:
        super().__init__(name, context)
        self.object = _OBJECTS[name]
        self.doubts = Doubts()
        self.choices: dict[int, Choice] = {}
        self.asked = self._asked()
        self.passes = True  #: whether the chunk that is looked at goes on
        self.speaks = False  #: whether that chunk carries a part of an answer, or of its reasoning
        self.created = 0
        self.other_index: int | None = None  #: the one under which the only choice comes that was asked for, if not 0
        self.any_usage = False
        self.any_id = self.any_choices = self.any_audio = False
        self.is_foreign = False  #: an event of another protocol came
        self.any_unknown = False  #: an event came that has no choices, and says something
        self.raw_id = self.raw_model = ""  #: as they came; `id` and `model` are those handed on
        self.past_ids: tuple[str, ...] = ()
        self.ids_hold = False  #: two chunks in a row had the same id: not each has its own
        self.ids_by_choice: dict[int, str] | None = NOTHING  #: None where one choice came under several
        self.repeats_role = False
        self.finishes = 0
        self.last_empty: int | None = None  #: the hash of the last chunk, if it was empty
        self._budget = Budget()

    def _asked(self) -> int | None:
        """Return how many choices were asked for; None where that is not known."""
        n, prompts = self.request.n, self.request.prompts
        if self.name == "completions":
            return n * prompts if n and prompts else None
        return n or None

    def choice(self, index: int) -> Choice | None:
        """Return the state of a choice; None where there are too many to remember."""
        state = self.choices.get(index)
        if state is None and len(self.choices) < MAX_CHOICES:
            state = self.choices[index] = Choice(self.ledger, self.doubts, self.request, self._budget)
        return state

    def head(self) -> dict[str, Any]:
        """Return what every chunk of this completion has in common, as far as it is known."""
        head = {"id": self.id, "object": self.object, "created": self.created, "model": self.model}
        return {name: value for name, value in head.items() if value}
