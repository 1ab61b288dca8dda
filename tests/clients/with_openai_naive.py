"""The SDK's `create(stream=True)`, read by the loop of the tutorials: `text += chunk.choices[0].delta.content`."""

from __future__ import annotations

import openai
from recorded import API_KEY, MESSAGES, MODEL, TIMEOUT, Computed, Recording, main


def read(recording: Recording, computed: Computed) -> None:
    """A loop that takes every chunk for a piece of text or of a call, as many in the field do."""
    with openai.OpenAI(api_key=API_KEY, base_url=recording.base_url, max_retries=0, timeout=TIMEOUT) as client:
        stream = client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True, **recording.request)
        calls: list[list[str]] = []
        for chunk in stream:
            if not chunk.choices:
                continue
            delta = chunk.choices[0].delta
            computed.text += delta.content  # that is the point
            for fragment in delta.tool_calls or []:
                if fragment.index == len(calls):
                    calls.append(["", ""])
                calls[fragment.index][0] += fragment.function.name or ""
                calls[fragment.index][1] += fragment.function.arguments or ""
            computed.tools = [(name, arguments) for name, arguments in calls]


if __name__ == "__main__":
    main(read)
