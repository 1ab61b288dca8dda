"""What each server is known to do on healthy runs; docs/servers.md has the same in words."""

from __future__ import annotations

from dataclasses import dataclass, field

#: A server, directly or behind a proxy.
ROUTES = [
    "transformers",
    "transformers behind LiteLLM",
    "transformers behind nginx on",
    "transformers behind nginx off",
    "transformers behind HAProxy",
    "llama",
    "vllm",
]


@dataclass(frozen=True)
class Dialect:
    """The kinds that are found in the streams of a server, by the question; those that are faults; what it refuses."""

    chat: frozenset[str]
    by_question: dict[str, frozenset[str]] = field(default_factory=dict)  #: beside the API's own
    faulty: frozenset[str] = frozenset({"response_event_missing", "response_reference_invalid"})
    responses: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()  #: questions that it does not answer
    mended: frozenset[str] = frozenset()  #: what the helpers raise on without Streamwatch, and not with it
    choices: int = 1  #: of a request for two
    #: Found or not by how many tokens waited for each other, and came in one chunk: its chunks differ from run to run.
    gathered: frozenset[str] = frozenset()

    def kinds(self, name: str) -> set[str]:
        """The kinds that are found in the answer to a question."""
        name = name.partition("/")[0]
        own = self.responses if name.startswith("response") else self.chat
        return {*own, *self.by_question.get(name, ())}

    def faults(self, name: str) -> set[str]:
        """Those that are faults."""
        return self.kinds(name) & self.faulty

    def changed(self, name: str) -> bool:
        """Whether a repair adds events, or gives them another place."""
        return bool(self.faults(name))


_MISSING = frozenset({"response_event_missing"})
_TAKEN = frozenset({"response_reference_invalid"})
_NO_DONE = frozenset({"sse_framing_variant"})
_BARE = frozenset({"finish_reason_irregular", "content_absent"})
_TRANSFORMERS = Dialect(
    _BARE | _NO_DONE,
    {"response-call": _TAKEN, "response-calls": _TAKEN},
    mended=frozenset({"response-call/helper", "response-calls/helper"}),
)
_RESPONSES = frozenset({"response", "response-call", "response-calls"})
DIALECTS = {
    "transformers": _TRANSFORMERS,
    "transformers behind LiteLLM": Dialect(_BARE, refused=_RESPONSES),
    "transformers behind nginx on": _TRANSFORMERS,
    "transformers behind nginx off": _TRANSFORMERS,
    "transformers behind HAProxy": _TRANSFORMERS,
    "llama": Dialect(
        frozenset({"content_null", "content_absent"}),
        {
            "usage": frozenset({"choices_empty"}),
            "calls": frozenset({"choices_empty"}),
            "two": frozenset({"choice_index_invalid"}),
            "response-call": _MISSING,
            "response-calls": _MISSING,
        },
        faulty=frozenset({"response_event_missing", "response_reference_invalid", "choice_index_invalid"}),
        responses=frozenset({"sequence_unusable", "response_reference_invalid"}),
        mended=frozenset({"response/helper", "response-calls/helper"}),
        choices=2,
    ),
    "vllm": Dialect(
        frozenset(),
        {
            "usage": frozenset({"choices_empty"}),
            "call": frozenset({"content_null"}),
            "calls": frozenset({"content_null", "choices_empty"}),
        },
        choices=2,
        gathered=frozenset({"content_absent", "tool_call_fragment_irregular"}),
    ),
}
